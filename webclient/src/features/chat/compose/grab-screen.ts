/** One frame of a screen, a window or a tab, which the browser lets one choose. */
export async function grabScreen(): Promise<File> {
  const devices = (navigator as { mediaDevices?: Partial<MediaDevices> }).mediaDevices;
  if (devices?.getDisplayMedia === undefined) throw new DOMException("no screens here", "SecurityError");
  const stream = await devices.getDisplayMedia({ video: true, audio: false });
  try {
    const video = document.createElement("video");
    video.muted = true;
    video.srcObject = stream;
    await video.play();
    return await frameOf(video, "screen.png");
  } finally {
    stream.getTracks().forEach((track) => track.stop());
  }
}

/** What a video shows now, as a picture in its full size. */
export async function frameOf(video: HTMLVideoElement, name: string): Promise<File> {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d")?.drawImage(video, 0, 0);
  const type = name.endsWith(".png") ? "image/png" : "image/jpeg";
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, type, 0.92));
  if (blob === null) throw new DOMException("nothing was shown", "NotReadableError");
  return new File([blob], name, { type });
}

/** What to do when the screen cannot be had; null when one simply changed one's mind. */
export function screenAdvice(error: unknown): string | null {
  const name = error instanceof DOMException ? error.name : "";
  switch (name) {
    case "NotAllowedError":
    case "AbortError":
      return null;
    case "SecurityError":
      return "Screens can be captured only on https pages, and not on phones. Attach a screenshot instead.";
    default:
      return "The screen could not be captured. Attach a screenshot instead.";
  }
}
