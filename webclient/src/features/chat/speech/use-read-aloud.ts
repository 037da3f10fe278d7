import { useEffect, useRef, useState } from "react";
import { useStore } from "react-redux";
import type { SessionRoot } from "@/lib/base-api";
import { SampleAligner } from "@/lib/pcm";
import { PcmPlayer } from "@/lib/pcm-player";
import type { Problem } from "@/lib/problem";
import { selectCsrfToken } from "@/lib/session-slice";
import { problemOfCall, streamCall } from "@/lib/stream-call";
import { piecesOf } from "./pieces";

export type ReadAloud = {
  state: { status: "silent" } | { status: "preparing" } | { status: "speaking" } | { status: "failed"; problem: Problem };
  start: (text: string) => void;
  stop: () => void;
};

const VOICE = { model: "tts-1", voice: "alloy", response_format: "pcm" } as const;

/** Only one voice at a time: whoever begins ends whoever speaks. */
let speaking: AbortController | null = null;

/** Speaks a text, from its first sentence on while the others are still being made. */
export function useReadAloud(): ReadAloud {
  const store = useStore<SessionRoot>();
  const [state, setState] = useState<ReadAloud["state"]>({ status: "silent" });
  const mine = useRef<AbortController | null>(null);

  useEffect(() => () => mine.current?.abort(), []);

  const say = async (text: string, signal: AbortSignal) => {
    const player = new PcmPlayer();
    signal.addEventListener("abort", () => player.close());
    try {
      for (const input of piecesOf(text)) {
        const csrfToken = selectCsrfToken(store.getState());
        const body = await streamCall("/v1/audio/speech", { csrfToken, body: { ...VOICE, input }, signal });
        const aligner = new SampleAligner();
        const reader = body.getReader();
        for (;;) {
          const { done, value } = await reader.read();
          if (done) break;
          player.push(aligner.push(value));
          setState({ status: "speaking" });
        }
      }
      await player.drained(signal);
    } finally {
      if (!signal.aborted) player.close();
    }
  };

  const start = (text: string) => {
    speaking?.abort();
    const control = new AbortController();
    speaking = control;
    mine.current = control;
    setState({ status: "preparing" });
    control.signal.addEventListener("abort", () => {
      if (mine.current === control) setState({ status: "silent" });
    });
    say(text, control.signal).then(
      () => {
        if (mine.current === control) setState({ status: "silent" });
      },
      (error: unknown) => {
        const problem = problemOfCall(error);
        if (problem !== null && mine.current === control && !control.signal.aborted) {
          setState({ status: "failed", problem });
        }
      },
    );
  };

  return { state, start, stop: () => mine.current?.abort() };
}
