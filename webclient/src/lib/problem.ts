import type { ErrorBody } from "@/api/types";

/** What went wrong, as the client keeps it: the server's error body, or one of our own. */
export type Problem = {
  /** HTTP status; 0 when there was no answer. */
  status: number;
  code: string;
  message: string;
  requestId: string | null;
  retryAfterS: number | null;
};

export type Advice = { title: string; action: string };

const ADVICE: Record<string, Advice> = {
  invalid_request: {
    title: "That request made no sense to the server",
    action: "Change the message or its attachments and send it again.",
  },
  malformed_json: {
    title: "The request arrived damaged",
    action: "Send it again. If it keeps happening, reload the page.",
  },
  context_length_exceeded: {
    title: "This conversation has grown too long",
    action: "Start a new conversation, or send a shorter message with fewer attachments.",
  },
  content_policy_violation: {
    title: "The rules of this installation do not allow that",
    action: "The message names the rule. Ask for something else, or ask an administrator.",
  },
  microphone_blocked: {
    title: "The microphone is blocked for this page",
    action: "Allow it in the address bar's site settings, then try again.",
  },
  microphone_missing: {
    title: "No microphone was found",
    action: "Plug one in, then try again.",
  },
  microphone_insecure: {
    title: "Browsers allow the microphone only on https pages",
    action: "Open this page over https.",
  },
  microphone_failed: {
    title: "The microphone could not be opened",
    action: "Close other programs that use it, then try again.",
  },
  invalid_api_key: {
    title: "You are signed out",
    action: "Sign in again; your conversations are kept.",
  },
  insufficient_permissions: {
    title: "You may not do that",
    action: "Reload the page to renew your session, or ask an administrator for access.",
  },
  not_found: {
    title: "It is not here",
    action: "It may have been deleted. Choose another conversation from the list.",
  },
  model_not_found: {
    title: "That model is not running here",
    action: "Choose one of the models the message names.",
  },
  conflict: {
    title: "Something else is still going on here",
    action: "Wait for the current answer, or stop it, then try again.",
  },
  media_too_large: {
    title: "That file is too large",
    action: "Send a smaller picture, a shorter recording or video, or fewer pages.",
  },
  unsupported_media_type: {
    title: "That kind of file is not understood",
    action: "Send a picture (JPEG, PNG, WebP), a recording (WAV, MP3, FLAC, OGG), a video (MP4, WebM) or a PDF.",
  },
  broken_media: {
    title: "That file could not be opened",
    action: "It may be damaged. Save or export it again, then attach the new copy.",
  },
  idempotency_key_reused: {
    title: "This was sent before with other content",
    action: "Reload the page, then send it again.",
  },
  rate_limit_exceeded: {
    title: "You are sending faster than allowed",
    action: "Wait a moment, then try again.",
  },
  overloaded: {
    title: "Many people are asking at once",
    action: "Your message is kept. Try again in a few seconds.",
  },
  engine_unavailable: {
    title: "The model is restarting",
    action: "Nothing was lost. Try again in a few seconds.",
  },
  store_unavailable: {
    title: "Storage does not answer right now",
    action: "Try again in a few seconds.",
  },
  node_timeout: {
    title: "One step took too long",
    action: "Try again; what was already seen or heard is remembered and will be quick.",
  },
  not_served: {
    title: "This server does not offer that",
    action: "The message names what it offers.",
  },
  internal_error: {
    title: "Something broke on our side",
    action: "Try again. If it keeps happening, give the request number to an administrator.",
  },
  connection_lost: {
    title: "The connection was lost before the answer began",
    action: "Check your network, then try again.",
  },
  network: {
    title: "The server cannot be reached",
    action: "Check your network, then try again.",
  },
  payload: {
    title: "The server's answer could not be read",
    action: "Reload the page. If it keeps happening, tell an administrator.",
  },
};

/** Every code of the table above, for the test that compares it with the server's. */
export const KNOWN_CODES: readonly string[] = Object.keys(ADVICE);

/** Human words for a problem: what happened, and what to do about it. */
export function adviceFor(problem: Problem): Advice {
  const known = ADVICE[problem.code] ?? {
    title: "That did not work",
    action: "Try again. If it keeps happening, tell an administrator.",
  };
  return problem.retryAfterS === null
    ? known
    : { ...known, action: `Wait ${problem.retryAfterS} s, then try again.` };
}

export function problemOf(code: string, message: string, status = 0): Problem {
  return { status, code, message, requestId: null, retryAfterS: null };
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Reads an error envelope's body; anything else is told apart by its status alone. */
export function parseErrorBody(value: unknown): ErrorBody | null {
  if (!isRecord(value) || typeof value.message !== "string") return null;
  return {
    message: value.message,
    type: typeof value.type === "string" ? value.type : "server_error",
    param: typeof value.param === "string" ? value.param : null,
    code: typeof value.code === "string" ? value.code : null,
  };
}

/** Builds a problem from a failed HTTP exchange. `header` looks up a response header. */
export function problemFromHttp(
  status: number,
  body: unknown,
  header: (name: string) => string | null,
): Problem {
  const error = isRecord(body) ? parseErrorBody(body.error) : null;
  const retryAfter = Number(header("retry-after") ?? "");
  return {
    status,
    code: error?.code ?? codeForStatus(status),
    message: error?.message ?? "",
    requestId: header("x-request-id"),
    retryAfterS: Number.isFinite(retryAfter) && retryAfter > 0 ? Math.ceil(retryAfter) : null,
  };
}

function codeForStatus(status: number): string {
  if (status === 0) return "network";
  if (status === 401) return "invalid_api_key";
  if (status === 403) return "insufficient_permissions";
  if (status === 404) return "not_found";
  if (status === 413) return "media_too_large";
  if (status === 429) return "rate_limit_exceeded";
  if (status === 502 || status === 503) return "engine_unavailable";
  if (status === 504) return "node_timeout";
  return "internal_error";
}

/** Narrows what RTK Query hands back as `error`. */
export function asProblem(error: unknown): Problem {
  if (isRecord(error) && typeof error.code === "string" && typeof error.status === "number") {
    return {
      status: error.status,
      code: error.code,
      message: typeof error.message === "string" ? error.message : "",
      requestId: typeof error.requestId === "string" ? error.requestId : null,
      retryAfterS: typeof error.retryAfterS === "number" ? error.retryAfterS : null,
    };
  }
  return problemOf("internal_error", error instanceof Error ? error.message : "");
}
