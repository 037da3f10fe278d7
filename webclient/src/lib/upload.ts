import type { Asset } from "@/api/types";
import { problemFromHttp, problemOf, type Problem } from "./problem";

export type UploadListeners = {
  onProgress: (fraction: number) => void;
  onDone: (asset: Asset) => void;
  onFailed: (problem: Problem) => void;
};

/** Uploads one file; fetch cannot tell how far an upload is, so this is an XMLHttpRequest. */
export function upload(file: File, csrfToken: string | null, listeners: UploadListeners): () => void {
  const request = new XMLHttpRequest();
  request.open("POST", "/api/v1/assets");
  request.responseType = "text";
  if (csrfToken !== null) request.setRequestHeader("x-csrf-token", csrfToken);
  request.upload.onprogress = ({ loaded, total }) =>
    listeners.onProgress(total === 0 ? 0 : loaded / total);
  request.onerror = () => listeners.onFailed(problemOf("network", ""));
  request.onload = () => {
    const body = parseJson(request.responseText);
    if (request.status >= 200 && request.status < 300 && body !== null) listeners.onDone(body as Asset);
    else {
      const header = (name: string) => request.getResponseHeader(name);
      listeners.onFailed(problemFromHttp(request.status, body, header));
    }
  };
  const form = new FormData();
  form.append("file", file, file.name);
  request.send(form);
  return () => request.abort();
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
