import { useEffect, useRef, useState } from "react";
import { frameOf } from "./grab-screen";

export type CameraState =
  | { status: "asking" }
  | { status: "live"; stream: MediaStream; hasSound: boolean }
  | { status: "filming"; stream: MediaStream; seconds: number }
  | { status: "failed"; reason: string };

export type Camera = {
  state: CameraState;
  photograph: (video: HTMLVideoElement) => Promise<File>;
  film: () => void;
  /** Ends the clip, which is then handed to `onClip`. */
  cut: () => void;
};

const MAX_CLIP_S = 60;
const TICK_MS = 250;

/** The camera for as long as the component is shown. Clips have sound if a microphone is allowed. */
export function useCamera(onClip: (clip: File) => void): Camera {
  const [state, setState] = useState<CameraState>({ status: "asking" });
  const recorder = useRef<MediaRecorder | null>(null);

  useEffect(() => {
    let gone = false;
    let opened: MediaStream | null = null;
    openCamera().then(
      (stream) => {
        opened = stream;
        if (gone) stop(stream);
        else setState({ status: "live", stream, hasSound: stream.getAudioTracks().length > 0 });
      },
      (error: unknown) => setState({ status: "failed", reason: cameraAdvice(error) }),
    );
    return () => {
      gone = true;
      recorder.current = null;
      if (opened !== null) stop(opened);
    };
  }, []);

  const film = () => {
    if (state.status !== "live") return;
    const { stream } = state;
    const chunks: Blob[] = [];
    const mine = new MediaRecorder(stream);
    const startedAt = performance.now();
    recorder.current = mine;
    const tick = window.setInterval(() => {
      const seconds = (performance.now() - startedAt) / 1000;
      if (seconds >= MAX_CLIP_S) mine.stop();
      else setState({ status: "filming", stream, seconds });
    }, TICK_MS);
    mine.ondataavailable = ({ data }) => chunks.push(data);
    mine.onstop = () => {
      window.clearInterval(tick);
      // Closing the dialog ends the clip as well, but nobody wants it then.
      if (recorder.current !== mine) return;
      const type = mine.mimeType.split(";")[0] ?? "video/webm";
      const suffix = type === "video/mp4" ? "mp4" : "webm";
      onClip(new File(chunks, `clip.${suffix}`, { type }));
    };
    mine.start();
    setState({ status: "filming", stream, seconds: 0 });
  };

  return {
    state,
    photograph: (video) => frameOf(video, "photo.jpg"),
    film,
    cut: () => recorder.current?.stop(),
  };
}

async function openCamera(): Promise<MediaStream> {
  const devices = (navigator as { mediaDevices?: MediaDevices }).mediaDevices;
  if (devices === undefined) throw new DOMException("insecure page", "SecurityError");
  const video = { width: { ideal: 1280 }, facingMode: "environment" };
  try {
    return await devices.getUserMedia({ video, audio: true });
  } catch {
    // Without a microphone there is still something to see.
    return devices.getUserMedia({ video });
  }
}

function stop(stream: MediaStream): void {
  stream.getTracks().forEach((track) => track.stop());
}

/** What to do when the camera cannot be had. */
export function cameraAdvice(error: unknown): string {
  const name = error instanceof DOMException ? error.name : "";
  switch (name) {
    case "NotAllowedError":
      return "The camera is blocked for this page. Allow it in the address bar's site settings, then try again.";
    case "NotFoundError":
      return "No camera was found. Plug one in, or attach a picture instead.";
    case "NotReadableError":
      return "Another program is using the camera. Close it there, then try again.";
    case "SecurityError":
      return "Browsers allow the camera only on https pages. Open this page over https, or attach a picture instead.";
    default:
      return "The camera does not work in this browser. Attach a picture instead.";
  }
}
