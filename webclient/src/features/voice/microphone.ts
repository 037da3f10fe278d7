import { PCM_RATE_HZ, toPcm16 } from "@/lib/pcm";
import { loudness, Resampler } from "./resampler";

export type Microphone = { close: () => void };

/** Samples gathered before they are handed on: 40 ms at 24 kHz. */
const PIECE_SAMPLES = 960;

/** Hands on what the microphone hears as 16-bit mono at 24 kHz, with its loudness from 0 to 1. */
export async function openMicrophone(
  onPiece: (pcm16: Uint8Array, level: number) => void,
): Promise<Microphone> {
  const devices = (navigator as { mediaDevices?: MediaDevices }).mediaDevices;
  if (devices === undefined) throw new DOMException("insecure page", "SecurityError");
  const stream = await devices.getUserMedia({
    // Without echo cancellation, the voice from the loudspeaker would interrupt itself.
    audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
  });
  const context = new AudioContext();
  await context.audioWorklet.addModule("/capture-worklet.js");
  await context.resume();
  const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
  const resampler = new Resampler(context.sampleRate, PCM_RATE_HZ);
  let gathered: Float32Array[] = [];
  let nSamples = 0;
  capture.port.onmessage = ({ data }: MessageEvent<Float32Array>) => {
    const samples = resampler.push(data);
    gathered.push(samples);
    nSamples += samples.length;
    if (nSamples < PIECE_SAMPLES) return;
    const piece = new Float32Array(nSamples);
    let at = 0;
    for (const part of gathered) {
      piece.set(part, at);
      at += part.length;
    }
    gathered = [];
    nSamples = 0;
    onPiece(toPcm16(piece), loudness(piece));
  };
  context.createMediaStreamSource(stream).connect(capture);
  return {
    close: () => {
      capture.port.onmessage = null;
      stream.getTracks().forEach((track) => track.stop());
      void context.close();
    },
  };
}
