import { useState } from "react";
import { useMatch, useNavigate } from "react-router";
import type { Conversation } from "@/api/types";
import { Button } from "@/components/ui/button";
import { ConfirmDialog } from "@/components/ui/confirm-dialog";
import { ProblemNote } from "@/components/ui/problem-note";
import { Spinner } from "@/components/ui/spinner";
import { useDeleteConversationMutation, useRenameConversationMutation } from "@/lib/conversations-api";
import { asProblem } from "@/lib/problem";
import { useGetConversationsInfiniteQuery } from "./api/conversation-list-api";
import { ConversationRow, titleOf } from "./components/conversation-row";
import { RenameDialog } from "./components/rename-dialog";
import { groupByAge } from "./group-by-age";

type Intent =
  | { kind: "none" }
  | { kind: "rename"; conversation: Conversation }
  | { kind: "delete"; conversation: Conversation };

const NO_INTENT: Intent = { kind: "none" };

/** All conversations, newest first. `onOpen` lets a drawer close itself. */
export function ConversationList({ onOpen }: { onOpen: () => void }) {
  const list = useGetConversationsInfiniteQuery();
  const [rename] = useRenameConversationMutation();
  const [remove, removal] = useDeleteConversationMutation();
  const [intent, setIntent] = useState<Intent>(NO_INTENT);
  const navigate = useNavigate();
  const openId = useMatch("/c/:conversationId")?.params.conversationId;

  const confirmDelete = async (conversation: Conversation) => {
    const result = await remove(conversation.id);
    if (result.error === undefined && conversation.id === openId) await navigate("/");
  };

  if (list.isLoading) return <Spinner label="Fetching conversations" />;
  const error = list.error ?? removal.error;
  const conversations = list.data?.pages.flatMap((page) => page.data) ?? [];
  return (
    <nav aria-label="Conversations" className="space-y-5">
      {error !== undefined && <ProblemNote problem={asProblem(error)} />}
      {conversations.length === 0 && error === undefined && (
        <p className="px-3 text-sm text-ink-soft">Your conversations will be listed here.</p>
      )}
      {groupByAge(conversations, new Date()).map((group) => (
        <section key={group.label}>
          <h2 className="mb-1 px-3 text-xs font-medium tracking-normal text-ink-faint [font-stretch:100%]">
            {group.label}
          </h2>
          <ul className="space-y-0.5">
            {group.conversations.map((conversation) => (
              <ConversationRow
                key={conversation.id}
                conversation={conversation}
                onOpen={onOpen}
                onRename={() => setIntent({ kind: "rename", conversation })}
                onDelete={() => setIntent({ kind: "delete", conversation })}
              />
            ))}
          </ul>
        </section>
      ))}
      {list.hasNextPage && (
        <Button
          variant="ghost"
          size="sm"
          disabled={list.isFetchingNextPage}
          onClick={() => void list.fetchNextPage()}
        >
          Show older conversations
        </Button>
      )}
      {intent.kind === "rename" && (
        <RenameDialog
          conversation={intent.conversation}
          onClose={() => setIntent(NO_INTENT)}
          onRename={(title) => {
            void rename({ id: intent.conversation.id, title });
            setIntent(NO_INTENT);
          }}
        />
      )}
      {intent.kind === "delete" && (
        <ConfirmDialog
          open
          onOpenChange={(open) => {
            if (!open) setIntent(NO_INTENT);
          }}
          title={`Delete “${titleOf(intent.conversation)}”?`}
          description="The conversation and its answers are removed. This cannot be undone."
          action="Delete"
          onConfirm={() => void confirmDelete(intent.conversation)}
        />
      )}
    </nav>
  );
}
