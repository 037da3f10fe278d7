import { useState } from "react";
import type { InputPart } from "@/api/types";
import { Markdown } from "@/components/markdown/markdown";
import { Button } from "@/components/ui/button";
import { ProblemNote } from "@/components/ui/problem-note";
import { problemOf } from "@/lib/problem";
import { assertNever } from "@/lib/assert-never";
import { useGetResponseQuery } from "./api/chat-api";
import { AnswerActions, AnswerFrame, Ending, LiveAnswer } from "./components/answer";
import { MadeMedia } from "./components/made-media";
import { Question } from "./components/question";
import { isOver } from "./stream-reducer";
import type { ThreadTurn } from "./thread";
import { TraceDialog } from "./trace-dialog";

type TurnViewProps = { turn: ThreadTurn; onRetry: (question: InputPart[]) => void };

/** One question with its answer. */
export function TurnView({ turn, onRetry }: TurnViewProps) {
  const [tracing, setTracing] = useState(false);
  const { answer, question, responseId } = turn;
  const retry = () => onRetry(question);
  const openTrace = responseId === null ? null : () => setTracing(true);
  const perceived = answer.kind !== "live" || isOver(answer.turn.answer);
  return (
    <li className="space-y-6">
      {question.length > 0 && <Question parts={question} perceived={perceived} />}
      {drawAnswer()}
      {tracing && responseId !== null && (
        <TraceDialog responseId={responseId} onClose={() => setTracing(false)} />
      )}
    </li>
  );

  function drawAnswer() {
    switch (answer.kind) {
      case "live":
        return (
          <LiveAnswer
            answer={answer.turn.answer}
            stopping={answer.turn.stopping}
            onRetry={retry}
            actions={<AnswerActions text={answer.turn.answer.text} onRetry={retry} onTrace={openTrace} />}
          />
        );
      case "stored":
        return (
          <AnswerFrame busy={false}>
            <Markdown text={answer.text} />
            <MadeMedia made={answer.made} />
            {!answer.complete && <Ending text="This answer ended early." />}
            <AnswerActions text={answer.text} onRetry={retry} onTrace={openTrace} />
          </AnswerFrame>
        );
      case "absent":
        return responseId === null ? null : <AbsentAnswer responseId={responseId} onRetry={retry} />;
      default:
        return assertNever(answer);
    }
  }
}

/** A question whose answer was never stored: the response itself says why. */
function AbsentAnswer({ responseId, onRetry }: { responseId: string; onRetry: () => void }) {
  const { data } = useGetResponseQuery(responseId);
  if (data === undefined || data.status === "in_progress" || data.status === "queued") return null;
  return (
    <AnswerFrame busy={false}>
      {data.error === null ? (
        <div className="flex flex-wrap items-center gap-3">
          <Ending text={data.status === "cancelled" ? "You stopped this answer." : "This question has no answer."} />
          <Button size="sm" onClick={onRetry}>
            Try again
          </Button>
        </div>
      ) : (
        <ProblemNote problem={problemOf(data.error.code, data.error.message)}>
          <Button size="sm" onClick={onRetry}>
            Try again
          </Button>
        </ProblemNote>
      )}
    </AnswerFrame>
  );
}
