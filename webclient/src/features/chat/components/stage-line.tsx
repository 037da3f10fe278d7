import { Check, Hourglass } from "lucide-react";
import { cx } from "@/components/ui/cx";
import { formatPercent } from "@/lib/format";
import { announcement, did, doing, inLine, memoryNote, summarizeStages, timeLeft } from "../stages";
import type { QueuePlace, StageEntry } from "../stream-reducer";
import { STAGE_LOOK } from "./stage-look";

type StageLineProps = {
  queue: QueuePlace | null;
  stages: readonly StageEntry[];
  stopping: boolean;
};

/** What happens to the question right now. The sentence is announced; the picture of it is not. */
export function StageLine({ queue, stages, stopping }: StageLineProps) {
  const summaries = summarizeStages(stages);
  const note = summaries.findLast((summary) => summary.state === "started")?.note ?? "";
  return (
    <div className="animate-rise">
      <p role="status" className="sr-only">
        {stopping ? "Stopping" : announcement(queue, summaries)}
      </p>
      <ul aria-hidden className="flex min-h-7 flex-wrap items-center gap-y-1 text-sm">
        {queue !== null && <InLine queue={queue} />}
        {queue === null && summaries.length === 0 && <Waiting word="Thinking" />}
        {summaries.map((summary, index) => {
          const { Icon, text } = STAGE_LOOK[summary.stage];
          const over = summary.state === "finished";
          const memory = memoryNote(summary);
          return (
            <li key={summary.stage} className="flex items-center">
              <span className={cx("flex items-center gap-1.5", over ? "text-ink-soft" : `font-medium ${text}`)}>
                <Icon className={cx("size-4", text, !over && "animate-breathe")} />
                {over ? did(summary) : doing(summary)}
                {over && <Check className="size-3.5 text-ink-faint" />}
                {memory !== null && <MemoryTag note={memory} />}
                {!over && summary.fraction !== null && <Bar fraction={summary.fraction} />}
              </span>
              {index < summaries.length - 1 && <span className="mx-2.5 h-px w-4 bg-line-strong/50" />}
            </li>
          );
        })}
        {stopping && <li className="ml-3 text-ink-soft">Stopping…</li>}
      </ul>
      {note !== "" && (
        <p aria-hidden className="animate-fade mt-1 max-w-prose truncate text-sm text-ink-soft">
          {note}
        </p>
      )}
    </div>
  );
}

function Bar({ fraction }: { fraction: number }) {
  return (
    <span className="flex items-center gap-1.5">
      <span className="h-1.5 w-20 overflow-hidden rounded-full bg-sunken">
        <span className="block h-full rounded-full bg-current transition-[width]" style={{ width: `${fraction * 100}%` }} />
      </span>
      <span className="text-xs font-normal text-ink-soft tabular-nums">{formatPercent(fraction)}</span>
    </span>
  );
}

export function MemoryTag({ note }: { note: string }) {
  return (
    <span className="rounded-full bg-accent-wash px-2 py-px text-xs font-medium text-accent">{note}</span>
  );
}

function InLine({ queue }: { queue: QueuePlace }) {
  const left = timeLeft(queue);
  return (
    <li className="mr-3 flex items-center gap-1.5 font-medium text-ink-soft">
      <Hourglass className="animate-breathe size-4" />
      {inLine(queue)}
      {left !== null && <span className="font-normal text-ink-faint tabular-nums">{left}</span>}
    </li>
  );
}

function Waiting({ word }: { word: string }) {
  return (
    <li className="flex items-center gap-2 text-ink-soft">
      <span className="animate-breathe size-2 rounded-full bg-accent" />
      {word}
    </li>
  );
}
