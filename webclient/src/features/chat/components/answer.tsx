import { ChartNoAxesGantt, RotateCcw } from "lucide-react";
import type { ReactNode } from "react";
import { Markdown } from "@/components/markdown/markdown";
import { Button } from "@/components/ui/button";
import { CopyButton } from "@/components/ui/copy-button";
import { Mark } from "@/components/ui/mark";
import { ProblemNote } from "@/components/ui/problem-note";
import { assertNever } from "@/lib/assert-never";
import { useCapabilities } from "@/lib/capabilities";
import { did, memoryNote, summarizeStages } from "../stages";
import type { AnswerState, StageEntry } from "../stream-reducer";
import { MadeMedia, Previews } from "./made-media";
import { ReadAloudButton } from "./read-aloud-button";
import { StageLine } from "./stage-line";

/** The answer's place on the page, whatever its state. */
export function AnswerFrame({ busy, children }: { busy: boolean; children: ReactNode }) {
  return (
    <div className="grid gap-x-4 sm:grid-cols-[2rem_1fr]" aria-busy={busy}>
      <Mark className="mt-0.5 size-8 max-sm:hidden" />
      <div className="min-w-0 space-y-3">
        <h2 className="sr-only">Polymodal answered</h2>
        {children}
      </div>
    </div>
  );
}

type LiveAnswerProps = {
  answer: AnswerState;
  stopping: boolean;
  actions: ReactNode;
  onRetry: () => void;
};

/** An answer since its question was sent. Each state draws what it has; text is never taken away. */
export function LiveAnswer({ answer, stopping, actions, onRetry }: LiveAnswerProps) {
  switch (answer.status) {
    case "waiting":
    case "streaming":
      return (
        <AnswerFrame busy>
          <StageLine queue={answer.queue} stages={answer.stages} stopping={stopping} />
          {answer.text !== "" && <Markdown text={answer.text} />}
          <MadeMedia made={answer.made} />
          <Previews previews={answer.previews} />
        </AnswerFrame>
      );
    case "completed":
      return (
        <AnswerFrame busy={false}>
          <p role="status" className="sr-only">
            The answer is complete
          </p>
          <Perceived stages={answer.stages} />
          <Markdown text={answer.text} />
          <MadeMedia made={answer.made} />
          {actions}
        </AnswerFrame>
      );
    case "incomplete":
      return (
        <AnswerFrame busy={false}>
          <Markdown text={answer.text} />
          <MadeMedia made={answer.made} />
          <Ending text={incompleteAdvice(answer.reason)} />
          {actions}
        </AnswerFrame>
      );
    case "cancelled":
      return (
        <AnswerFrame busy={false}>
          {answer.text !== "" && <Markdown text={answer.text} />}
          <MadeMedia made={answer.made} />
          <Ending text="You stopped this answer." />
          {actions}
        </AnswerFrame>
      );
    case "failed":
      return (
        <AnswerFrame busy={false}>
          {answer.text !== "" && <Markdown text={answer.text} />}
          <MadeMedia made={answer.made} />
          <ProblemNote problem={answer.problem}>
            <Button size="sm" onClick={onRetry}>
              <RotateCcw aria-hidden className="size-4" /> Try again
            </Button>
          </ProblemNote>
        </AnswerFrame>
      );
    default:
      return assertNever(answer);
  }
}

type AnswerActionsProps = { text: string; onRetry: () => void; onTrace: (() => void) | null };

export function AnswerActions({ text, onRetry, onTrace }: AnswerActionsProps) {
  const { speech } = useCapabilities();
  return (
    <div className="-ml-2.5 flex flex-wrap gap-1">
      {text !== "" && <CopyButton text={text} what="answer" />}
      {text !== "" && speech && <ReadAloudButton text={text} />}
      <Button size="sm" variant="ghost" onClick={onRetry}>
        <RotateCcw aria-hidden className="size-4" /> Retry
      </Button>
      {onTrace !== null && (
        <Button size="sm" variant="ghost" onClick={onTrace}>
          <ChartNoAxesGantt aria-hidden className="size-4" /> Trace
        </Button>
      )}
    </div>
  );
}

export function Ending({ text }: { text: string }) {
  return (
    <p role="status" className="text-sm text-ink-soft">
      {text}
    </p>
  );
}

/** After the answer: what it is based on, in one quiet line. */
function Perceived({ stages }: { stages: readonly StageEntry[] }) {
  const media = summarizeStages(stages).filter(
    ({ stage }) => stage === "listening" || stage === "looking" || stage === "watching",
  );
  if (media.length === 0) return null;
  const words = media.map((summary) => {
    const memory = memoryNote(summary);
    return memory === null ? did(summary) : `${did(summary)} (${memory})`;
  });
  return <p className="text-sm text-ink-faint">{words.join(" · ")}</p>;
}

function incompleteAdvice(reason: string): string {
  switch (reason) {
    case "max_output_tokens":
      return "The answer reached its length limit. Ask it to go on.";
    case "content_filter":
      return "The answer was cut short by a filter.";
    default:
      return "The answer ended early. Retry to ask again.";
  }
}
