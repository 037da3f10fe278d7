import type { Asset, AssetKind } from "@/api/types";
import { assertNever } from "@/lib/assert-never";
import type { Problem } from "@/lib/problem";

type Chosen = { id: string; name: string; kind: AssetKind; previewUrl: string; file: File };

/** A file on its way into a message. */
export type Attachment = Chosen &
  (
    | { status: "uploading"; fraction: number }
    | { status: "ready"; asset: Asset }
    | { status: "failed"; problem: Problem }
  );

export type AttachmentAction =
  | { type: "chosen"; chosen: Chosen }
  | { type: "progressed"; id: string; fraction: number }
  | { type: "uploaded"; id: string; asset: Asset }
  | { type: "failed"; id: string; problem: Problem }
  | { type: "retried"; id: string }
  | { type: "removed"; id: string }
  | { type: "cleared" };

export function reduceAttachments(
  attachments: readonly Attachment[],
  action: AttachmentAction,
): readonly Attachment[] {
  const change = (id: string, to: (chosen: Chosen) => Attachment) =>
    attachments.map((one) => (one.id === id ? to(chosenOf(one)) : one));
  switch (action.type) {
    case "chosen":
      return [...attachments, { ...action.chosen, status: "uploading", fraction: 0 }];
    case "progressed":
      return attachments.map((one) =>
        one.id === action.id && one.status === "uploading" ? { ...one, fraction: action.fraction } : one,
      );
    case "uploaded":
      return change(action.id, (chosen) => ({ ...chosen, status: "ready", asset: action.asset }));
    case "failed":
      return change(action.id, (chosen) => ({ ...chosen, status: "failed", problem: action.problem }));
    case "retried":
      return change(action.id, (chosen) => ({ ...chosen, status: "uploading", fraction: 0 }));
    case "removed":
      return attachments.filter((one) => one.id !== action.id);
    case "cleared":
      return [];
    default:
      return assertNever(action);
  }
}

function chosenOf({ id, name, kind, previewUrl, file }: Attachment): Chosen {
  return { id, name, kind, previewUrl, file };
}

/** The kind a file claims to be; null when it is neither. The server looks at the bytes. */
export function kindOf(type: string, name: string): AssetKind | null {
  if (type.startsWith("image/")) return "image";
  if (type.startsWith("audio/")) return "audio";
  if (/\.(jpe?g|png|webp|gif|bmp|tiff?|avif)$/i.test(name)) return "image";
  if (/\.(wav|mp3|flac|ogg|oga|opus|m4a|aac|webm)$/i.test(name)) return "audio";
  return null;
}
