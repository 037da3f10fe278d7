import { useEffect, useMemo, useRef, useState } from "react";
import type { Segment } from "@/api/types";
import type { Moment } from "./timeline";
import { toVtt } from "./timeline";
import { TimelineList } from "./timeline-list";

type MediaPlayerProps = {
  kind: "audio" | "video";
  url: string;
  label: string;
  /** Speech with times, shown as captions. */
  segments: readonly Segment[];
  /** ISO 639-1, or empty. */
  language: string;
  moments: readonly Moment[];
};

/** Plays a recording or a video, with captions and a list of moments to go to. */
export function MediaPlayer({ kind, url, label, segments, language, moments }: MediaPlayerProps) {
  const player = useRef<HTMLVideoElement & HTMLAudioElement>(null);
  const [timeS, setTimeS] = useState(0);
  const captions = useCaptions(segments);

  const seek = (seconds: number) => {
    const element = player.current;
    if (element === null) return;
    element.currentTime = seconds;
    setTimeS(seconds);
    // A browser may refuse to start by itself; the position is right all the same.
    element.play().catch(() => undefined);
  };

  const shared = {
    ref: player,
    controls: true,
    preload: "metadata",
    src: url,
    "aria-label": label,
    onTimeUpdate: () => setTimeS(player.current?.currentTime ?? 0),
  } as const;
  const track = captions !== null && (
    <track kind="captions" label="Speech" src={captions} default {...(language === "" ? {} : { srcLang: language })} />
  );
  return (
    <div className="flex w-full flex-col gap-2">
      {/* Captions come with the transcript, which is there once the answer is. */}
      {kind === "video" ? (
        // eslint-disable-next-line jsx-a11y/media-has-caption -- the track above, where there is speech
        <video {...shared} playsInline className="max-h-80 w-full rounded-2xl border border-line bg-sunken">
          {track}
        </video>
      ) : (
        // eslint-disable-next-line jsx-a11y/media-has-caption -- the track above, where there is speech
        <audio {...shared} className="h-12 w-full">
          {track}
        </audio>
      )}
      {moments.length > 0 && <TimelineList moments={moments} timeS={timeS} onSeek={seek} />}
    </div>
  );
}

/** The address of a caption file made here; null without speech. */
function useCaptions(segments: readonly Segment[]): string | null {
  const url = useMemo(
    () =>
      segments.length === 0 ? null : URL.createObjectURL(new Blob([toVtt(segments)], { type: "text/vtt" })),
    [segments],
  );
  useEffect(
    () => () => {
      if (url !== null) URL.revokeObjectURL(url);
    },
    [url],
  );
  return url;
}
