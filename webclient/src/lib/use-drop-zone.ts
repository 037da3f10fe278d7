import { useState, type DragEvent } from "react";
import type { Asset } from "@/api/types";
import { ASSET_TYPE, droppedAsset } from "./asset-drag";

export type DropZone = {
  /** Something is held over it. */
  over: boolean;
  handlers: {
    onDragEnter: (event: DragEvent) => void;
    onDragOver: (event: DragEvent) => void;
    onDragLeave: (event: DragEvent) => void;
    onDrop: (event: DragEvent) => void;
  };
};

/** Files, or media of this page, dropped on an element. */
export function useDropZone(onFiles: (files: File[]) => void, onAsset: (asset: Asset) => void): DropZone {
  /** Enter and leave also come from every child: only their balance tells whether it is over. */
  const [depth, setDepth] = useState(0);

  const ifOurs = (act: (event: DragEvent) => void) => (event: DragEvent) => {
    const { types } = event.dataTransfer;
    if (!types.includes("Files") && !types.includes(ASSET_TYPE)) return;
    event.preventDefault();
    act(event);
  };
  return {
    over: depth > 0,
    handlers: {
      onDragEnter: ifOurs(() => setDepth(depth + 1)),
      onDragOver: ifOurs((event) => {
        event.dataTransfer.dropEffect = "copy";
      }),
      onDragLeave: ifOurs(() => setDepth(Math.max(0, depth - 1))),
      onDrop: ifOurs((event) => {
        setDepth(0);
        const asset = droppedAsset(event.dataTransfer);
        if (asset === null) onFiles([...event.dataTransfer.files]);
        else onAsset(asset);
      }),
    },
  };
}
