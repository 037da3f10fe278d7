import type { Store, ThunkDispatch, UnknownAction } from "@reduxjs/toolkit";
import type { InputPart } from "@/api/types";
import { baseApi } from "@/lib/base-api";
import { problemOf, type Problem } from "@/lib/problem";
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
import { toolsFor, type Wish } from "../made";
import { hasGap, isOver } from "../stream-reducer";
import { backoffMs, openChatSocket } from "./chat-socket";
import type { ServerMessage } from "./parse-message";

export type LiveAnswers = {
  ask: (conversationId: string, question: InputPart[], wishes: readonly Wish[]) => void;
  resume: (conversationId: string, responseId: string) => void;
  stop: (turn: LiveTurn) => void;
  close: () => void;
};

type ItemsRoot = Parameters<ReturnType<typeof chatApi.endpoints.getItems.select>>[0];

export type ChatStore = Pick<Store<ChatRoot & ItemsRoot>, "getState"> & {
  dispatch: ThunkDispatch<unknown, undefined, UnknownAction>;
};

/** How long a missing event is waited for before it is asked for, and again before it is given up. */
const GAP_PATIENCE_MS = 800;
/** A connection that is back sooner was never away, as far as a person is concerned. */
const AWAY_AFTER_MS = 1_500;
/** Failed attempts to connect after which a REST call asks whether we are signed out. */
const SUSPICIOUS_ATTEMPT = 4;
/** What a subscription may be refused with while the answer itself goes on. */
const PASSING: readonly string[] = [
  "store_unavailable",
  "engine_unavailable",
  "overloaded",
  "rate_limit_exceeded",
  "node_timeout",
  "internal_error",
];
/** With the pauses between them, half a minute. */
const MAX_TRIES = 10;

/** Unlike randomUUID, this also exists on plain http pages. */
function newClientId(): string {
  return `c-${crypto.getRandomValues(new Uint32Array(3)).join("-")}`;
}

