import { ImageOff } from "lucide-react";
import { useMemo, useState } from "react";
import type { Asset, AssetKind, Perception } from "@/api/types";
import { DocumentCard } from "@/components/media/document-card";
import { MediaPlayer } from "@/components/media/media-player";
import { timelineOf } from "@/components/media/timeline";
import { assertNever } from "@/lib/assert-never";
import { startAssetDrag } from "@/lib/asset-drag";
import { useGetAssetQuery, usePerception } from "@/lib/assets-api";
import { PerceptionPopover } from "./perception-popover";

type SentMediumProps = { kind: AssetKind; assetId: string; perceived: boolean };

/** A medium of a message with its text alternative: what was perceived of it. */
export function SentMedium({ kind, assetId, perceived }: SentMediumProps) {
  const perception = usePerception(assetId, perceived);
  const { data: asset } = useGetAssetQuery(assetId);
  const url = `/api/v1/assets/${assetId}/content`;
  switch (kind) {
    case "image":
      return <SentImage url={url} perception={perception} asset={asset ?? null} />;
    case "audio":
      return <SentAudio url={url} perception={perception} />;
    case "video":
      return <SentVideo url={url} perception={perception} />;
    case "document":
      return (
        <figure className="w-full max-w-sm">
          <DocumentCard url={url} filename={asset?.filename ?? ""} read={perception?.kind === "document" ? perception : null} />
        </figure>
      );
    default:
      return assertNever(kind);
  }
}

type MediumProps = { url: string; perception: Perception | null };

function SentImage({ url, perception, asset }: MediumProps & { asset: Asset | null }) {
  const [broken, setBroken] = useState(false);
  const seen = perception?.kind === "image" ? perception : null;
  return (
    <figure className="flex max-w-full flex-col items-end gap-1">
      {broken ? (
        <p className="flex items-center gap-2 rounded-xl border border-line bg-surface px-4 py-6 text-sm text-ink-soft">
          <ImageOff aria-hidden className="size-5" /> This picture is gone.
        </p>
      ) : (
        <a
          href={url}
          target="_blank"
          rel="noreferrer"
          onDragStart={({ dataTransfer }) => asset !== null && startAssetDrag(dataTransfer, asset)}
          className="block rounded-2xl"
        >
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

/** A recording, with its transcript as a list of moments and as captions. */
function SentAudio({ url, perception }: MediumProps) {
  const heard = perception?.kind === "audio" ? perception : null;
  const segments = useMemo(() => heard?.segments ?? [], [heard]);
  const moments = useMemo(() => timelineOf([], segments), [segments]);
  return (
    <figure className="flex w-full max-w-sm flex-col items-end gap-1">
      <MediaPlayer kind="audio" url={url} label="Attached recording" segments={segments} language={heard?.language ?? ""} moments={moments} />
      {heard !== null && heard.segments.length === 0 && heard.transcript !== "" && (
        <figcaption className="w-full text-right text-sm text-ink-soft italic">“{heard.transcript.trim()}”</figcaption>
      )}
      {heard !== null && <PerceptionPopover perception={heard} />}
    </figure>
  );
}

/** A video, with its shots and its speech as a list of moments, and captions. */
function SentVideo({ url, perception }: MediumProps) {
  const watched = perception?.kind === "video" ? perception : null;
  const segments = useMemo(() => watched?.sound?.segments ?? [], [watched]);
  const moments = useMemo(() => timelineOf(watched?.shots ?? [], segments), [watched, segments]);
  const first = watched?.shots.find((shot) => shot.description !== "")?.description;
  return (
    <figure className="w-full max-w-md">
      <MediaPlayer
        kind="video"
        url={url}
        label={first === undefined ? "Attached video" : `Attached video: ${first}`}
        segments={segments}
        language={watched?.sound?.language ?? ""}
        moments={moments}
      />
    </figure>
  );
}
