import { describe, expect, it } from "vitest";
import { loudness, Resampler } from "./resampler";
import { CONNECTING, parseVoiceEvent, reduceVoice, statusInWords, type VoiceEvent } from "./voice-reducer";

const after = (...events: VoiceEvent[]) => events.reduce(reduceVoice, CONNECTING);
const you = (text: string, isFinal = false): VoiceEvent => ({ kind: "yourWords", itemId: "item_1", text, isFinal });
const them = (text: string): VoiceEvent => ({ kind: "theirWords", itemId: "item_2", text });
const sound: VoiceEvent = { kind: "sound", itemId: "item_2", pcm16: "" };

describe("a spoken conversation", () => {
  it("goes from listening to speaking and back", () => {
    const turn: VoiceEvent[] = [{ kind: "ready" }, { kind: "heard" }, { kind: "paused" }, { kind: "answering" }];
    expect(after({ kind: "ready" }, { kind: "heard" }).status).toBe("hearing");
    expect(after(...turn).status).toBe("thinking");
    expect(after(...turn, sound, { kind: "answered" }).status).toBe("speaking");
    expect(after(...turn, sound, { kind: "answered" }, { kind: "silent" }).status).toBe("listening");
  });

  it("captions both sides, word by word", () => {
    const { captions } = after(you("Hello"), you(" there"), you("Hello there.", true), you("late"), them("Hi"), them("!"));
    expect(captions).toEqual([
      { id: "item_1", who: "you", text: "Hello there.", isFinal: true },
      { id: "item_2", who: "them", text: "Hi!", isFinal: false },
    ]);
  });

  it("listens on when it was only a noise", () => {
    const state = after({ kind: "ready" }, { kind: "heard" }, { kind: "paused" }, you("", true));
    expect(state).toMatchObject({ status: "listening", captions: [] });
  });

  it("is interrupted by speaking", () => {
    const state = after({ kind: "ready" }, them("A long"), sound, { kind: "heard" }, sound);
    expect(state.status).toBe("hearing");
    expect(state.captions[0]?.isFinal).toBe(true);
  });

  it("outlives a refusal and a lost connection, but not its end", () => {
    const refused = parseVoiceEvent({ type: "error", error: { message: "no", code: "overloaded" } });
    expect(refused && after({ kind: "ready" }, refused)).toMatchObject({ status: "listening", problem: { code: "overloaded" } });
    expect(after({ kind: "lost" }).status).toBe("away");
    expect(after({ kind: "lost" }, { kind: "ready" }).status).toBe("listening");
    expect(after({ kind: "ended" }, { kind: "ready" }).status).toBe("ended");
  });

  it("is told in words", () => {
    expect(statusInWords("listening", true)).toBe("Your microphone is off");
    expect(statusInWords("speaking", false)).toContain("interrupt");
    expect(statusInWords("speaking", true)).toBe("Speaking");
  });
});

it("reads the server's events and leaves out what is for others", () => {
  expect(parseVoiceEvent({ type: "response.output_audio.delta", item_id: "i", delta: "AAAA" })).toEqual({
    kind: "sound",
    itemId: "i",
    pcm16: "AAAA",
  });
  expect(parseVoiceEvent({ type: "response.done", response: { status: "cancelled" } })).toEqual({ kind: "answered" });
  expect(
    parseVoiceEvent({ type: "response.done", response: { status: "failed", status_details: { error: { code: "x", message: "m" } } } }),
  ).toMatchObject({ kind: "refused", problem: { message: "m" } });
  expect(parseVoiceEvent({ type: "rate_limits.updated" })).toBeNull();
  expect(parseVoiceEvent("odd")).toBeNull();
});

describe("resampling", () => {
  it("keeps a ramp a ramp, whatever the pieces", () => {
    const ramp = Float32Array.from({ length: 480 }, (_, i) => i);
    const whole = new Resampler(48_000, 24_000).push(ramp);
    const pieces = new Resampler(48_000, 24_000);
    const joined = [ramp.subarray(0, 101), ramp.subarray(101, 333), ramp.subarray(333)].flatMap((piece) => [...pieces.push(piece)]);
    expect(joined).toEqual([...whole]);
    expect(joined.slice(0, 3)).toEqual([0, 2, 4]);
  });

  it("makes the right number of samples of an odd rate", () => {
    const resampler = new Resampler(44_100, 24_000);
    let made = 0;
    for (let i = 0; i < 50; i += 1) made += resampler.push(new Float32Array(882)).length;
    expect(Math.abs(made - 24_000)).toBeLessThanOrEqual(1);
  });

  it("measures loudness", () => {
    expect(loudness(new Float32Array(8))).toBe(0);
    expect(loudness(new Float32Array(8).fill(1))).toBe(1);
  });
});
