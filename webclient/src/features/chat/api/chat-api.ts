import type {
  ConversationItem,
  Page,
  ResponseObject,
  Trace,
} from "@/api/types";
import { baseApi } from "@/lib/base-api";

const ITEMS_PER_PAGE = 100;

export const chatApi = baseApi.injectEndpoints({
  endpoints: (build) => ({
    getItems: build.query<ConversationItem[], string>({
      queryFn: async (conversationId, _api, _options, fetchPage) => {
        const items: ConversationItem[] = [];
        let after: string | null = null;
        do {
          const params = new URLSearchParams({ order: "asc", limit: String(ITEMS_PER_PAGE) });
          if (after !== null) params.set("after", after);
          const path = `/v1/conversations/${conversationId}/items?${params.toString()}`;
          const { data, error } = await fetchPage({ path });
          if (error !== undefined) return { error };
          const page = data as Page<ConversationItem>;
          items.push(...page.data);
          after = page.has_more ? page.last_id : null;
        } while (after !== null);
        return { data: items };
      },
      providesTags: (_result, _error, conversationId) => [{ type: "Items", id: conversationId }],
    }),
    getActiveResponse: build.query<{ response_id: string | null }, string>({
      query: (conversationId) => ({ path: `/api/v1/conversations/${conversationId}/active` }),
    }),
    getResponse: build.query<ResponseObject, string>({
      query: (responseId) => ({ path: `/v1/responses/${responseId}` }),
    }),
    cancelResponse: build.mutation<unknown, string>({
      query: (responseId) => ({ path: `/v1/responses/${responseId}/cancel`, method: "POST", body: {} }),
    }),
    getTrace: build.query<Trace, string>({
      query: (responseId) => ({ path: `/api/v1/requests/${responseId}/trace` }),
    }),
  }),
});

export const {
  useGetActiveResponseQuery,
  useGetItemsQuery,
  useGetResponseQuery,
  useGetTraceQuery,
} = chatApi;
