import { useEffect, useReducer, useRef, useState } from "react";
import { useStore } from "react-redux";
import type { SessionRoot } from "@/lib/base-api";
import { selectCsrfToken } from "@/lib/session-slice";
import { kindOf, reduceAttachments, type Attachment } from "./attachments-reducer";
import { upload } from "./upload";

export type Attachments = {
  list: readonly Attachment[];
  /** A sentence about files that cannot be attached; null when all could. */
  refusal: string | null;
  add: (files: Iterable<File>) => void;
  retry: (attachment: Attachment) => void;
  remove: (id: string) => void;
  clear: () => void;
};

/** Chosen files, uploaded while the message is still being written. */
export function useAttachments(): Attachments {
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

  const start = (id: string, file: File) => {
    const abort = upload(file, selectCsrfToken(store.getState()), {
      onProgress: (fraction) => dispatch({ type: "progressed", id, fraction }),
      onDone: (asset) => dispatch({ type: "uploaded", id, asset }),
      onFailed: (problem) => dispatch({ type: "failed", id, problem }),
    });
    aborts.current.set(id, abort);
  };

  const add = (files: Iterable<File>) => {
    const refused: string[] = [];
    for (const file of files) {
      const kind = kindOf(file.type, file.name);
      if (kind === null) {
        refused.push(file.name);
        continue;
      }
      const id = `${Date.now()}-${Math.random()}`;
      const previewUrl = URL.createObjectURL(file);
      previews.current.add(previewUrl);
      dispatch({ type: "chosen", chosen: { id, name: file.name, kind, previewUrl, file } });
      start(id, file);
    }
    setRefusal(
      refused.length === 0
        ? null
        : `${refused.join(", ")}: only pictures and recordings can be attached.`,
    );
  };

  const remove = (id: string) => {
    aborts.current.get(id)?.();
    dispatch({ type: "removed", id });
  };

  const clear = () => {
    dispatch({ type: "cleared" });
    setRefusal(null);
  };

  const retry = ({ id, file }: Attachment) => {
    dispatch({ type: "retried", id });
    start(id, file);
  };

  return { list, refusal, add, retry, remove, clear };
}
