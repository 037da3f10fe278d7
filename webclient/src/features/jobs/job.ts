import { isRecord } from "@/lib/problem";

export type JobStatus = "queued" | "in_progress" | "completed" | "failed" | "cancelled";

/** Work that takes longer than a few seconds, as the server lists it. */
export type Job = {
  id: string;
  kind: string;
  status: JobStatus;
  /** From 0 to 1. */
  progress: number;
  request: Record<string, unknown>;
  result: Record<string, unknown> | null;
  error: { code: string; message: string } | null;
  created_at: string;
  /** Its newest result in words; told by its events only. */
  note?: string;
  /** The address of how it looks now; told by its events only. */
  preview?: string;
};

export function isFinal({ status }: Job): boolean {
  return status !== "queued" && status !== "in_progress";
}

/** A job after one of its events; null when the event deleted it. Pure. */
export function applyJobEvent(job: Job, type: string, data: unknown): Job | null {
  const facts = isRecord(data) ? data : {};
  switch (type) {
    case "job.started":
      return { ...job, status: "in_progress" };
    case "job.progress":
      return {
        ...job,
        status: "in_progress",
        progress: typeof facts.done === "number" ? facts.done : job.progress,
        ...(typeof facts.note === "string" && facts.note !== "" ? { note: facts.note } : {}),
        ...(typeof facts.preview_url === "string" ? { preview: facts.preview_url } : {}),
      };
    case "job.completed":
      return { ...job, status: "completed", progress: 1 };
    case "job.failed":
      return { ...job, status: "failed" };
    case "job.cancelled":
      return { ...job, status: "cancelled" };
    case "job.deleted":
      return null;
    default:
      return job;
  }
}

const NAMES: Record<string, string> = {
  video: "Clip",
  transcription: "Transcript",
  perception: "Looking and listening",
};

/** What the work is, in a few words. */
export function jobTitle({ kind, request }: Job): string {
  const prompt = request.prompt;
  return typeof prompt === "string" && prompt !== "" ? prompt : (NAMES[kind] ?? kind);
}

/** The medium that came of it, if any. */
export function jobAsset({ result }: Job): string | null {
  return typeof result?.asset_id === "string" ? result.asset_id : null;
}

export function jobState({ status, progress }: Job): string {
  switch (status) {
    case "queued":
      return "Waiting";
    case "in_progress":
      return `${Math.round(progress * 100)} %`;
    case "completed":
      return "Done";
    case "failed":
      return "Failed";
    case "cancelled":
      return "Stopped";
  }
}
