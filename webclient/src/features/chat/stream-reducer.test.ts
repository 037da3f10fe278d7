import { describe, expect, it } from "vitest";
import { problemOf } from "@/lib/problem";
import type { StreamEvent } from "./stream/parse-message";
import { closeGap, failAnswer, hasGap, reduceStream, WAITING, type AnswerState } from "./stream-reducer";

const created: StreamEvent = { kind: "created", sequence: 0 };
const delta = (sequence: number, text: string): StreamEvent => ({ kind: "delta", sequence, text });
const looking = (state: "started" | "finished", cache: "hit" | "none" = "none"): StreamEvent => ({
  kind: "stage",
  sequence: 0,
  stage: "looking",
  state,
  assetId: "asset_1",
  cache,
  done: null,
  note: "",
});
const completed = (sequence: number, text: string | null): StreamEvent => ({
  kind: "finished",
  sequence,
  outcome: { status: "completed" },
  text,
  made: [],
  usage: { input_tokens: 5, output_tokens: 2 },
});

function play(events: StreamEvent[], from: AnswerState = WAITING): AnswerState {
  return events.reduce(reduceStream, from);
}

describe("an answer that streams in", () => {
  it("joins the pieces in order", () => {
    const answer = play([created, delta(1, "Hello"), delta(2, " world")]);
    expect(answer).toMatchObject({ status: "streaming", text: "Hello world", lastSequence: 2 });
  });

  it("shows the newest preview of a picture until the picture is there", () => {
    const preview = (sequence: number, url: string): StreamEvent => ({ kind: "preview", sequence, preview: { itemId: "call_1", url } });
    const drawing = play([created, preview(1, "data:a"), preview(2, "data:b")]);
    expect(drawing.previews).toEqual([{ itemId: "call_1", url: "data:b" }]);
    const made = { itemId: "call_1", kind: "image", assetId: "asset_1", words: "" } as const;
    expect(play([{ kind: "made", sequence: 3, made }], drawing)).toMatchObject({ previews: [], made: [made] });
    expect(play([completed(3, null)], drawing).previews).toEqual([]);
  });

  it("ends with the text and usage of the last event", () => {
    const answer = play([created, delta(1, "Hel"), completed(2, "Hello")]);
    expect(answer).toMatchObject({ status: "completed", text: "Hello", usage: { output_tokens: 2 } });
  });

  it("keeps its own text when the last event carries none", () => {
    expect(play([created, delta(1, "Hello"), completed(2, null)]).text).toBe("Hello");
  });

  it("keeps what was written before a failure", () => {
    const problem = problemOf("engine_unavailable", "restarting");
    const answer = failAnswer(play([created, delta(1, "Hel")]), problem);
    expect(answer).toMatchObject({ status: "failed", text: "Hel", problem });
  });

  it("is not changed by anything after its end", () => {
    const over = play([created, completed(1, "Done")]);
    expect(play([delta(2, "!"), looking("started")], over)).toBe(over);
  });
});

describe("a connection that breaks and comes back", () => {
  it("applies replayed events once", () => {
    const once = [created, delta(1, "a"), delta(2, "b")];
    expect(play([...once, ...once, delta(3, "c")]).text).toBe("abc");
  });

  it("waits for events that were overtaken", () => {
    const early = play([created, delta(1, "a"), delta(3, "c"), delta(4, "d")]);
    expect(early.text).toBe("a");
    expect(hasGap(early)).toBe(true);
    const filled = reduceStream(early, delta(2, "b"));
    expect(filled.text).toBe("abcd");
    expect(hasGap(filled)).toBe(false);
  });

  it("holds an early event back once, however often it comes", () => {
    const answer = play([created, delta(2, "b"), delta(2, "b"), delta(1, "a")]);
    expect(answer.text).toBe("ab");
  });

  it("goes on without events that never come", () => {
    const answer = closeGap(play([created, delta(2, "b"), delta(4, "d")]));
    expect(answer).toMatchObject({ text: "bd", lastSequence: 4 });
    expect(reduceStream(answer, delta(5, "e")).text).toBe("bde");
  });

  it("ends whole even when pieces are missing at the end", () => {
    const answer = play([created, delta(1, "a"), delta(3, "c"), completed(5, "abcd")]);
    expect(answer).toMatchObject({ status: "completed", text: "abcd", early: [] });
  });

  it("accepts a first event of any number", () => {
    expect(play([{ kind: "created", sequence: 1 }, delta(2, "a")]).text).toBe("a");
  });
});

describe("stages", () => {
  it("are kept per asset, with what memory knew", () => {
    const answer = play([created, looking("started"), looking("finished", "hit")]);
    expect(answer.stages).toEqual([
      { stage: "looking", assetId: "asset_1", state: "finished", cache: "hit", done: null, note: "" },
    ]);
  });

  it("keep what was told of their progress", () => {
    const progress: StreamEvent = {
      kind: "stage",
      sequence: 0,
      stage: "looking",
      state: "progress",
      assetId: "asset_1",
      cache: "none",
      done: 0.4,
      note: "a dog",
    };
    const answer = play([created, looking("started"), progress, looking("started")]);
    expect(answer.stages).toMatchObject([{ state: "started", done: 0.4, note: "a dog" }]);
  });

  it("are not reopened by a replay", () => {
    const answer = play([created, looking("started"), looking("finished"), looking("started")]);
    expect(answer.stages[0]?.state).toBe("finished");
  });

  it("may come before the answer is created", () => {
    const answer = play([{ ...looking("started"), sequence: -1 }, created, delta(1, "a")]);
    expect(answer).toMatchObject({ text: "a", stages: [{ stage: "looking" }] });
  });
});

describe("a place in line", () => {
  const queued = (place: number): StreamEvent => ({ kind: "queued", sequence: 0, place, etaS: 2 * place });

  it("is the last one told", () => {
    expect(play([created, queued(3), queued(2)]).queue).toEqual({ place: 2, etaS: 4 });
  });

  it("is over when the work begins", () => {
    expect(play([created, queued(1), looking("started")]).queue).toBeNull();
    expect(play([created, queued(1), delta(1, "a")]).queue).toBeNull();
    expect(play([created, queued(1), completed(1, "")]).queue).toBeNull();
  });

  it("does not come back once there are words", () => {
    expect(play([created, delta(1, "a"), queued(4)]).queue).toBeNull();
  });
});
