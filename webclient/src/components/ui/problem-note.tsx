import { TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";
import { adviceFor, type Problem } from "@/lib/problem";

type ProblemNoteProps = { problem: Problem; children?: ReactNode };

/** An error in words: what happened, what to do, and the server's own sentence. */
export function ProblemNote({ problem, children }: ProblemNoteProps) {
  const advice = adviceFor(problem);
  return (
    <div role="alert" className="flex gap-3 rounded-xl border border-danger/35 bg-danger-wash px-4 py-3 text-sm">
      <TriangleAlert aria-hidden className="mt-0.5 size-4.5 shrink-0 text-danger" />
      <div className="min-w-0 flex-1">
        <p className="font-semibold text-ink">{advice.title}</p>
        <p className="text-ink-soft">{advice.action}</p>
        {problem.message !== "" && (
          <p className="mt-1.5 wrap-anywhere text-ink-soft">
            The server said: {problem.message}
            {problem.requestId !== null && (
              <span className="block font-mono text-xs">Request {problem.requestId}</span>
            )}
          </p>
        )}
        {children !== undefined && <div className="mt-3 flex flex-wrap gap-2">{children}</div>}
      </div>
    </div>
  );
}
