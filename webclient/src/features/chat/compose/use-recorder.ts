import { useEffect, useRef, useState } from "react";
import { toVoiceWav } from "./wav";

export type RecorderState =
  | { status: "idle" }
  | { status: "asking" }
  /** `level` is loudness from 0 to 1. */
  | { status: "recording"; seconds: number; level: number }
  | { status: "preparing" }
  | { status: "review"; file: File; url: string; seconds: number }
  | { status: "failed"; reason: string };

export type Recorder = {
  state: RecorderState;
  start: () => void;
  finish: () => void;
  /** Throws away what was recorded, or closes the message about a failure. */
  discard: () => void;
};

/** The server's limit for one recording. */
const MAX_SECONDS = 600;
const METER_EVERY_MS = 80;

type Session = { recorder: MediaRecorder; stream: MediaStream; context: AudioContext; meter: number };

/** Records a voice note: ask for the microphone, record with a level, review, keep or discard. */
export function useRecorder(): Recorder {
  const [state, setState] = useState<RecorderState>({ status: "idle" });
  const session = useRef<Session | null>(null);
  const keep = useRef(false);
  /** Goes up on discard: an answer to an older question is then ignored. */
  const generation = useRef(0);

  const release = () => {
    const current = session.current;
    session.current = null;
    if (current === null) return;
    window.clearInterval(current.meter);
    current.stream.getTracks().forEach((track) => track.stop());
    void current.context.close();
  };

  useEffect(
    () => () => {
      generation.current += 1;
      release();
    },
    [],
  );

  const begin = async () => {
    generation.current += 1;
    const mine = generation.current;
    setState({ status: "asking" });
    const stream = await requestMicrophone();
    if (mine !== generation.current) {
      stream.getTracks().forEach((track) => track.stop());
      return;
    }
    const chunks: Blob[] = [];
    const recorder = new MediaRecorder(stream);
    recorder.ondataavailable = ({ data }) => chunks.push(data);
    recorder.onstop = () => {
      release();
      if (!keep.current || mine !== generation.current) return;
      setState({ status: "preparing" });
      toVoiceWav(new Blob(chunks, { type: recorder.mimeType })).then(
        ({ file, seconds }) => {
          if (mine !== generation.current) return;
          setState({ status: "review", file, url: URL.createObjectURL(file), seconds });
        },
        () => setState({ status: "failed", reason: "Nothing was recorded. Check that the right microphone is chosen, then try again." }),
      );
    };
    const context = new AudioContext();
    const readLevel = levelReader(context, stream);
    const meter = everyTick((seconds) => {
      setState({ status: "recording", seconds, level: readLevel() });
      if (seconds >= MAX_SECONDS) stopKeeping();
    });
    session.current = { recorder, stream, context, meter };
    keep.current = true;
    recorder.start();
    setState({ status: "recording", seconds: 0, level: 0 });
  };

  const stopKeeping = () => {
    keep.current = true;
    if (session.current?.recorder.state === "recording") session.current.recorder.stop();
  };

  const discard = () => {
    generation.current += 1;
    keep.current = false;
    if (session.current?.recorder.state === "recording") session.current.recorder.stop();
    release();
    if (state.status === "review") URL.revokeObjectURL(state.url);
    setState({ status: "idle" });
  };

  const start = () => {
    begin().catch((error: unknown) => {
      release();
      setState({ status: "failed", reason: microphoneAdvice(error) });
    });
  };

  return { state, start, finish: stopKeeping, discard };
}

async function requestMicrophone(): Promise<MediaStream> {
  // Browsers hide the devices from pages that are neither local nor https.
  const devices = (navigator as { mediaDevices?: MediaDevices }).mediaDevices;
  if (devices === undefined) throw new DOMException("insecure page", "SecurityError");
  return devices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true } });
}

/** Calls back with the seconds passed; the id stops it. */
function everyTick(tick: (seconds: number) => void): number {
  const startedAt = performance.now();
  return window.setInterval(() => tick((performance.now() - startedAt) / 1000), METER_EVERY_MS);
}

function levelReader(context: AudioContext, stream: MediaStream): () => number {
  const analyser = context.createAnalyser();
  analyser.fftSize = 1024;
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  return () => {
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    // Speech is around 0.05 to 0.2: the root makes quiet voices visible.
    return Math.min(1, Math.sqrt(Math.sqrt(power)) * 1.6);
  };
}

/** What to do when the microphone cannot be had. */
export function microphoneAdvice(error: unknown): string {
  const name = error instanceof DOMException ? error.name : "";
  switch (name) {
    case "NotAllowedError":
      return "The microphone is blocked for this page. Allow it in the address bar's site settings, then try again.";
    case "NotFoundError":
      return "No microphone was found. Plug one in, or attach a recording instead.";
    case "NotReadableError":
      return "Another program is using the microphone. Close it there, then try again.";
    case "SecurityError":
      return "Browsers allow recording only on https pages. Open this page over https, or attach a recording instead.";
    default:
      return "Recording does not work in this browser. Attach a recording instead.";
  }
}
