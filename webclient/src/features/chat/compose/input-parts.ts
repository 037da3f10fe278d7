import type { InputPart } from "@/api/types";
import { assertNever } from "@/lib/assert-never";
import { shortTitle } from "@/lib/format";
import type { Attachment } from "./attachments-reducer";

/** The parts of a message: attachments first, as one shows something before asking about it. */
export function toInputParts(text: string, attachments: readonly Attachment[]): InputPart[] {
  const media = attachments.flatMap((attachment): InputPart[] => {
    if (attachment.status !== "ready") return [];
    const { id, kind, mime_type } = attachment.asset;
    switch (kind) {
      case "image":
        return [{ type: "input_image", file_id: id, image_url: null, detail: "auto" }];
      case "audio":
        return [{ type: "input_audio", file_id: id, input_audio: { data: "", format: "wav" } }];
      case "video":
      case "document":
        return [{ type: "input_file", file_id: id, filename: null, mime_type, kind }];
      default:
        return assertNever(kind);
    }
  });
  const trimmed = text.trim();
  return trimmed === "" ? media : [...media, { type: "input_text", text: trimmed }];
}

/** A conversation's name until the server or its owner finds a better one. */
export function titleFor(parts: readonly InputPart[]): string {
  const text = parts.find((part) => part.type === "input_text")?.text;
  if (text !== undefined) return shortTitle(text);
  if (parts.some((part) => part.type === "input_image")) return "A picture";
  const file = parts.find((part) => part.type === "input_file");
  return file?.kind === "video" ? "A video" : file?.kind === "document" ? "A document" : "A voice note";
}
