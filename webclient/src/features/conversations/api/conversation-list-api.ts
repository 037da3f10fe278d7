import type { Conversation, Page } from "@/api/types";
import { baseApi } from "@/lib/base-api";

const PAGE_SIZE = 40;

const conversationListApi = baseApi.injectEndpoints({
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
  }),
});

export const { useGetConversationsInfiniteQuery } = conversationListApi;
