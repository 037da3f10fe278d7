import { Square, Trash2 } from "lucide-react";
import { MediaPlayer } from "@/components/media/media-player";
import { Button, IconButton } from "@/components/ui/button";
import { ProblemNote } from "@/components/ui/problem-note";
import { problemOf } from "@/lib/problem";
import { useCancelJobMutation, useDeleteJobMutation, useWatchJobQuery } from "../api/jobs-api";
import { jobAsset, jobState, jobTitle, type Job } from "../job";

const NO_SPEECH: [] = [];

/** One job: how far it is, what came of it, and how to end it. `watched`: follow its events. */
export function JobCard({ job, watched }: { job: Job; watched: boolean }) {
  useWatchJobQuery(job.id, { skip: !watched });
  const [cancel, cancelling] = useCancelJobMutation();
  const [remove] = useDeleteJobMutation();
  const title = jobTitle(job);
  const assetId = jobAsset(job);
  const going = job.status === "in_progress" || job.status === "queued";
  return (
    <li className="space-y-2 rounded-2xl border border-line bg-surface p-3 text-sm">
      <div className="flex items-start gap-2">
        <div className="min-w-0 flex-1">
          <p className="font-medium wrap-anywhere">{title}</p>
          <p role="status" className="text-ink-soft tabular-nums">
            {jobState(job)}
            {job.note !== undefined && going && `: ${job.note}`}
          </p>
        </div>
        {going ? (
          <Button size="sm" disabled={cancelling.isLoading} onClick={() => void cancel(job.id)}>
            <Square aria-hidden className="size-3 fill-current" /> Stop<span className="sr-only">: {title}</span>
          </Button>
        ) : (
          <IconButton label={`Put away: ${title}`} size="iconSm" onClick={() => void remove(job.id)}>
            <Trash2 aria-hidden className="size-4" />
          </IconButton>
        )}
      </div>
      {going && (
        <progress
          value={job.progress}
          max={1}
          aria-label={`Progress of ${title}`}
          className="block h-1.5 w-full appearance-none overflow-hidden rounded-full [&::-moz-progress-bar]:bg-accent [&::-webkit-progress-bar]:bg-line [&::-webkit-progress-value]:bg-accent"
        />
      )}
      {going && job.preview !== undefined && (
        <img src={job.preview} alt={`Not finished: ${title}`} className="max-h-48 w-full rounded-xl bg-sunken object-contain" />
      )}
      {job.status === "failed" && <ProblemNote problem={problemOf(job.error?.code ?? "internal_error", job.error?.message ?? "")} />}
      {assetId !== null && job.kind === "video" && (
        <MediaPlayer kind="video" url={`/api/v1/assets/${assetId}/content`} label={title} segments={NO_SPEECH} language="" moments={NO_SPEECH} />
      )}
    </li>
  );
}
