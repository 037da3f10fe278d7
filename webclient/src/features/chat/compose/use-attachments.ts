import { useEffect, useReducer, useRef, useState } from "react";
import { useStore } from "react-redux";
import type { Asset, AssetKind } from "@/api/types";
import type { SessionRoot } from "@/lib/base-api";
import { selectCsrfToken } from "@/lib/session-slice";
import { upload, type UploadListeners } from "@/lib/upload";
import { uploadRecording } from "@/lib/upload-recording";
import { kindOf, reduceAttachments, refusalOf, type Attachment } from "./attachments-reducer";

export type Attachments = {
  list: readonly Attachment[];
  /** A sentence about files that cannot be attached; null when all could. */
  refusal: string | null;
  add: (files: Iterable<File>) => void;
  /** Attaches what is on the server already. */
  adopt: (asset: Asset) => void;
  retry: (attachment: Attachment) => void;
  remove: (id: string) => void;
  clear: () => void;
};

/** Chosen files of the kinds `offered`, uploaded while the message is still being written. */
export function useAttachments(offered: readonly AssetKind[]): Attachments {
  const store = useStore<SessionRoot>();
  const [list, dispatch] = useReducer(reduceAttachments, []);
  const [refusal, setRefusal] = useState<string | null>(null);
  const aborts = useRef(new Map<string, () => void>());
  const previews = useRef(new Set<string>());

  useEffect(() => {
    const running = aborts.current;
    const urls = previews.current;
    return () => {
      running.forEach((abort) => abort());
      urls.forEach((url) => URL.revokeObjectURL(url));
    };
  }, []);

  const start = (id: string, file: File, kind: AssetKind) => {
    const listeners: UploadListeners = {
      onProgress: (fraction) => dispatch({ type: "progressed", id, fraction }),
      onDone: (asset) => dispatch({ type: "uploaded", id, asset }),
      onFailed: (problem) => dispatch({ type: "failed", id, problem }),
    };
    const abort =
      kind === "audio"
        ? uploadRecording(file, { ...listeners, onWords: (words) => dispatch({ type: "heard", id, words }) })
        : upload(file, selectCsrfToken(store.getState()), listeners);
    aborts.current.set(id, abort);
  };

  const add = (files: Iterable<File>) => {
    const chosen = [...files];
    for (const file of chosen) {
      const kind = kindOf(file.type, file.name);
      if (kind === null || refusalOf([file], offered) !== null) continue;
      const id = newId();
      const previewUrl = URL.createObjectURL(file);
      previews.current.add(previewUrl);
      dispatch({ type: "chosen", chosen: { id, name: file.name, kind, previewUrl, file, words: "" } });
      start(id, file, kind);
    }
    setRefusal(refusalOf(chosen, offered));
  };

  const adopt = (asset: Asset) => dispatch({ type: "adopted", id: newId(), asset });

  const remove = (id: string) => {
    aborts.current.get(id)?.();
    dispatch({ type: "removed", id });
  };

  const clear = () => {
    dispatch({ type: "cleared" });
    setRefusal(null);
  };

  const retry = ({ id, file, kind }: Attachment) => {
    if (file === null) return;
    dispatch({ type: "retried", id });
    start(id, file, kind);
  };

  return { list, refusal, add, adopt, retry, remove, clear };
}

function newId(): string {
  return `${Date.now()}-${Math.random()}`;
}
