import { afterEach, describe, expect, it, vi } from "vitest";
import { applyJobEvent, isFinal, jobAsset, jobState, jobTitle, type Job } from "./job";
import { followJob } from "./stream/follow-job";

const job: Job = {
  id: "job_1",
  kind: "video",
  status: "queued",
  progress: 0,
  request: { prompt: "a red apple" },
  result: null,
  error: null,
  created_at: "2026-01-01T00:00:00Z",
};

describe("a job", () => {
  it("goes on with its events", () => {
    const begun = applyJobEvent(job, "job.started", {});
    expect(begun).toMatchObject({ status: "in_progress" });
    const half = applyJobEvent(job, "job.progress", { done: 0.5, note: "step 4", preview_url: "/p?step=4" });
    expect(half).toMatchObject({ progress: 0.5, note: "step 4", preview: "/p?step=4" });
    expect(half && jobState(half)).toBe("50 %");
    expect(applyJobEvent(job, "job.completed", {})).toMatchObject({ status: "completed", progress: 1 });
    expect(applyJobEvent(job, "job.deleted", {})).toBeNull();
    expect(applyJobEvent(job, "job.new", {})).toEqual(job);
  });

  it("is told in words", () => {
    expect(jobTitle(job)).toBe("a red apple");
    expect(jobTitle({ ...job, kind: "transcription", request: {} })).toBe("Transcript");
    expect(jobAsset({ ...job, result: { asset_id: "asset_1" } })).toBe("asset_1");
    expect(isFinal({ ...job, status: "cancelled" })).toBe(true);
  });
});

describe("following a job", () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  it("goes on behind the last event after a lost connection, and ends with the job", async () => {
    const asked: (string | null)[] = [];
    const streams = [
      'id: 1\nevent: job.started\ndata: {}\n\nid: 2\nevent: job.progress\ndata: {"done":0.5}\n\n',
      "id: 3\nevent: job.completed\ndata: {}\n\n",
    ];
    vi.stubGlobal("fetch", (_path: string, { headers }: { headers: Headers }) => {
      asked.push(headers.get("last-event-id"));
      return Promise.resolve(new Response(streams.shift() ?? "", { status: 200 }));
    });
    const events: string[] = [];
    await followJob("job_1", new AbortController().signal, (type) => events.push(type), 0);
    expect(events).toEqual(["job.started", "job.progress", "job.completed"]);
    expect(asked).toEqual([null, "2"]);
  });

  it("gives up on a job that is gone", async () => {
    vi.stubGlobal("fetch", () => Promise.resolve(new Response("{}", { status: 404 })));
    const events: string[] = [];
    await followJob("job_1", new AbortController().signal, (type) => events.push(type), 0);
    expect(events).toEqual(["job.deleted"]);
  });
});
