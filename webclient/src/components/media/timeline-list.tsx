import { Ear, Eye } from "lucide-react";
import { cx } from "@/components/ui/cx";
import { formatClock } from "@/lib/format";
import { isPlaying, type Moment } from "./timeline";

type TimelineListProps = {
  moments: readonly Moment[];
  timeS: number;
  onSeek: (seconds: number) => void;
};

/** Every moment as a button that plays it. */
export function TimelineList({ moments, timeS, onSeek }: TimelineListProps) {
  return (
    <ol aria-label="Timeline" className="max-h-56 w-full overflow-y-auto rounded-xl border border-line bg-surface p-1 text-sm">
      {moments.map((moment, index) => {
        const Icon = moment.sense === "seen" ? Eye : Ear;
        const playing = isPlaying(moment, timeS);
        return (
          <li key={index}>
            <button
              type="button"
              {...(playing ? { "aria-current": "time" } : {})}
              onClick={() => onSeek(moment.startS)}
              className={cx(
                "grid w-full grid-cols-[2.9rem_1.25rem_1fr] items-start gap-1 rounded-lg px-2 py-1.5 text-left -outline-offset-2 hover:bg-sunken",
                playing && "bg-accent-wash",
              )}
            >
              <span className="pt-px font-mono text-xs leading-5 text-ink-soft tabular-nums">
                <span className="sr-only">Play from </span>
                {formatClock(moment.startS)}
              </span>
              <Icon aria-hidden className={cx("mt-0.5 size-4", moment.sense === "seen" ? "text-see" : "text-hear")} />
              <span className="leading-snug wrap-anywhere">
                <span className="sr-only">{moment.sense === "seen" ? "Seen: " : "Said: "}</span>
                {moment.text}
              </span>
            </button>
          </li>
        );
      })}
    </ol>
  );
}
