import { createContext, useContext } from "react";
import type { Asset } from "@/api/types";

/** Attaches a medium of the conversation to the next message. */
export const AdoptContext = createContext<(asset: Asset) => void>(() => undefined);

export function useAdopt(): (asset: Asset) => void {
  return useContext(AdoptContext);
}
