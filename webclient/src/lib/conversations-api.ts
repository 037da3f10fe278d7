import type { Conversation } from "@/api/types";
import { baseApi } from "./base-api";

const conversationsApi = baseApi.injectEndpoints({
  endpoints: (build) => ({
    createConversation: build.mutation<{ id: string }, void>({
      query: () => ({ path: "/v1/conversations", method: "POST", body: {} }),
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

export const { useCreateConversationMutation, useDeleteConversationMutation, useRenameConversationMutation } =
  conversationsApi;
