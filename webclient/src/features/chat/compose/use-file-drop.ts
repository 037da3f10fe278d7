import { useEffect, useEffectEvent, useState, type DragEvent } from "react";
import type { Asset } from "@/api/types";
import { ASSET_TYPE, droppedAsset } from "@/lib/asset-drag";

export type FileDrop = {
  over: boolean;
  handlers: {
    onDragEnter: (event: DragEvent) => void;
    onDragOver: (event: DragEvent) => void;
    onDragLeave: (event: DragEvent) => void;
    onDrop: (event: DragEvent) => void;
  };
};

/** Files or media of this page dropped on an element, and files pasted anywhere on the page. */
export function useFileDrop(onFiles: (files: File[]) => void, onAsset: (asset: Asset) => void): FileDrop {
  /** Enter and leave also come from every child: only their balance tells whether it is over. */
  const [depth, setDepth] = useState(0);

  const onPaste = useEffectEvent((event: ClipboardEvent) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    onFiles(files);
  });
  useEffect(() => {
    const listener = (event: ClipboardEvent) => onPaste(event);
    document.addEventListener("paste", listener);
    return () => document.removeEventListener("paste", listener);
  }, []);

  const withFiles = (act: (event: DragEvent) => void) => (event: DragEvent) => {
    const { types } = event.dataTransfer;
    if (!types.includes("Files") && !types.includes(ASSET_TYPE)) return;
    event.preventDefault();
    act(event);
  };
  return {
    over: depth > 0,
    handlers: {
      onDragEnter: withFiles(() => setDepth(depth + 1)),
      onDragOver: withFiles((event) => {
        event.dataTransfer.dropEffect = "copy";
      }),
      onDragLeave: withFiles(() => setDepth(Math.max(0, depth - 1))),
      onDrop: withFiles((event) => {
        setDepth(0);
        const asset = droppedAsset(event.dataTransfer);
        if (asset === null) onFiles([...event.dataTransfer.files]);
        else onAsset(asset);
      }),
    },
  };
}
