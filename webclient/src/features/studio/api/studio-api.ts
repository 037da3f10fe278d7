import type { Lineage, Provenance } from "@/api/types";
import { baseApi } from "@/lib/base-api";

const studioApi = baseApi.injectEndpoints({
  endpoints: (build) => ({
    getProvenance: build.query<Provenance, string>({
      query: (assetId) => ({ path: `/api/v1/assets/${assetId}/provenance` }),
    }),
    getLineage: build.query<Lineage, string>({
      query: (assetId) => ({ path: `/api/v1/assets/${assetId}/lineage` }),
    }),
    /** Reads a file's own statement; the file is not kept. */
    verifyFile: build.mutation<Provenance, File>({
      query: (file) => {
        const body = new FormData();
        body.append("file", file, file.name);
        return { path: "/api/v1/provenance/verify", method: "POST", body };
      },
    }),
    createVideo: build.mutation<{ id: string }, FormData>({
      query: (body) => ({ path: "/v1/videos", method: "POST", body }),
      invalidatesTags: ["Jobs"],
    }),
  }),
});

export const { useCreateVideoMutation, useGetLineageQuery, useGetProvenanceQuery, useVerifyFileMutation } = studioApi;
