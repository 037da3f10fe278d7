import type { Asset, Perception } from "@/api/types";
import { baseApi } from "./base-api";
import { asProblem, type Problem } from "./problem";

export const assetsApi = baseApi.injectEndpoints({
  endpoints: (build) => ({
    getAsset: build.query<Asset, string>({
      query: (assetId) => ({ path: `/api/v1/assets/${assetId}` }),
      keepUnusedDataFor: 3600,
    }),
    /** Null when nothing was perceived yet. */
    getPerception: build.query<Perception | null, string>({
      queryFn: async (assetId, _api, _options, fetchOne) => {
        const { data, error } = await fetchOne({ path: `/api/v1/assets/${assetId}/perception` });
        if (error === undefined) return { data: data as Perception };
        const problem: Problem = asProblem(error);
        return problem.status === 404 ? { data: null } : { error: problem };
      },
    }),
  }),
});

export const { useGetAssetQuery } = assetsApi;

/** What was perceived of an asset; asked for once the answer that needed it is there. */
export function usePerception(assetId: string, ready: boolean): Perception | null {
  const { data } = assetsApi.useGetPerceptionQuery(assetId, { skip: !ready });
  return data ?? null;
}
