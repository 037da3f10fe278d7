import { describe, expect, it } from "vitest";
import { announcement, did, doing, inLine, memoryNote, summarizeStages, timeLeft } from "./stages";
import type { StageEntry } from "./stream-reducer";

const entry = (stage: StageEntry["stage"], over: boolean, cache: StageEntry["cache"] = "none", assetId: string | null = null): StageEntry => ({
  stage,
  assetId,
  state: over ? "finished" : "started",
  cache,
  done: null,
  note: "",
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

  it("say where one stands in line, and for how long", () => {
    expect(inLine({ place: 1, etaS: 4 })).toBe("Next in line");
    expect(inLine({ place: 7, etaS: null })).toBe("Waiting in line, place 7");
    expect(timeLeft({ place: 7, etaS: 0.2 })).toBe("about 1 s");
    expect(timeLeft({ place: 7, etaS: 200 })).toBe("about 3 min");
    expect(timeLeft({ place: 7, etaS: null })).toBeNull();
    expect(announcement({ place: 7, etaS: 12 }, [])).toBe("Waiting in line, place 7");
  });

  it("tell how far the work is and what it found last", () => {
    const half: StageEntry = { ...entry("watching", false, "none", "a"), done: 0.5, note: "a dog" };
    const [watching] = summarizeStages([half, entry("watching", false, "none", "b")]);
    expect(watching).toMatchObject({ fraction: 0.25, note: "a dog" });
    expect(summarizeStages([entry("watching", false)])[0]?.fraction).toBeNull();
  });

  it("announce only what is going on", () => {
    expect(announcement(null, summarizeStages([]))).toBe("Thinking");
    expect(announcement(null, summarizeStages([entry("looking", true), entry("writing", false)]))).toBe("Writing");
  });
});
