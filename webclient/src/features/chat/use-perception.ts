import type { Perception } from "@/api/types";
import { useGetPerceptionQuery } from "./api/chat-api";

/** What was perceived of an asset; asked for once the answer that needed it is there. */
export function usePerception(assetId: string, ready: boolean): Perception | null {
  const { data } = useGetPerceptionQuery(assetId, { skip: !ready });
  return data ?? null;
}
