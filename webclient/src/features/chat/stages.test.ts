import { describe, expect, it } from "vitest";
import { announcement, did, doing, memoryNote, summarizeStages } from "./stages";
import type { StageEntry } from "./stream-reducer";

const entry = (stage: StageEntry["stage"], over: boolean, cache: StageEntry["cache"] = "none", assetId: string | null = null): StageEntry => ({
  stage,
  assetId,
  state: over ? "finished" : "started",
  cache,
});

describe("stages in words", () => {
  it("count the assets that are still being looked at", () => {
    const [looking] = summarizeStages([entry("looking", true, "miss", "a"), entry("looking", false, "none", "b")]);
    expect(looking && doing(looking)).toBe("Looking, 2 of 2");
  });

  it("say what was done and how much of it was remembered", () => {
    const [heard] = summarizeStages([entry("listening", true, "hit", "a"), entry("listening", true, "miss", "b")]);
    expect(heard && did(heard)).toBe("Heard 2 recordings");
    expect(heard && memoryNote(heard)).toBe("1 from memory");
  });

  it("keep the order of the senses, not of the events", () => {
    const stages = summarizeStages([entry("writing", false), entry("listening", true)]);
    expect(stages.map((one) => one.stage)).toEqual(["listening", "writing"]);
  });

  it("announce only what is going on", () => {
    expect(announcement(summarizeStages([]))).toBe("Thinking");
    expect(announcement(summarizeStages([entry("looking", true), entry("writing", false)]))).toBe("Writing");
  });
});
