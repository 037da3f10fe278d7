import { Square, Volume2 } from "lucide-react";
import { Button } from "@/components/ui/button";
import { ProblemNote } from "@/components/ui/problem-note";
import { useReadAloud } from "../speech/use-read-aloud";

/** Reads an answer aloud, and stops. */
export function ReadAloudButton({ text }: { text: string }) {
  const { state, start, stop } = useReadAloud();
  const busy = state.status === "preparing" || state.status === "speaking";
  return (
    <>
      <Button size="sm" variant="ghost" onClick={() => (busy ? stop() : start(text))}>
        {busy ? <Square aria-hidden className="size-3.5 fill-current" /> : <Volume2 aria-hidden className="size-4" />}
        {busy ? "Stop reading" : "Read aloud"}
      </Button>
      <span role="status" className="sr-only">
        {state.status === "preparing" && "Preparing the voice"}
        {state.status === "speaking" && "Reading aloud"}
      </span>
      {state.status === "failed" && (
        <div className="basis-full">
          <ProblemNote problem={state.problem} />
        </div>
      )}
    </>
  );
}
