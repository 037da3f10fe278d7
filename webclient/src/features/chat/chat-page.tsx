import { ArrowDown } from "lucide-react";
import { useEffect, useEffectEvent, useRef, useState, type ReactNode } from "react";
import { useSelector } from "react-redux";
import { useLocation, useParams } from "react-router";
import type { Asset, InputPart } from "@/api/types";
import { Button } from "@/components/ui/button";
import { ProblemNote } from "@/components/ui/problem-note";
import { Spinner } from "@/components/ui/spinner";
import { useCapabilities } from "@/lib/capabilities";
import { useShortcut } from "@/lib/shortcuts";
import { useDropZone } from "@/lib/use-drop-zone";
import { usePastedFiles } from "@/lib/use-pasted-files";
import { useTitle } from "@/lib/use-title";
import type { ChatRoot } from "./chat-slice";
import { Composer, type ComposerStatus } from "./components/composer";
import { ConnectionNote } from "./components/connection-note";
import { DropOverlay } from "./components/drop-overlay";
import { EmptyState, type Start } from "./components/empty-state";
import { toInputParts } from "./compose/input-parts";
import { useAttachments } from "./compose/use-attachments";
import { useRecorder } from "./compose/use-recorder";
import type { Wish } from "./made";
import { AdoptContext } from "./adopt-context";
import { TurnView } from "./turn-view";
import { useConversation, type Conversation } from "./use-conversation";
import { useStickToBottom } from "./use-stick-to-bottom";

/** What another page hands over to be talked about, as the router's state. */
export type Handover = { attach: Asset };

type ChatPageProps = {
  /** Stands beside the microphone: a spoken conversation. */
  aside: ReactNode;
};

export function ChatPage({ aside }: ChatPageProps) {
  const { conversationId = null } = useParams();
  return <Chat key={conversationId} conversationId={conversationId} aside={aside} />;
}

function Chat({ conversationId, aside }: ChatPageProps & { conversationId: string | null }) {
  useTitle(conversationId === null ? "New conversation" : "Conversation");
  const conversation = useConversation(conversationId);
  const connection = useSelector((root: ChatRoot) => root.chat.connection);
  const { media } = useCapabilities();
  const attachments = useAttachments(media);
  const recorder = useRecorder();
  const drop = useDropZone(attachments.add, attachments.adopt);
  usePastedFiles(attachments.add);
  const { state } = useLocation() as { state: Handover | null };
  const { viewport, content, atBottom, toBottom } = useStickToBottom();
  const [text, setText] = useState("");
  const [wishes, setWishes] = useState<readonly Wish[]>([]);
  const box = useRef<HTMLTextAreaElement>(null);
  const picturePicker = useRef<HTMLInputElement>(null);

  useEffect(() => box.current?.focus({ preventScroll: true }), []);
  const adopt = useEffectEvent(attachments.adopt);
  useEffect(() => {
    if (state !== null) adopt(state.attach);
  }, [state]);
  useShortcut("focusComposer", () => box.current?.focus());
  useShortcut("stop", conversation.stop);

  const send = async () => {
    const question = toInputParts(text, attachments.list);
    toBottom();
    if (!(await conversation.ask(question, wishes))) return;
    setText("");
    setWishes([]);
    attachments.clear();
    box.current?.focus();
  };

  const retry = (question: InputPart[]) => {
    toBottom();
    void conversation.ask(question, []);
  };

  const start = (choice: Start) => {
    if (choice === "picture") picturePicker.current?.click();
    else if (choice === "voice") recorder.start();
    else setText(choice.prompt);
    box.current?.focus();
  };

  const empty = conversation.status === "ready" && conversation.turns.length === 0;
  return (
    <div {...drop.handlers} className="relative flex h-full min-h-0 flex-col">
      {drop.over && <DropOverlay />}
      <input
        ref={picturePicker}
        type="file"
        accept="image/*"
        hidden
        aria-label="Choose a picture"
        onChange={({ target }) => {
          attachments.add([...(target.files ?? [])]);
          setText((before) => (before === "" ? "What is in this picture, and what does it say?" : before));
          target.value = "";
        }}
      />
      <div ref={viewport} className="min-h-0 flex-1 overflow-y-auto">
        <div ref={content} className="mx-auto flex min-h-full max-w-3xl flex-col px-4 pt-6 pb-8 sm:px-8">
          {empty ? (
            <EmptyState onStart={start} />
          ) : (
            <AdoptContext value={attachments.adopt}>
              <Thread conversation={conversation} onRetry={retry} />
            </AdoptContext>
          )}
        </div>
      </div>
      <div className="relative mx-auto w-full max-w-3xl px-3 pb-3 sm:px-8 sm:pb-6">
        {!atBottom && (
          <Button size="sm" onClick={toBottom} className="absolute -top-11 left-1/2 -translate-x-1/2 rounded-full shadow-lift">
            <ArrowDown aria-hidden className="size-4" /> Latest
          </Button>
        )}
        <ConnectionNote connection={connection} />
        <Composer
          ref={box}
          text={text}
          status={composerStatus(conversation)}
          attachments={attachments}
          recorder={recorder}
          aside={aside}
          wishes={wishes}
          onWishes={setWishes}
          onText={setText}
          onSend={() => void send()}
          onStop={conversation.stop}
        />
      </div>
    </div>
  );
}

type ThreadProps = { conversation: Conversation; onRetry: (question: InputPart[]) => void };

function Thread({ conversation, onRetry }: ThreadProps) {
  const { status, turns } = conversation;
  return (
    <>
      <h1 className="sr-only">Conversation</h1>
      {status === "loading" && <Spinner label="Opening the conversation" />}
      {typeof status === "object" && <ProblemNote problem={status.problem} />}
      <ol className="space-y-9">
        {turns.map((turn) => (
          <TurnView key={turn.key} turn={turn} onRetry={onRetry} />
        ))}
      </ol>
    </>
  );
}

function composerStatus({ running, sending }: Conversation): ComposerStatus {
  if (running !== null) return running.stopping ? "stopping" : "answering";
  return sending ? "sending" : "ready";
}
