import { useMemo, useRef } from "react";
import { useDispatch } from "react-redux";
import { useNavigate } from "react-router";
import { baseApi } from "@/lib/base-api";
import {
  useCreateConversationMutation,
  useDeleteConversationMutation,
  useRenameConversationMutation,
} from "@/lib/conversations-api";
import { shortTitle } from "@/lib/format";

export type KeptTalk = {
  /** The conversation it is kept in. */
  begin: () => Promise<string>;
  /** A new conversation is called by its first words. */
  name: (firstWords: string) => void;
  /** Shows it as it is kept; a new one in which nothing was said goes away. */
  finish: (wasSilent: boolean) => Promise<void>;
};

/** Keeps a talk in the conversation of this page, or in a new one where there is none. */
export function useKeptTalk(conversationId: string | undefined): KeptTalk {
  const [create] = useCreateConversationMutation();
  const [rename] = useRenameConversationMutation();
  const [remove] = useDeleteConversationMutation();
  const dispatch = useDispatch();
  const navigate = useNavigate();
  const kept = useRef<Promise<string> | null>(null);

  return useMemo(() => {
    const isNew = conversationId === undefined;
    return {
      begin: () => {
        kept.current ??= isNew ? create().unwrap().then(({ id }) => id) : Promise.resolve(conversationId);
        return kept.current;
      },
      name: (firstWords) => {
        if (isNew) void kept.current?.then((id) => rename({ id, title: shortTitle(firstWords) }));
      },
      finish: async (wasSilent) => {
        const id = await kept.current?.catch(() => null);
        if (typeof id !== "string") return;
        if (wasSilent) {
          if (isNew) void remove(id);
          return;
        }
        dispatch(baseApi.util.invalidateTags([{ type: "Items", id }, "Conversations"]));
        if (isNew) await navigate(`/c/${id}`);
      },
    };
  }, [conversationId, create, dispatch, navigate, remove, rename]);
}
