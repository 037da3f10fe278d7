import type { Conversation, Page } from "@/api/types";
import { baseApi } from "@/lib/base-api";

const PAGE_SIZE = 40;

const conversationsApi = baseApi.injectEndpoints({
  endpoints: (build) => ({
    getConversations: build.infiniteQuery<Page<Conversation>, void, string>({
      infiniteQueryOptions: {
        initialPageParam: "",
        getNextPageParam: (page) => (page.has_more && page.last_id !== null ? page.last_id : undefined),
      },
      query: ({ pageParam }) => {
        const params = new URLSearchParams({ limit: String(PAGE_SIZE) });
        if (pageParam !== "") params.set("after", pageParam);
        return { path: `/api/v1/conversations?${params.toString()}` };
      },
      providesTags: ["Conversations"],
    }),
    renameConversation: build.mutation<Conversation, { id: string; title: string }>({
      query: ({ id, title }) => ({ path: `/api/v1/conversations/${id}`, method: "PATCH", body: { title } }),
      invalidatesTags: ["Conversations"],
    }),
    deleteConversation: build.mutation<unknown, string>({
      query: (id) => ({ path: `/v1/conversations/${id}`, method: "DELETE" }),
      invalidatesTags: ["Conversations"],
    }),
  }),
});

export const {
  useDeleteConversationMutation,
  useGetConversationsInfiniteQuery,
  useRenameConversationMutation,
} = conversationsApi;
