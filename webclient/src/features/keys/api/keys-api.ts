import type { ApiKey, ApiKeyScope, NewApiKey } from "@/api/types";
import { baseApi } from "@/lib/base-api";

export type KeyDraft = { name: string; scopes: ApiKeyScope[]; expires_in_days: number | null };

const keysApi = baseApi.injectEndpoints({
  endpoints: (build) => ({
    getKeys: build.query<ApiKey[], void>({
      query: () => ({ path: "/api/v1/keys" }),
      transformResponse: (list: { data: ApiKey[] }) => list.data,
      providesTags: ["Keys"],
    }),
    createKey: build.mutation<NewApiKey, KeyDraft>({
      query: (body) => ({ path: "/api/v1/keys", method: "POST", body }),
      invalidatesTags: ["Keys"],
    }),
    revokeKey: build.mutation<null, string>({
      query: (id) => ({ path: `/api/v1/keys/${id}`, method: "DELETE" }),
      invalidatesTags: ["Keys"],
    }),
  }),
});

export const { useCreateKeyMutation, useGetKeysQuery, useRevokeKeyMutation } = keysApi;
