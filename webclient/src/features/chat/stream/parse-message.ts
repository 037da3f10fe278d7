import type { StageName, Usage } from "@/api/types";
import { isRecord, parseErrorBody, problemOf, type Problem } from "@/lib/problem";
import { madeMedium, type Preview, type MadeMedium } from "../made";

/** How an answer ended. */
export type Outcome =
  | { status: "completed" }
  | { status: "cancelled" }
  | { status: "incomplete"; reason: string }
  | { status: "failed"; problem: Problem };

/** What the reducer understands of the server's stream. */
export type StreamEvent =
  | { kind: "created"; sequence: number }
  | { kind: "delta"; sequence: number; text: string }
  | { kind: "finished"; sequence: number; outcome: Outcome; text: string | null; made: MadeMedium[]; usage: Usage | null }
  | { kind: "made"; sequence: number; made: MadeMedium }
  | { kind: "preview"; sequence: number; preview: Preview }
  | { kind: "other"; sequence: number }
  /** Waiting for a free place; like stages, without a number of its own. */
  | { kind: "queued"; sequence: number; place: number; etaS: number | null }
  | {
      kind: "stage";
      /** That of the event before: stages have no number of their own. */
      sequence: number;
      stage: StageName;
      state: "started" | "progress" | "finished";
      assetId: string | null;
      cache: CacheUse;
      /** Of progress: how far, 0 to 1. */
      done: number | null;
      /** Of progress: the newest result in words. */
      note: string;
    };

export type CacheUse = "none" | "hit" | "miss";

export type ServerMessage =
  | { kind: "event"; clientId: string | null; responseId: string; event: StreamEvent }
  | { kind: "error"; clientId: string | null; responseId: string | null; problem: Problem }
  | { kind: "pong" };

const STAGES: readonly string[] = [
  "storing",
  "listening",
  "looking",
  "watching",
  "reading",
  "searching",
  "writing",
  "drawing",
  "speaking",
] satisfies StageName[];

/** Reads one WebSocket text. Null for what this client does not know: newer servers may say more. */
export function parseServerMessage(text: string): ServerMessage | null {
  let message: unknown;
  try {
    message = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isRecord(message)) return null;
  const clientId = stringOrNull(message.client_id);
  const responseId = stringOrNull(message.response_id);
  switch (message.type) {
    case "pong":
      return { kind: "pong" };
    case "error":
      return { kind: "error", clientId, responseId, problem: problemFrom(message.error) };
    case "event": {
      const event = parseStreamEvent(message.event);
      return event === null || responseId === null
        ? null
        : { kind: "event", clientId, responseId, event };
    }
    default:
      return null;
  }
}

function parseStreamEvent(event: unknown): StreamEvent | null {
  if (!isRecord(event) || typeof event.type !== "string") return null;
  const sequence = event.sequence_number;
  if (typeof sequence !== "number") return null;
  switch (event.type) {
    case "response.created":
      return { kind: "created", sequence };
    case "response.output_text.delta":
      return { kind: "delta", sequence, text: stringOrNull(event.delta) ?? "" };
    case "response.output_item.done": {
      const made = madeMedium(event.item);
      return made === null ? { kind: "other", sequence } : { kind: "made", sequence, made };
    }
    case "response.image_generation_call.partial_image": {
      const { item_id: itemId, partial_image_b64: content, output_format: form } = event;
      if (typeof itemId !== "string" || typeof content !== "string") return { kind: "other", sequence };
      const url = `data:image/${stringOrNull(form) ?? "png"};base64,${content}`;
      return { kind: "preview", sequence, preview: { itemId, url } };
    }
    case "response.completed":
    case "response.incomplete":
    case "response.failed":
      return parseFinish(event.type, sequence, event.response);
    case "polymodal.stage":
      if (event.stage === "queued") {
        const { place, eta_s } = event;
        if (typeof place !== "number") return null;
        return { kind: "queued", sequence, place, etaS: typeof eta_s === "number" ? eta_s : null };
      }
      return isStage(event.stage)
        ? {
            kind: "stage",
            sequence,
            stage: event.stage,
            state: event.state === "finished" || event.state === "progress" ? event.state : "started",
            assetId: stringOrNull(event.asset_id),
            cache: event.cache === "hit" || event.cache === "miss" ? event.cache : "none",
            done: typeof event.done === "number" ? event.done : null,
            note: stringOrNull(event.note) ?? "",
          }
        : null;
    default:
      return { kind: "other", sequence };
  }
}

function parseFinish(type: string, sequence: number, response: unknown): StreamEvent {
  const body = isRecord(response) ? response : {};
  return {
    kind: "finished",
    sequence,
    outcome: outcomeOf(type, body),
    text: outputText(body.output),
    made: Array.isArray(body.output) ? body.output.flatMap((item) => madeMedium(item) ?? []) : [],
    usage: parseUsage(body.usage),
  };
}

function outcomeOf(type: string, response: Record<string, unknown>): Outcome {
  if (response.status === "cancelled") return { status: "cancelled" };
  if (type === "response.failed") return { status: "failed", problem: problemFrom(response.error) };
  if (type === "response.completed") return { status: "completed" };
  const details = isRecord(response.incomplete_details) ? response.incomplete_details : {};
  return { status: "incomplete", reason: stringOrNull(details.reason) ?? "" };
}

function outputText(output: unknown): string | null {
  if (!Array.isArray(output)) return null;
  const messages = output.filter(isRecord).flatMap((item) => {
    const content: unknown[] = Array.isArray(item.content) ? item.content : [];
    const parts = content.filter(isRecord).filter((part) => part.type === "output_text");
    return parts.length === 0 ? [] : [parts.map((part) => stringOrNull(part.text) ?? "").join("")];
  });
  return messages.length === 0 ? null : messages.filter((text) => text !== "").join("\n\n");
}

function parseUsage(usage: unknown): Usage | null {
  if (!isRecord(usage)) return null;
  const { input_tokens, output_tokens } = usage;
  return typeof input_tokens === "number" && typeof output_tokens === "number"
    ? { input_tokens, output_tokens }
    : null;
}

function problemFrom(error: unknown): Problem {
  const body = parseErrorBody(error);
  return problemOf(body?.code ?? "internal_error", body?.message ?? "");
}

function isStage(value: unknown): value is StageName {
  return typeof value === "string" && STAGES.includes(value);
}

function stringOrNull(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}
