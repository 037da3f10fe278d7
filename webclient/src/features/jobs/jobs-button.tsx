import { ListTodo } from "lucide-react";
import { Popover } from "radix-ui";
import { Button } from "@/components/ui/button";
import { count } from "@/lib/format";
import { useJobs } from "./api/jobs-api";
import { JobList } from "./job-list";

/** Opens the list of long work; says how much of it is going on. */
export function JobsButton() {
  const { jobs, running } = useJobs();
  // Who never started one need not learn the word.
  if (jobs.length === 0) return null;
  return (
    <Popover.Root>
      <Popover.Trigger asChild>
        <Button variant="ghost" className="mt-1 w-full justify-start px-3">
          <ListTodo aria-hidden className="size-4.5 text-read" /> Jobs
          {running > 0 && (
            <span className="ml-auto rounded-full bg-accent-wash px-2 text-xs leading-5 font-medium text-accent tabular-nums">
              <span aria-hidden>{running}</span>
              <span className="sr-only">, {count(running, "job")} going on</span>
            </span>
          )}
        </Button>
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content
          aria-label="Jobs"
          align="start"
          sideOffset={6}
          collisionPadding={12}
          className="animate-fade z-50 max-h-[min(32rem,var(--radix-popover-content-available-height))] w-[min(24rem,calc(100vw-1.5rem))] overflow-y-auto rounded-2xl border border-line bg-surface p-3 shadow-lift"
        >
          <h2 className="mb-3 px-1 text-lg font-semibold">Jobs</h2>
          <JobList empty="Nothing is going on." />
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}
