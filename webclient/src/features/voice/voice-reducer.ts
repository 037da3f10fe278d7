import { isRecord, parseErrorBody, problemOf, type Problem } from "@/lib/problem";

/** What was said, by whom; `isFinal` once it does not change any more. */
export type Caption = { id: string; who: "you" | "them"; text: string; isFinal: boolean };

export type VoiceState = {
  status: "connecting" | "listening" | "hearing" | "thinking" | "speaking" | "away" | "ended" | "failed";
  captions: Caption[];
  /** Of a failure, or of something that did not work while the conversation goes on. */
  problem: Problem | null;
};

export const CONNECTING: VoiceState = { status: "connecting", captions: [], problem: null };

/** What the server and this page tell about a spoken conversation. */
export type VoiceEvent =
  | { kind: "ready" }
  | { kind: "heard" }
  | { kind: "paused" }
  | { kind: "yourWords"; itemId: string; text: string; isFinal: boolean }
  | { kind: "answering" }
  | { kind: "theirWords"; itemId: string; text: string }
  | { kind: "sound"; itemId: string; pcm16: string }
  | { kind: "answered" }
  | { kind: "silent" }
  | { kind: "lost" }
  | { kind: "ended" }
  | { kind: "refused"; problem: Problem }
  | { kind: "failed"; problem: Problem };

/** Reads a realtime event; null for what needs no attention here. */
export function parseVoiceEvent(event: unknown): VoiceEvent | null {
  if (!isRecord(event)) return null;
  const text = (name: string) => (typeof event[name] === "string" ? event[name] : "");
  switch (event.type) {
    case "session.created":
      return { kind: "ready" };
    case "input_audio_buffer.speech_started":
      return { kind: "heard" };
    case "input_audio_buffer.speech_stopped":
      return { kind: "paused" };
    case "conversation.item.input_audio_transcription.delta":
      return { kind: "yourWords", itemId: text("item_id"), text: text("delta"), isFinal: false };
    case "conversation.item.input_audio_transcription.completed":
      return { kind: "yourWords", itemId: text("item_id"), text: text("transcript"), isFinal: true };
    case "response.created":
      return { kind: "answering" };
    case "response.output_audio_transcript.delta":
    case "response.output_text.delta":
      return { kind: "theirWords", itemId: text("item_id"), text: text("delta") };
    case "response.output_audio.delta":
      return { kind: "sound", itemId: text("item_id"), pcm16: text("delta") };
    case "response.done":
      return doneOf(event.response);
    case "error": {
      const error = parseErrorBody(event.error);
      return { kind: "refused", problem: problemOf(error?.code ?? "internal_error", error?.message ?? "") };
    }
    default:
      return null;
  }
}

function doneOf(response: unknown): VoiceEvent {
  if (!isRecord(response) || response.status !== "failed") return { kind: "answered" };
  const details = isRecord(response.status_details) ? parseErrorBody(response.status_details.error) : null;
  return { kind: "refused", problem: problemOf(details?.code ?? "internal_error", details?.message ?? "") };
}

/** The conversation after an event. Pure. */
export function reduceVoice(state: VoiceState, event: VoiceEvent): VoiceState {
  if (state.status === "ended" || state.status === "failed") return state;
  switch (event.kind) {
    case "ready":
      return { ...state, status: "listening", problem: null };
    case "heard":
      return { ...state, status: "hearing", captions: finish(state.captions, "them"), problem: null };
    case "paused":
      return { ...state, status: "thinking" };
    case "yourWords": {
      const captions = say(state.captions, "you", event.itemId, event.text, event.isFinal);
      // Nothing was said after all: there will be no answer.
      const idle = event.isFinal && event.text.trim() === "" && state.status === "thinking";
      return { ...state, captions, status: idle ? "listening" : state.status };
    }
    case "answering":
      return state.status === "hearing" ? state : { ...state, status: "thinking" };
    case "theirWords":
      return { ...state, captions: say(state.captions, "them", event.itemId, event.text, false) };
    case "sound":
      return state.status === "hearing" ? state : { ...state, status: "speaking" };
    case "answered":
      return {
        ...state,
        captions: finish(state.captions, "them"),
        status: state.status === "thinking" ? "listening" : state.status,
      };
    case "silent":
      return state.status === "speaking" ? { ...state, status: "listening" } : state;
    case "lost":
      return { ...state, status: "away" };
    case "ended":
      return { ...state, status: "ended", captions: finish(state.captions, null) };
    case "refused":
      return { ...state, problem: event.problem, status: state.status === "thinking" ? "listening" : state.status };
    case "failed":
      return { ...state, status: "failed", problem: event.problem };
  }
}

function say(captions: Caption[], who: Caption["who"], id: string, text: string, isFinal: boolean): Caption[] {
  const before = captions.find((caption) => caption.id === id);
  if (before === undefined) return text === "" ? captions : [...captions, { id, who, text, isFinal }];
  if (before.isFinal) return captions;
  const words = isFinal ? text : before.text + text;
  return words.trim() === ""
    ? captions.filter((caption) => caption.id !== id)
    : captions.map((caption) => (caption.id === id ? { ...caption, text: words, isFinal } : caption));
}

function finish(captions: Caption[], who: Caption["who"] | null): Caption[] {
  return captions.map((caption) => (who === null || caption.who === who ? { ...caption, isFinal: true } : caption));
}

/** What is going on, for the eye and for screen readers. */
export function statusInWords(status: VoiceState["status"], muted: boolean): string {
  switch (status) {
    case "connecting":
      return "Connecting";
    case "listening":
      return muted ? "Your microphone is off" : "Listening";
    case "hearing":
      return "Hearing you";
    case "thinking":
      return "Thinking";
    case "speaking":
      return muted ? "Speaking" : "Speaking. Talk to interrupt";
    case "away":
      return "Reconnecting";
    case "ended":
      return "The conversation is over";
    case "failed":
      return "The conversation could not go on";
  }
}
