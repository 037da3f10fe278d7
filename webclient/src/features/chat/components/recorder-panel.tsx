import { Check, MicOff, Square, Trash2 } from "lucide-react";
import type { ReactNode } from "react";
import { Button } from "@/components/ui/button";
import { formatClock } from "@/lib/format";
import type { Recorder, RecorderState } from "../compose/use-recorder";

type RecorderPanelProps = {
  state: Exclude<RecorderState, { status: "idle" }>;
  actions: Pick<Recorder, "start" | "finish" | "discard">;
  onKeep: (file: File) => void;
};

const METER_BARS = 28;

/** Takes the composer's place while a voice note is being recorded and reviewed. */
export function RecorderPanel({ state, actions, onKeep }: RecorderPanelProps) {
  switch (state.status) {
    case "asking":
      return (
        <Bar label="Voice note">
          <p role="status" className="flex-1 text-sm text-ink-soft">
            Your browser asks whether this page may use the microphone.
          </p>
          <Button onClick={actions.discard}>Cancel</Button>
        </Bar>
      );
    case "recording":
      return (
        <Bar label="Voice note">
          <p className="flex items-center gap-2.5 font-mono text-sm tabular-nums">
            <span aria-hidden className="animate-breathe size-2.5 rounded-full bg-danger" />
            <span className="sr-only">Recording</span>
            {formatClock(state.seconds)}
          </p>
          <Meter level={state.level} />
          <Button variant="ghost" onClick={actions.discard}>
            Cancel
          </Button>
          <Button variant="primary" onClick={actions.finish}>
            <Square aria-hidden className="size-3.5 fill-current" /> Done
          </Button>
        </Bar>
      );
    case "preparing":
      return (
        <Bar label="Voice note">
          <p role="status" className="flex-1 text-sm text-ink-soft">
            Preparing your recording…
          </p>
        </Bar>
      );
    case "review":
      return (
        <Bar label="Voice note">
          {/* eslint-disable-next-line jsx-a11y/media-has-caption -- one's own voice, just recorded */}
          <audio controls src={state.url} aria-label={`Your recording, ${formatClock(state.seconds)}`} className="h-10 min-w-0 flex-1 basis-full sm:basis-0" />
          <Button variant="ghost" onClick={actions.discard}>
            <Trash2 aria-hidden className="size-4" /> Discard
          </Button>
          <Button variant="primary" onClick={() => onKeep(state.file)}>
            <Check aria-hidden className="size-4" /> Attach
          </Button>
        </Bar>
      );
    case "failed":
      return (
        <Bar label="Voice note">
          <MicOff aria-hidden className="size-5 shrink-0 text-danger" />
          <p role="alert" className="min-w-0 flex-1 basis-52 text-sm">
            {state.reason}
          </p>
          <Button variant="ghost" onClick={actions.discard}>
            Close
          </Button>
          <Button onClick={actions.start}>Try again</Button>
        </Bar>
      );
  }
}

function Bar({ label, children }: { label: string; children: ReactNode }) {
  return (
    <section aria-label={label} className="flex min-h-16 flex-wrap items-center justify-end gap-x-3 gap-y-2 p-3">
      {children}
    </section>
  );
}

function Meter({ level }: { level: number }) {
  return (
    <div role="meter" aria-label="Loudness" aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(level * 100)} className="flex h-8 min-w-0 flex-1 basis-0 items-center justify-center gap-[3px] overflow-hidden">
      {Array.from({ length: METER_BARS }, (_, index) => {
        // Highest in the middle, so that a voice looks like one.
        const nearness = 1 - Math.abs(index - (METER_BARS - 1) / 2) / (METER_BARS / 2);
        const height = 12 + 88 * level * (0.25 + 0.75 * nearness);
        return (
          <span key={index} className="w-[3px] shrink-0 rounded-full bg-hear transition-[height] duration-100" style={{ height: `${Math.min(100, height)}%` }} />
        );
      })}
    </div>
  );
}
