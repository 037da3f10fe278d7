import type { Asset, AssetKind } from "@/api/types";
import { assertNever } from "@/lib/assert-never";
import type { Problem } from "@/lib/problem";

/** `file` is null when the medium is on the server already. `words`: what was heard in it so far. */
type Chosen = { id: string; name: string; kind: AssetKind; previewUrl: string; file: File | null; words: string };

/** A file on its way into a message. */
export type Attachment = Chosen &
  (
    | { status: "uploading"; fraction: number }
    | { status: "ready"; asset: Asset }
    | { status: "failed"; problem: Problem }
  );

export type AttachmentAction =
  | { type: "chosen"; chosen: Chosen }
  | { type: "adopted"; id: string; asset: Asset }
  | { type: "progressed"; id: string; fraction: number }
  | { type: "heard"; id: string; words: string }
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
    case "adopted": {
      const { id, asset } = action;
      if (attachments.some((one) => one.status === "ready" && one.asset.id === asset.id)) return attachments;
      const name = asset.filename === "" ? KIND_NAMES[asset.kind] : asset.filename;
      const chosen = { id, name, kind: asset.kind, previewUrl: asset.content_url, file: null, words: "" };
      return [...attachments, { ...chosen, status: "ready", asset }];
    }
    case "progressed":
      return attachments.map((one) =>
        one.id === action.id && one.status === "uploading" ? { ...one, fraction: action.fraction } : one,
      );
    case "heard":
      return attachments.map((one) => (one.id === action.id ? { ...one, words: action.words } : one));
    case "uploaded":
      // The server has looked at the bytes: its word on the kind is better than the file's name.
      return change(action.id, (chosen) => ({
        ...chosen,
        kind: action.asset.kind,
        status: "ready",
        asset: action.asset,
      }));
    case "failed":
      return change(action.id, (chosen) => ({ ...chosen, status: "failed", problem: action.problem }));
    case "retried":
      return change(action.id, (chosen) => ({ ...chosen, words: "", status: "uploading", fraction: 0 }));
    case "removed":
      return attachments.filter((one) => one.id !== action.id);
    case "cleared":
      return [];
    default:
      return assertNever(action);
  }
}

function chosenOf({ id, name, kind, previewUrl, file, words }: Attachment): Chosen {
  return { id, name, kind, previewUrl, file, words };
}

export const KIND_NAMES: Record<AssetKind, string> = {
  image: "Picture",
  audio: "Recording",
  video: "Video",
  document: "Document",
};

const SUFFIXES: readonly [AssetKind, RegExp][] = [
  ["image", /\.(jpe?g|png|webp|gif|bmp|tiff?|avif)$/i],
  ["audio", /\.(wav|mp3|flac|ogg|oga|opus|m4a|aac)$/i],
  ["video", /\.(mp4|m4v|mov|webm|mkv|avi)$/i],
  ["document", /\.pdf$/i],
];

/** The kind a file claims to be; null when it is none. The server looks at the bytes. */
export function kindOf(type: string, name: string): AssetKind | null {
  if (type === "application/pdf") return "document";
  const claimed = (["image", "audio", "video"] as const).find((kind) => type.startsWith(`${kind}/`));
  return claimed ?? SUFFIXES.find(([, suffix]) => suffix.test(name))?.[0] ?? null;
}

/** Why these files cannot be attached, in a sentence; null when all can. */
export function refusalOf(files: readonly File[], offered: readonly AssetKind[]): string | null {
  const reasons = files.flatMap((file) => {
    const kind = kindOf(file.type, file.name);
    if (file.size === 0) return [`${file.name} is empty.`];
    if (kind !== null && offered.includes(kind)) return [];
    return [`${file.name} cannot be attached here.`];
  });
  if (reasons.length === 0) return null;
  const kinds = offered.map((kind) => PLURALS[kind]);
  return `${reasons.join(" ")} This server takes ${listInWords(kinds)}.`;
}

const PLURALS: Record<AssetKind, string> = {
  image: "pictures",
  audio: "recordings",
  video: "videos",
  document: "PDF documents",
};

/** "pictures, recordings and videos" */
export function listInWords(words: readonly string[]): string {
  if (words.length < 2) return words[0] ?? "text only";
  return `${words.slice(0, -1).join(", ")} and ${words.at(-1) ?? ""}`;
}

/** What a file picker offers for these kinds. */
export function acceptFor(kinds: readonly AssetKind[]): string {
  const types = { image: "image/*", audio: "audio/*", video: "video/*", document: "application/pdf" };
  return kinds.map((kind) => types[kind]).join(",");
}
