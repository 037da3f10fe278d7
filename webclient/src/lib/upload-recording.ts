import type { Asset } from "@/api/types";
import { isRecord, problemFromHttp, problemOf } from "./problem";
import type { UploadListeners } from "./upload";

type RecordingListeners = UploadListeners & {
  /** All words so far; they come while the file is still being sent, and a little longer. */
  onWords: (words: string) => void;
};

const PIECE_BYTES = 128 * 1024;
/** How much may wait in the browser: it tells how far the upload is, and is no use for more. */
const MAX_AHEAD_BYTES = 512 * 1024;
const LOOK_EVERY_MS = 30;
/** The server's close codes are 4000 and an HTTP status. */
const CLOSE_BASE = 4000;

/** Uploads a recording, which is written down meanwhile: a WebSocket, since fetch reads nothing before it has sent all. */
export function uploadRecording(file: File, listeners: RecordingListeners): () => void {
  const scheme = window.location.protocol === "https:" ? "wss" : "ws";
  const query = new URLSearchParams({ filename: file.name, mime_type: file.type });
  const socket = new WebSocket(`${scheme}://${window.location.host}/api/v1/transcriptions/upload?${query.toString()}`);
  const texts: string[] = [];
  let hasEnded = false;

  const fail = (problem: Parameters<UploadListeners["onFailed"]>[0]) => {
    if (!hasEnded) listeners.onFailed(problem);
    hasEnded = true;
  };

  socket.onopen = () => {
    sendAll(socket, file, listeners.onProgress).catch(() => {
      fail(problemOf("broken_media", "The file cannot be read any more."));
      socket.close();
    });
  };
  socket.onmessage = ({ data }: MessageEvent<string>) => {
    const message: unknown = JSON.parse(data);
    if (!isRecord(message)) return;
    if (message.type === "segment" && typeof message.text === "string") {
      texts.push(message.text);
      listeners.onWords(texts.join(" "));
    } else if (message.type === "asset") {
      hasEnded = true;
      listeners.onDone(message.asset as Asset);
    } else if (message.type === "error") {
      fail(problemFromHttp(0, message, () => null));
    }
  };
  socket.onclose = ({ code }) => fail(problemFromHttp(Math.max(0, code - CLOSE_BASE), null, () => null));

  return () => {
    hasEnded = true;
    socket.close();
  };
}

async function sendAll(socket: WebSocket, file: File, onProgress: (fraction: number) => void): Promise<void> {
  for (let start = 0; start < file.size; start += PIECE_BYTES) {
    const piece = await file.slice(start, start + PIECE_BYTES).arrayBuffer();
    while (socket.bufferedAmount > MAX_AHEAD_BYTES) await pause(LOOK_EVERY_MS);
    if (socket.readyState !== WebSocket.OPEN) return;
    socket.send(piece);
    onProgress((start + piece.byteLength - socket.bufferedAmount) / file.size);
  }
  socket.send(JSON.stringify({ type: "stop" }));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => window.setTimeout(resolve, ms));
}
