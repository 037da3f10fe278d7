import type { Store, ThunkDispatch, UnknownAction } from "@reduxjs/toolkit";
import type { InputPart } from "@/api/types";
import { baseApi } from "@/lib/base-api";
import { problemOf } from "@/lib/problem";
import { sessionEnded } from "@/lib/session-slice";
import { chatApi } from "../api/chat-api";
import {
  connectionChanged,
  eventReceived,
  findTurn,
  gapGivenUp,
  stopRequested,
  turnAdopted,
  turnFailed,
  turnResumed,
  turnStarted,
  type ChatRoot,
  type LiveTurn,
} from "../chat-slice";
import { hasGap, isOver } from "../stream-reducer";
import { openChatSocket } from "./chat-socket";
import type { ServerMessage } from "./parse-message";

export type LiveAnswers = {
  ask: (conversationId: string, question: InputPart[]) => void;
  resume: (conversationId: string, responseId: string) => void;
  stop: (turn: LiveTurn) => void;
  close: () => void;
};

export type ChatStore = Pick<Store<ChatRoot>, "getState"> & {
  dispatch: ThunkDispatch<unknown, undefined, UnknownAction>;
};

/** How long a missing event is waited for before it is asked for, and again before it is given up. */
const GAP_PATIENCE_MS = 800;

/** Unlike randomUUID, this also exists on plain http pages. */
function newClientId(): string {
  return `c-${crypto.getRandomValues(new Uint32Array(3)).join("-")}`;
}

/** Keeps the store in step with the answers being written, over one connection that may break. */
export function connectLiveAnswers(url: string, store: ChatStore): LiveAnswers {
  /** Questions handed to a connection; whether the server got them is told by its events. */
  const handedOver = new Set<string>();
  const gapTimers = new Map<string, ReturnType<typeof setTimeout>>();
  const turns = () => store.getState().chat.turns;

  const handOver = (turn: LiveTurn) => {
    const sent = socket.send({
      type: "response.create",
      client_id: turn.clientId,
      response: {
        conversation: turn.conversationId,
        input: [{ role: "user", content: turn.question ?? [] }],
      },
    });
    if (sent) handedOver.add(turn.clientId);
  };

  const subscribe = (responseId: string, lastSequence: number) =>
    socket.send({ type: "response.subscribe", response_id: responseId, starting_after: lastSequence });

  /** The connection broke between the question and the first event: was it received? */
  const recover = async (turn: LiveTurn) => {
    const active = await store.dispatch(
      chatApi.endpoints.getActiveResponse.initiate(turn.conversationId, {
        forceRefetch: true,
        subscribe: false,
      }),
    );
    const responseId = active.data?.response_id ?? null;
    const now = findTurn({ turns: turns() }, { clientId: turn.clientId, responseId: null });
    if (now?.responseId !== null || isOver(now.answer)) return;
    if (responseId !== null && !turns().some((one) => one.responseId === responseId)) {
      store.dispatch(turnAdopted({ clientId: turn.clientId, responseId }));
      subscribe(responseId, -1);
      return;
    }
    const problem = problemOf("connection_lost", "");
    store.dispatch(turnFailed({ clientId: turn.clientId, responseId: null, problem }));
    refresh(turn.conversationId);
  };

  const refresh = (conversationId: string) =>
    store.dispatch(
      baseApi.util.invalidateTags([{ type: "Items", id: conversationId }, "Conversations"]),
    );

  const onOpen = () => {
    store.dispatch(connectionChanged({ status: "open" }));
    for (const turn of turns().filter((one) => !isOver(one.answer))) {
      if (turn.responseId !== null) {
        subscribe(turn.responseId, turn.answer.lastSequence);
        if (turn.stopping) socket.send({ type: "response.cancel", response_id: turn.responseId });
      } else if (handedOver.has(turn.clientId)) void recover(turn);
      else handOver(turn);
    }
  };

  const watchGap = (turn: LiveTurn, triesLeft: number) => {
    if (!hasGap(turn.answer) || gapTimers.has(turn.clientId)) return;
    const timer = setTimeout(() => {
      gapTimers.delete(turn.clientId);
      const now = findTurn({ turns: turns() }, turn);
      if (now?.responseId == null || !hasGap(now.answer)) return;
      if (triesLeft === 0) store.dispatch(gapGivenUp(now.clientId));
      else {
        subscribe(now.responseId, now.answer.lastSequence);
        watchGap(now, triesLeft - 1);
      }
    }, GAP_PATIENCE_MS);
    gapTimers.set(turn.clientId, timer);
  };

  const onMessage = (message: ServerMessage) => {
    if (message.kind === "pong") return;
    const before = findTurn({ turns: turns() }, message);
    if (before === undefined) return;
    if (message.kind === "error") {
      store.dispatch(turnFailed(message));
      refresh(before.conversationId);
      return;
    }
    store.dispatch(eventReceived(message));
    const after = findTurn({ turns: turns() }, message);
    if (after === undefined) return;
    const named = before.responseId === null && after.responseId !== null;
    if (named && after.stopping) {
      socket.send({ type: "response.cancel", response_id: message.responseId });
    }
    watchGap(after, 1);
    if (isOver(after.answer) && !isOver(before.answer)) refresh(after.conversationId);
  };

  const onLost = (attempt: number) => {
    store.dispatch(connectionChanged({ status: "waiting", attempt }));
    // A refused handshake tells a browser nothing; any REST call finds out whether we are signed out.
    const open = turns().find((turn) => !isOver(turn.answer));
    if (attempt === 2 && open !== undefined) {
      void store.dispatch(
        chatApi.endpoints.getActiveResponse.initiate(open.conversationId, {
          forceRefetch: true,
          subscribe: false,
        }),
      );
    }
  };

  const socket = openChatSocket(url, {
    onOpen,
    onMessage,
    onLost,
    onSignedOut: () => store.dispatch(sessionEnded()),
  });

  return {
    ask: (conversationId, question) => {
      const clientId = newClientId();
      store.dispatch(turnStarted({ clientId, conversationId, question }));
      const turn = findTurn({ turns: turns() }, { clientId, responseId: null });
      if (turn !== undefined) handOver(turn);
    },
    resume: (conversationId, responseId) => {
      if (turns().some((turn) => turn.responseId === responseId)) return;
      store.dispatch(turnResumed({ conversationId, responseId }));
      subscribe(responseId, -1);
    },
    stop: (turn) => {
      store.dispatch(stopRequested(turn.clientId));
      if (turn.responseId === null) return;
      const sent = socket.send({ type: "response.cancel", response_id: turn.responseId });
      if (!sent) void store.dispatch(chatApi.endpoints.cancelResponse.initiate(turn.responseId));
    },
    close: () => {
      gapTimers.forEach((timer) => clearTimeout(timer));
      socket.close();
    },
  };
}
