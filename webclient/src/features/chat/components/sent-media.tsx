import { ImageOff } from "lucide-react";
import { useState } from "react";
import type { Perception } from "@/api/types";
import { PerceptionPopover } from "./perception-popover";

type SentMediaProps = { url: string; perception: Perception | null };

/** A picture of a message. What was seen in it is its text alternative. */
export function SentImage({ url, perception }: SentMediaProps) {
  const [broken, setBroken] = useState(false);
  const seen = perception?.kind === "image" ? perception : null;
  return (
    <figure className="flex max-w-full flex-col items-end gap-1">
      {broken ? (
        <p className="flex items-center gap-2 rounded-xl border border-line bg-surface px-4 py-6 text-sm text-ink-soft">
          <ImageOff aria-hidden className="size-5" /> This picture is gone.
        </p>
      ) : (
        <a href={url} target="_blank" rel="noreferrer" className="block rounded-2xl">
          <img
            src={url}
            alt={seen === null || seen.description === "" ? "Attached picture" : seen.description}
            onError={() => setBroken(true)}
            className="max-h-72 min-h-16 w-auto max-w-full rounded-2xl border border-line bg-sunken object-contain"
          />
        </a>
      )}
      {seen !== null && <PerceptionPopover perception={seen} />}
    </figure>
  );
}

/** A recording of a message, with its transcript as caption. */
export function SentAudio({ url, perception }: SentMediaProps) {
  const heard = perception?.kind === "audio" ? perception : null;
  return (
    <figure className="flex w-full max-w-sm flex-col items-end gap-1">
      {/* eslint-disable-next-line jsx-a11y/media-has-caption -- the transcript stands below, as text */}
      <audio controls preload="metadata" src={url} aria-label="Attached recording" className="h-12 w-full" />
      {heard !== null && heard.transcript !== "" && (
        <figcaption className="w-full text-right text-sm text-ink-soft italic">“{heard.transcript.trim()}”</figcaption>
      )}
      {heard !== null && <PerceptionPopover perception={heard} />}
    </figure>
  );
}
