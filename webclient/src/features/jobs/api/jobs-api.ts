import { useState } from "react";
import { baseApi } from "@/lib/base-api";
import { applyJobEvent, isFinal, type Job } from "../job";
import { followJob } from "../stream/follow-job";

export const jobsApi = baseApi.injectEndpoints({
  endpoints: (build) => ({
    getJobs: build.query<Job[], void>({
      query: () => ({ path: "/api/v1/jobs?limit=50" }),
      transformResponse: (body) => (body as { data: Job[] }).data,
      providesTags: ["Jobs"],
    }),
    cancelJob: build.mutation<unknown, string>({
      query: (id) => ({ path: `/api/v1/jobs/${id}/cancel`, method: "POST", body: {} }),
      invalidatesTags: ["Jobs"],
    }),
    deleteJob: build.mutation<unknown, string>({
      query: (id) => ({ path: `/api/v1/jobs/${id}`, method: "DELETE" }),
      invalidatesTags: ["Jobs"],
    }),
    /** Keeps one job of the list up to date while somebody subscribes to this. */
    watchJob: build.query<null, string>({
      queryFn: () => ({ data: null }),
      keepUnusedDataFor: 0,
      onCacheEntryAdded: async (id, { dispatch, cacheEntryRemoved }) => {
        const control = new AbortController();
        void cacheEntryRemoved.then(() => control.abort());
        await followJob(id, control.signal, (type, data) => {
          dispatch(
            jobsApi.util.updateQueryData("getJobs", undefined, (jobs) =>
              jobs.flatMap((job) => (job.id === id ? (applyJobEvent(job, type, data) ?? []) : job)),
            ),
          );
        });
        // The list has what came of it.
        dispatch(baseApi.util.invalidateTags(["Jobs"]));
      },
    }),
  }),
});

export const { useCancelJobMutation, useDeleteJobMutation, useGetJobsQuery, useWatchJobQuery } = jobsApi;

/** Everybody's own jobs, newest first; the running ones are followed by whoever draws them. */
export function useJobs(): { jobs: readonly Job[]; running: number; failed: boolean } {
  const [busy, setBusy] = useState(false);
  const { data = NONE, isError } = useGetJobsQuery(undefined, { pollingInterval: busy ? BUSY_MS : 0 });
  const running = data.filter((job) => !isFinal(job)).length;
  if (busy !== running > 0) setBusy(running > 0);
  return { jobs: data, running, failed: isError };
}

const NONE: Job[] = [];
/** How often the list is asked for while something is going on: events tell the few that are watched. */
const BUSY_MS = 5_000;