/** Keeps the store in step with the answers being written, over one connection that may break. */
export function connectLiveAnswers(url: string, store: ChatStore): LiveAnswers {
  /**
   * Questions handed to a connection, with the responses that were there before. Whether the
   * server got them is told by its events.
   */
  const handedOver = new Map<string, ReadonlySet<string | null>>();
  const handedOverAgain = new Set<string>();
  const tries = new Map<string, number>();
  const timers = new Map<string, ReturnType<typeof setTimeout>>();
  const turns = () => store.getState().chat.turns;

  const handOver = (turn: LiveTurn) => {
    const sent = socket.send({
      type: "response.create",
      client_id: turn.clientId,
      response: {
        conversation: turn.conversationId,
        input: [{ role: "user", content: turn.question ?? [] }],
        ...toolsFor(turn.wishes),
      },
    });
    if (sent && !handedOver.has(turn.clientId)) {
      const items = chatApi.endpoints.getItems.select(turn.conversationId)(store.getState()).data;
      handedOver.set(turn.clientId, new Set(items?.map((item) => item.response_id)));
    }
  };

  const subscribe = (responseId: string, lastSequence: number) =>
    socket.send({ type: "response.subscribe", response_id: responseId, starting_after: lastSequence });

  /** One timer per key; a second one for the same key is not set. */
  const later = (key: string, delayMs: number, act: () => void) => {
    if (timers.has(key)) return;
    const timer = setTimeout(() => {
      timers.delete(key);
      act();
    }, delayMs);
    timers.set(key, timer);
  };

  const forget = (key: string) => {
    clearTimeout(timers.get(key));
    timers.delete(key);
  };

  /** Acts a little later than the last time for this key; false when that was often enough. */
  const tryAgain = (key: string, act: () => void): boolean => {
    const n = (tries.get(key) ?? 0) + 1;
    if (n > MAX_TRIES) return false;
    tries.set(key, n);
    later(`again ${key}`, backoffMs(n, Math.random()), act);
    return true;
  };

  /** The connection broke between the question and the first event: was it received? */
  const recover = async (turn: LiveTurn) => {
    const { data: items, error } = await store.dispatch(
      chatApi.endpoints.getItems.initiate(turn.conversationId, { forceRefetch: true, subscribe: false }),
    );
    const now = findTurn({ turns: turns() }, { clientId: turn.clientId, responseId: null });
    if (now?.responseId !== null || isOver(now.answer)) return;
    const old = new Set([...(handedOver.get(turn.clientId) ?? []), ...turns().map((one) => one.responseId)]);
    const ours = items?.findLast((item) => item.response_id !== null && !old.has(item.response_id));
    if (ours?.response_id != null) {
      store.dispatch(turnAdopted({ clientId: turn.clientId, responseId: ours.response_id }));
      subscribe(ours.response_id, -1);
    } else if (items !== undefined && !handedOverAgain.has(turn.clientId)) {
      handedOverAgain.add(turn.clientId);
      handOver(turn);
    } else if (error === undefined || !tryAgain(turn.clientId, () => void recover(now))) {
      const problem = problemOf("connection_lost", "");
      store.dispatch(turnFailed({ clientId: turn.clientId, responseId: null, problem }));
      refresh(turn.conversationId);
    }
  };

  /** The answer is being written all the same: ask for it again a little later. */
  const subscribeAgain = (responseId: string) =>
    tryAgain(responseId, () => {
      const now = findTurn({ turns: turns() }, { clientId: null, responseId });
      if (now !== undefined && !isOver(now.answer)) subscribe(responseId, now.answer.lastSequence);
    });

  const refresh = (conversationId: string) =>
    store.dispatch(
      baseApi.util.invalidateTags([{ type: "Items", id: conversationId }, "Conversations"]),
    );

  const onOpen = () => {
    forget("away");
    store.dispatch(connectionChanged("steady"));
    for (const turn of turns().filter((one) => !isOver(one.answer))) {
      if (turn.responseId !== null) {
        subscribe(turn.responseId, turn.answer.lastSequence);
        if (turn.stopping) socket.send({ type: "response.cancel", response_id: turn.responseId });
      } else if (handedOver.has(turn.clientId)) void recover(turn);
      else handOver(turn);
    }
  };

  const watchGap = (turn: LiveTurn, triesLeft: number) => {
    if (!hasGap(turn.answer)) return;
    later(`gap ${turn.clientId}`, GAP_PATIENCE_MS, () => {
      const now = findTurn({ turns: turns() }, turn);
      if (now?.responseId == null || !hasGap(now.answer)) return;
      if (triesLeft === 0) store.dispatch(gapGivenUp(now.clientId));
      else {
        subscribe(now.responseId, now.answer.lastSequence);
        watchGap(now, triesLeft - 1);
      }
    });
  };

  const onRefused = (turn: LiveTurn, problem: Problem) => {
    const { clientId, responseId } = turn;
    if (responseId !== null && PASSING.includes(problem.code) && subscribeAgain(responseId)) return;
    store.dispatch(turnFailed({ clientId, responseId, problem }));
    refresh(turn.conversationId);
  };

  const onMessage = (message: ServerMessage) => {
    if (message.kind === "pong") return;
    const before = findTurn({ turns: turns() }, message);
    if (before === undefined) return;
    if (message.kind === "error") {
      onRefused(before, message.problem);
      return;
    }
    tries.delete(message.responseId);
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
    later("away", AWAY_AFTER_MS, () => store.dispatch(connectionChanged("away")));
    // A refused handshake tells a browser nothing; any REST call finds out whether we are signed out.
    const open = turns().find((turn) => !isOver(turn.answer));
    if (attempt === SUSPICIOUS_ATTEMPT && open !== undefined) {
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
    isBusy: () => turns().some((turn) => !isOver(turn.answer)),
  });

  return {
    ask: (conversationId, question, wishes) => {
      const clientId = newClientId();
      store.dispatch(turnStarted({ clientId, conversationId, question, wishes }));
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
      timers.forEach((timer) => clearTimeout(timer));
      socket.close();
    },
  };
}
