import type { StageName, Usage } from "@/api/types";
import { assertNever } from "@/lib/assert-never";
import type { Problem } from "@/lib/problem";
import { withPreview, withMade, type Preview, type MadeMedium } from "./made";
import type { CacheUse, StreamEvent } from "./stream/parse-message";

/** One stage, of one asset where the stage concerns one. */
export type StageEntry = {
  stage: StageName;
  assetId: string | null;
  state: "started" | "finished";
  cache: CacheUse;
  /** How far it is, 0 to 1; null until the server tells. */
  done: number | null;
  /** Its newest result in words, or empty. */
  note: string;
};

/** Where a question stands in line; place 1 is next. */
export type QueuePlace = { place: number; etaS: number | null };

type Progress = {
  text: string;
  /** Pictures and speech that came with it. */
  made: MadeMedium[];
  /** Pictures that are still being made. */
  previews: Preview[];
  /** Null once the work has begun. */
  queue: QueuePlace | null;
  stages: StageEntry[];
  /** Number of the last event applied; a reconnect asks for what comes after it. */
  lastSequence: number;
  /** Events that overtook others, in order, waiting for the gap before them to close. */
  early: StreamEvent[];
};

/** An answer while it comes in, and after. What was written before a failure stays visible. */
export type AnswerState = Progress &
  (
    | { status: "waiting" }
    | { status: "streaming" }
    | { status: "completed"; usage: Usage | null }
    | { status: "incomplete"; reason: string; usage: Usage | null }
    | { status: "cancelled" }
    | { status: "failed"; problem: Problem }
  );

export const WAITING: AnswerState = {
  status: "waiting",
  text: "",
  made: [],
  previews: [],
  queue: null,
  stages: [],
  lastSequence: -1,
  early: [],
};

export function isOver(answer: AnswerState): boolean {
  return answer.status !== "waiting" && answer.status !== "streaming";
}

/** True while an event is missing: the connection asks for it again. */
export function hasGap(answer: AnswerState): boolean {
  return answer.early.length > 0;
}

/**
 * Applies one event of the stream. Pure. Events may come twice (after a reconnect) or early
 * (when an old and a new subscription overlap); each is applied once, in order.
 */
export function reduceStream(answer: AnswerState, event: StreamEvent): AnswerState {
  if (isOver(answer)) return answer;
  if (event.kind === "stage") return withStage(answer, event);
  if (event.kind === "queued") return inLine(answer, event);
  if (event.kind === "finished") return finish(answer, event);
  if (event.sequence <= answer.lastSequence) return answer;
  // A stream's first event may have any number: a server may count from zero or from one.
  const isNext = event.kind === "created" || event.sequence === answer.lastSequence + 1;
  return isNext ? drain(apply(answer, event)) : holdBack(answer, event);
}

/** Gives up on missing events and applies those that were held back. Pure. */
export function closeGap(answer: AnswerState): AnswerState {
  if (isOver(answer)) return answer;
  return answer.early.reduce<AnswerState>(apply, { ...answer, early: [] });
}

/** Ends the answer from outside: refused by the server, or unreachable. Pure. */
export function failAnswer(answer: AnswerState, problem: Problem): AnswerState {
  if (isOver(answer)) return answer;
  return { ...progressOf(answer), early: [], status: "failed", problem };
}

function apply(answer: AnswerState, event: StreamEvent): AnswerState {
  const progress = { ...progressOf(answer), lastSequence: event.sequence };
  switch (event.kind) {
    case "created":
    case "other":
      return { ...progress, status: "streaming" };
    case "made":
      return {
        ...progress,
        status: "streaming",
        made: withMade(answer.made, [event.made]),
        previews: answer.previews.filter((preview) => preview.itemId !== event.made.itemId),
      };
    case "preview":
      return { ...progress, status: "streaming", previews: withPreview(answer.previews, event.preview) };
    case "delta":
      return { ...progress, status: "streaming", queue: null, text: answer.text + event.text };
    case "queued":
      return inLine(answer, event);
    case "stage":
      return withStage(answer, event);
    case "finished":
      return finish(answer, event);
    default:
      return assertNever(event);
  }
}

function drain(answer: AnswerState): AnswerState {
  const [first, ...rest] = answer.early;
  if (first === undefined || first.sequence > answer.lastSequence + 1) return answer;
  const shorter = { ...answer, early: rest };
  return drain(first.sequence <= answer.lastSequence ? shorter : apply(shorter, first));
}

function holdBack(answer: AnswerState, event: StreamEvent): AnswerState {
  if (answer.early.some((one) => one.sequence === event.sequence)) return answer;
  const early = [...answer.early, event].sort((a, b) => a.sequence - b.sequence);
  return { ...answer, early };
}

/** The last event carries the whole text, so it ends the answer whatever was missed before it. */
function finish(answer: AnswerState, event: StreamEvent & { kind: "finished" }): AnswerState {
  const caughtUp = closeGap(answer);
  const progress: Progress = {
    ...progressOf(caughtUp),
    lastSequence: Math.max(event.sequence, caughtUp.lastSequence),
    text: event.text ?? caughtUp.text,
    made: withMade(caughtUp.made, event.made),
    previews: [],
    queue: null,
  };
  const { outcome, usage } = event;
  switch (outcome.status) {
    case "completed":
      return { ...progress, status: "completed", usage };
    case "incomplete":
      return { ...progress, status: "incomplete", reason: outcome.reason, usage };
    case "cancelled":
      return { ...progress, status: "cancelled" };
    case "failed":
      return { ...progress, status: "failed", problem: outcome.problem };
    default:
      return assertNever(outcome);
  }
}

/** An old subscription may still tell of the line when a newer one has told of words. */
function inLine(answer: AnswerState, { place, etaS }: StreamEvent & { kind: "queued" }): AnswerState {
  return answer.text === "" ? { ...answer, queue: { place, etaS } } : answer;
}

function withStage(answer: AnswerState, event: StreamEvent & { kind: "stage" }): AnswerState {
  const { stage, assetId, cache } = event;
  const at = answer.stages.findIndex((one) => one.stage === stage && one.assetId === assetId);
  const known = answer.stages[at];
  const entry: StageEntry = {
    stage,
    assetId,
    state: event.state === "finished" ? "finished" : "started",
    cache,
    // A replayed "started" takes nothing back.
    done: event.done ?? known?.done ?? null,
    note: event.note === "" ? (known?.note ?? "") : event.note,
  };
  if (known === undefined) return { ...answer, queue: null, stages: [...answer.stages, entry] };
  // A replayed "started" never reopens a finished stage.
  if (known.state === "finished") return answer;
  return { ...answer, queue: null, stages: answer.stages.with(at, entry) };
}

function progressOf({ text, made, previews, queue, stages, lastSequence, early }: AnswerState): Progress {
  return { text, made, previews, queue, stages, lastSequence, early };
}
