import { readEvents } from "@/lib/sse";
import { CallFailed, streamCall } from "@/lib/stream-call";

const FINAL: readonly string[] = ["job.completed", "job.failed", "job.cancelled", "job.deleted"];
const AGAIN_AFTER_MS = 1_000;

/** Tells every event of a job once, over as many connections as it takes, to its last one. */
export async function followJob(
  jobId: string,
  signal: AbortSignal,
  onEvent: (type: string, data: unknown) => void,
  againAfterMs: number = AGAIN_AFTER_MS,
): Promise<void> {
  let last = "";
  while (!signal.aborted) {
    try {
      const body = await streamCall(`/api/v1/jobs/${jobId}/events`, {
        method: "GET",
        csrfToken: null,
        headers: last === "" ? {} : { "last-event-id": last },
        signal,
      });
      for await (const { type, data, id } of readEvents(body)) {
        last = id;
        onEvent(type, JSON.parse(data));
        if (FINAL.includes(type)) return;
      }
    } catch (error) {
      if (error instanceof CallFailed && error.problem.status === 404) {
        onEvent("job.deleted", null);
        return;
      }
      // Anything else passes: the server restarts, or the network is away.
    }
    await new Promise((resolve) => setTimeout(resolve, againAfterMs));
  }
}
