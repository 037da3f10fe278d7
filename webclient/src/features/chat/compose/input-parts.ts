import type { InputPart } from "@/api/types";
import type { Attachment } from "./attachments-reducer";

/** The parts of a message: attachments first, as one shows something before asking about it. */
export function toInputParts(text: string, attachments: readonly Attachment[]): InputPart[] {
  const media = attachments.flatMap((attachment): InputPart[] => {
    if (attachment.status !== "ready") return [];
    const { id } = attachment.asset;
    return attachment.kind === "image"
      ? [{ type: "input_image", file_id: id, image_url: null, detail: "auto" }]
      : [{ type: "input_audio", file_id: id, input_audio: { data: "", format: "wav" } }];
  });
  const trimmed = text.trim();
  return trimmed === "" ? media : [...media, { type: "input_text", text: trimmed }];
}

/** A conversation's name until the server or its owner finds a better one. */
export function titleFor(parts: readonly InputPart[]): string {
  const text = parts.find((part) => part.type === "input_text")?.text.replaceAll(/\s+/g, " ");
  if (text !== undefined) return text.length <= 60 ? text : `${text.slice(0, 59).trimEnd()}…`;
  return parts.some((part) => part.type === "input_image") ? "A picture" : "A voice note";
}
