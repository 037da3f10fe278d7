import { createSlice, type PayloadAction } from "@reduxjs/toolkit";
import type { InputPart } from "@/api/types";
import type { Problem } from "@/lib/problem";
import type { Wish } from "./made";
import { closeGap, failAnswer, isOver, reduceStream, WAITING, type AnswerState } from "./stream-reducer";
import type { StreamEvent } from "./stream/parse-message";

/** A question asked, or an answer picked up again, since the page was loaded. */
export type LiveTurn = {
  clientId: string;
  conversationId: string;
  /** Null until the server's first event names it. */
  responseId: string | null;
  /** Null when the answer was picked up after a reload: the question is then in the items. */
  question: InputPart[] | null;
  /** What the answer shall be besides text. */
  wishes: Wish[];
  stopping: boolean;
  answer: AnswerState;
};

/** "away" only once it has lasted: a connection that is back at once was never missed. */
export type Connection = "steady" | "away";

export type ChatState = { turns: LiveTurn[]; connection: Connection };
export type ChatRoot = { chat: ChatState };

type Address = { clientId: string | null; responseId: string | null };

export const chatSlice = createSlice({
  name: "chat",
  initialState: (): ChatState => ({ turns: [], connection: "steady" }),
  reducers: {
    turnStarted: (
      state,
      { payload }: PayloadAction<Pick<LiveTurn, "clientId" | "conversationId"> & { question: InputPart[]; wishes: readonly Wish[] }>,
    ) => {
      state.turns.push({ ...payload, wishes: [...payload.wishes], responseId: null, stopping: false, answer: WAITING });
    },
    turnResumed: (state, { payload }: PayloadAction<{ conversationId: string; responseId: string }>) => {
      if (state.turns.some((turn) => turn.responseId === payload.responseId)) return;
      state.turns.push({
        ...payload,
        clientId: `resumed-${payload.responseId}`,
        question: null,
        wishes: [],
        stopping: false,
        answer: WAITING,
      });
    },
    /** The connection broke before the first event; the server says which answer is ours. */
    turnAdopted: (state, { payload }: PayloadAction<{ clientId: string; responseId: string }>) => {
      const turn = state.turns.find((one) => one.clientId === payload.clientId);
      if (turn !== undefined) turn.responseId = payload.responseId;
    },
    eventReceived: (state, { payload }: PayloadAction<Address & { event: StreamEvent }>) => {
      const turn = findTurn(state, payload);
      if (turn === undefined) return;
      turn.responseId ??= payload.responseId;
      turn.answer = reduceStream(turn.answer, payload.event);
    },
    gapGivenUp: (state, { payload: clientId }: PayloadAction<string>) => {
      const turn = state.turns.find((one) => one.clientId === clientId);
      if (turn !== undefined) turn.answer = closeGap(turn.answer);
    },
    turnFailed: (state, { payload }: PayloadAction<Address & { problem: Problem }>) => {
      const turn = findTurn(state, payload);
      if (turn !== undefined) turn.answer = failAnswer(turn.answer, payload.problem);
    },
    stopRequested: (state, { payload: clientId }: PayloadAction<string>) => {
      const turn = state.turns.find((one) => one.clientId === clientId);
      if (turn !== undefined && !isOver(turn.answer)) turn.stopping = true;
    },
    connectionChanged: (state, { payload }: PayloadAction<Connection>) => {
      state.connection = payload;
    },
  },
});

export const {
  connectionChanged,
  eventReceived,
  gapGivenUp,
  stopRequested,
  turnAdopted,
  turnFailed,
  turnResumed,
  turnStarted,
} = chatSlice.actions;

/** The turn a server message belongs to; after a reconnect only the response id is told. */
export function findTurn<Turn extends LiveTurn>(
  { turns }: { turns: Turn[] },
  { clientId, responseId }: Address,
): Turn | undefined {
  return turns.find(
    (turn) =>
      (responseId !== null && turn.responseId === responseId) ||
      (clientId !== null && turn.clientId === clientId),
  );
}
