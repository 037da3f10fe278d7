import { Dialog } from "@/components/ui/dialog";
import { ProblemNote } from "@/components/ui/problem-note";
import { Spinner } from "@/components/ui/spinner";
import { asProblem } from "@/lib/problem";
import { useGetTraceQuery } from "./api/chat-api";
import { TraceChart } from "./components/trace-chart";

type TraceDialogProps = { responseId: string; onClose: () => void };

export function TraceDialog({ responseId, onClose }: TraceDialogProps) {
  const trace = useGetTraceQuery(responseId);
  return (
    <Dialog
      open
      onOpenChange={(open) => {
        if (!open) onClose();
      }}
      width="lg"
      title="Where the time went"
      description="Every step of this answer, in the order it began."
    >
      {trace.data !== undefined && <TraceChart trace={trace.data} />}
      {trace.isLoading && <Spinner label="Fetching the trace" />}
      {trace.error !== undefined && <ProblemNote problem={asProblem(trace.error)} />}
    </Dialog>
  );
}
