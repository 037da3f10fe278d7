import type { StageName } from "@/api/types";
import { count } from "@/lib/format";
import type { QueuePlace, StageEntry } from "./stream-reducer";

export type StageSummary = {
  stage: StageName;
  total: number;
  done: number;
  fromMemory: number;
  state: "started" | "finished";
  /** How far the work is that is going on, 0 to 1; null when the server does not tell. */
  fraction: number | null;
  /** Its newest result in words, or empty. */
  note: string;
};

const ORDER: readonly StageName[] = [
  "storing",
  "listening",
  "looking",
  "watching",
  "reading",
  "searching",
  "writing",
  "drawing",
  "speaking",
];

/** One row per stage, in the order things happen, whatever order the events came in. */
export function summarizeStages(entries: readonly StageEntry[]): StageSummary[] {
  return ORDER.flatMap((stage) => {
    const mine = entries.filter((entry) => entry.stage === stage);
    if (mine.length === 0) return [];
    const done = mine.filter((entry) => entry.state === "finished").length;
    return {
      stage,
      total: mine.length,
      done,
      fromMemory: mine.filter((entry) => entry.cache === "hit").length,
      state: done === mine.length ? "finished" : "started",
      fraction: fractionOf(mine),
      note: mine.findLast((entry) => entry.state === "started" && entry.note !== "")?.note ?? "",
    };
  });
}

/** The mean over what is going on; null when none of it tells how far it is. */
function fractionOf(entries: readonly StageEntry[]): number | null {
  const going = entries.filter((entry) => entry.state === "started");
  if (going.every((entry) => entry.done === null)) return null;
  return going.reduce((sum, entry) => sum + (entry.done ?? 0), 0) / going.length;
}

const DOING: Record<StageName, string> = {
  storing: "Saving",
  listening: "Listening",
  looking: "Looking",
  watching: "Watching",
  reading: "Reading",
  searching: "Searching",
  writing: "Writing",
  drawing: "Drawing",
  speaking: "Speaking",
};

/** What is happening: "Looking, 1 of 3". */
export function doing({ stage, total, done }: StageSummary): string {
  return total > 1 && done < total ? `${DOING[stage]}, ${done + 1} of ${total}` : DOING[stage];
}

/** What has happened: "Looked at 2 pictures". */
export function did({ stage, total }: StageSummary): string {
  switch (stage) {
    case "storing":
      return "Saved";
    case "listening":
      return `Heard ${count(total, "recording")}`;
    case "looking":
      return `Looked at ${count(total, "picture")}`;
    case "watching":
      return `Watched ${count(total, "video")}`;
    case "reading":
      return "Read";
    case "searching":
      return "Searched";
    case "writing":
      return "Written";
    case "drawing":
      return `Drew ${count(total, "picture")}`;
    case "speaking":
      return "Spoken";
  }
}

/** "from memory" when everything was remembered, "2 from memory" when some was, else nothing. */
export function memoryNote({ total, fromMemory }: StageSummary): string | null {
  if (fromMemory === 0) return null;
  return fromMemory === total ? "from memory" : `${fromMemory} from memory`;
}

/** "Waiting in line, place 3"; without the time left, which would be read out every second. */
export function inLine({ place }: QueuePlace): string {
  return place === 1 ? "Next in line" : `Waiting in line, place ${place}`;
}

/** "about 12 s", "about 3 min"; null when the server cannot tell. */
export function timeLeft({ etaS }: QueuePlace): string | null {
  if (etaS === null) return null;
  return etaS < 90 ? `about ${Math.max(1, Math.round(etaS))} s` : `about ${Math.round(etaS / 60)} min`;
}

/** One sentence for screen readers: the stage that is running now, without its percentage. */
export function announcement(queue: QueuePlace | null, stages: readonly StageSummary[]): string {
  if (queue !== null) return inLine(queue);
  const running = stages.findLast((stage) => stage.state === "started");
  return running === undefined ? "Thinking" : doing(running);
}
