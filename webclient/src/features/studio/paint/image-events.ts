import { isRecord, parseErrorBody, problemOf, type Problem } from "@/lib/problem";
import type { ServerEvent } from "@/lib/sse";

/** What a stream of a picture being made tells. */
export type ImageEvent =
  | { kind: "preview"; preview: string }
  | { kind: "done"; assetId: string }
  | { kind: "failed"; problem: Problem };

/** Reads an event of `/v1/images/*`; null for what this client does not know. */
export function parseImageEvent({ data }: ServerEvent): ImageEvent | null {
  if (data === "[DONE]") return null;
  let event: unknown;
  try {
    event = JSON.parse(data);
  } catch {
    return null;
  }
  if (!isRecord(event) || typeof event.type !== "string") return null;
  if (event.type.endsWith(".partial_image")) {
    const { b64_json, output_format } = event;
    if (typeof b64_json !== "string" || b64_json === "") return null;
    const format = typeof output_format === "string" ? output_format : "png";
    return { kind: "preview", preview: `data:image/${format};base64,${b64_json}` };
  }
  if (event.type.endsWith(".completed")) {
    return typeof event.asset_id === "string"
      ? { kind: "done", assetId: event.asset_id }
      : { kind: "failed", problem: problemOf("payload", "the picture has no asset") };
  }
  if (event.type === "error") {
    const error = parseErrorBody(event.error) ?? parseErrorBody(event);
    return { kind: "failed", problem: problemOf(error?.code ?? "internal_error", error?.message ?? "") };
  }
  return null;
}
