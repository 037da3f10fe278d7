import { useJobs } from "./api/jobs-api";
import { JobCard } from "./components/job-card";
import { isFinal } from "./job";

/** A browser keeps six connections to a server; the rest of the page needs some of them. */
const MAX_WATCHED = 2;

type JobListProps = {
  /** Only jobs of this kind; all without it. */
  kind?: string;
  empty: string;
};

export function JobList({ kind, empty }: JobListProps) {
  const { jobs, failed } = useJobs();
  const shown = kind === undefined ? jobs : jobs.filter((job) => job.kind === kind);
  if (failed) return <p className="text-sm text-ink-soft">The jobs cannot be listed right now.</p>;
  if (shown.length === 0) return <p className="text-sm text-ink-soft">{empty}</p>;
  const watched = new Set(shown.filter((job) => !isFinal(job)).slice(-MAX_WATCHED).map((job) => job.id));
  return (
    <ul className="grid grid-cols-[repeat(auto-fill,minmax(min(16rem,100%),1fr))] gap-3">
      {shown.map((job) => (
        <JobCard key={job.id} job={job} watched={watched.has(job.id)} />
      ))}
    </ul>
  );
}
