import { problemFromHttp, problemOf, type Problem } from "./problem";

/** Thrown by `streamCall`: the server refused, or could not be reached. */
export class CallFailed extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.message);
    this.problem = problem;
  }
}

type StreamCall = {
  method?: "GET" | "POST";
  csrfToken: string | null;
  /** JSON, or a form with files. */
  body?: FormData | object;
  headers?: Record<string, string>;
  signal: AbortSignal;
};

/** Calls the server for a body that is read while it comes in. Throws `CallFailed` or an abort. */
export async function streamCall(path: string, call: StreamCall): Promise<ReadableStream<Uint8Array>> {
  const { method = "POST", csrfToken, body, signal } = call;
  const headers = new Headers(call.headers);
  if (csrfToken !== null && method === "POST") headers.set("x-csrf-token", csrfToken);
  const isForm = body instanceof FormData;
  if (body !== undefined && !isForm) headers.set("content-type", "application/json");
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      signal,
      credentials: "same-origin",
      ...(body === undefined ? {} : { body: isForm ? body : JSON.stringify(body) }),
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new CallFailed(problemOf("network", ""));
  }
  if (response.ok && response.body !== null) return response.body;
  const told: unknown = await response.json().catch(() => null);
  throw new CallFailed(problemFromHttp(response.status, told, (name) => response.headers.get(name)));
}

/** What went wrong, for a person; null when it was stopped on purpose. */
export function problemOfCall(error: unknown): Problem | null {
  if (error instanceof CallFailed) return error.problem;
  if (error instanceof DOMException && error.name === "AbortError") return null;
  return problemOf("connection_lost", error instanceof Error ? error.message : "");
}
