import { useEffect, useMemo, useState } from "react";
import { useSelector } from "react-redux";
import { useNavigate } from "react-router";
import type { InputPart } from "@/api/types";
import { useCreateConversationMutation, useRenameConversationMutation } from "@/lib/conversations-api";
import { asProblem, type Problem } from "@/lib/problem";
import {
  useGetActiveResponseQuery,
  useGetItemsQuery,
} from "./api/chat-api";
import type { ChatRoot, LiveTurn } from "./chat-slice";
import { titleFor } from "./compose/input-parts";
import type { Wish } from "./made";
import { useLiveAnswers } from "./stream/live-answers-provider";
import { isOver } from "./stream-reducer";
import { buildThread, type ThreadTurn } from "./thread";

export type Conversation = {
  status: "loading" | "ready" | { problem: Problem };
  turns: ThreadTurn[];
  /** The answer being written now; null when there is none. */
  running: LiveTurn | null;
  sending: boolean;
  /** Resolves to true when the question is on its way. Starts a conversation where there is none. */
  ask: (question: InputPart[], wishes: readonly Wish[]) => Promise<boolean>;
  stop: () => void;
};

/** One conversation: what is stored of it, what is being written, and how to go on. */
export function useConversation(conversationId: string | null): Conversation {
  const skip = conversationId === null;
  const items = useGetItemsQuery(conversationId ?? "", { skip });
  const active = useGetActiveResponseQuery(conversationId ?? "", {
    skip,
    refetchOnMountOrArgChange: true,
  });
  const [createConversation, creation] = useCreateConversationMutation();
  const [nameConversation] = useRenameConversationMutation();
  const answers = useLiveAnswers();
  const navigate = useNavigate();
  const allTurns = useSelector((root: ChatRoot) => root.chat.turns);
  const [refusal, setRefusal] = useState<Problem | null>(null);

  const live = useMemo(
    () => allTurns.filter((turn) => turn.conversationId === conversationId),
    [allTurns, conversationId],
  );
  const turns = useMemo(() => buildThread(items.data ?? [], live), [items.data, live]);
  const running = live.find((turn) => !isOver(turn.answer)) ?? null;

  const activeId = active.isFetching ? null : (active.data?.response_id ?? null);
  const asking = live.some((turn) => turn.responseId === null && !isOver(turn.answer));
  useEffect(() => {
    // A question whose first event is still to come may well be the active one.
    if (conversationId === null || activeId === null || answers === null || asking) return;
    answers.resume(conversationId, activeId);
  }, [activeId, answers, asking, conversationId]);

  const ask = async (question: InputPart[], wishes: readonly Wish[]): Promise<boolean> => {
    if (answers === null || running !== null) return false;
    if (conversationId !== null) {
      answers.ask(conversationId, question, wishes);
      return true;
    }
    const created = await createConversation();
    if (created.data === undefined) {
      setRefusal(asProblem(created.error));
      return false;
    }
    const { id } = created.data;
    answers.ask(id, question, wishes);
    void nameConversation({ id, title: titleFor(question) });
    await navigate(`/c/${id}`);
    return true;
  };

  const problem = refusal ?? (items.error === undefined ? null : asProblem(items.error));
  const loading = items.isLoading && live.length === 0;
  return {
    status: problem !== null && live.length === 0 ? { problem } : loading ? "loading" : "ready",
    turns,
    running,
    sending: creation.isLoading,
    ask,
    stop: () => {
      if (running !== null) answers?.stop(running);
    },
  };
}
