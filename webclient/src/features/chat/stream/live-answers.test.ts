import { configureStore } from "@reduxjs/toolkit";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { baseApi } from "@/lib/base-api";
import { sessionSlice } from "@/lib/session-slice";
import { chatSlice } from "../chat-slice";
import { connectLiveAnswers, type LiveAnswers } from "./live-answers";
import { PlayedSocket } from "./played-socket";

const QUESTION = [{ type: "input_text" as const, text: "why?" }];

/** The items the server has stored, told page by page as the REST API does. */
let stored: { id: string; response_id: string }[];

function newStore() {
  return configureStore({
    reducer: {
      [baseApi.reducerPath]: baseApi.reducer,
      [sessionSlice.reducerPath]: sessionSlice.reducer,
      [chatSlice.reducerPath]: chatSlice.reducer,
    },
    middleware: (defaults) => defaults().concat(baseApi.middleware),
  });
}

let store: ReturnType<typeof newStore>;
let answers: LiveAnswers;

const turn = () => store.getState().chat.turns[0] ?? expect.fail("no turn");
const sent = () => PlayedSocket.last.sent.map((text): unknown => JSON.parse(text));
const tell = (event: object, clientId: string | null = null) =>
  PlayedSocket.last.say({ type: "event", client_id: clientId, response_id: "resp_1", event });
const begin = () => {
  PlayedSocket.last.open();
  answers.ask("conv_1", QUESTION, []);
  tell({ type: "response.created", sequence_number: 0 }, turn().clientId);
  tell({ type: "response.output_text.delta", sequence_number: 1, delta: "be" });
};
const comeBack = async () => {
  PlayedSocket.last.drop();
  await vi.advanceTimersByTimeAsync(200);
  PlayedSocket.last.open();
  await vi.advanceTimersByTimeAsync(0);
};

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", PlayedSocket);
  vi.stubGlobal("fetch", () =>
    Promise.resolve(new Response(JSON.stringify({ data: stored, has_more: false, last_id: null }))),
  );
  PlayedSocket.all = [];
  stored = [];
  store = newStore();
  answers = connectLiveAnswers("ws://x", store);
});

afterEach(() => {
  answers.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("an answer whose connection breaks", () => {
  it("goes on behind the last event that came", async () => {
    begin();
    await comeBack();
    expect(sent()).toEqual([
      { type: "response.subscribe", response_id: "resp_1", starting_after: 1 },
    ]);
    tell({ type: "response.output_text.delta", sequence_number: 1, delta: "be" });
    tell({ type: "response.output_text.delta", sequence_number: 2, delta: "cause" });
    expect(turn().answer.text).toBe("because");
  });

  it("says so only when it lasts", async () => {
    begin();
    PlayedSocket.last.drop();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(store.getState().chat.connection).toBe("steady");
    await vi.advanceTimersByTimeAsync(1_000);
    expect(store.getState().chat.connection).toBe("away");
    PlayedSocket.last.open();
    expect(store.getState().chat.connection).toBe("steady");
  });

  it("asks again when the subscription is refused for a while", async () => {
    begin();
    await comeBack();
    const refusal = { code: "store_unavailable", message: "restarting" };
    PlayedSocket.last.say({ type: "error", client_id: null, response_id: "resp_1", error: refusal });
    expect(turn().answer.status).toBe("streaming");
    await vi.advanceTimersByTimeAsync(100);
    expect(sent()).toHaveLength(2);
  });

  it("ends when the subscription is refused for good", async () => {
    begin();
    await comeBack();
    const refusal = { code: "not_found", message: "gone" };
    PlayedSocket.last.say({ type: "error", client_id: null, response_id: "resp_1", error: refusal });
    expect(turn().answer).toMatchObject({ status: "failed", text: "be" });
  });
});

describe("a question whose connection breaks before the first event", () => {
  it("is found again when the server has it", async () => {
    PlayedSocket.last.open();
    answers.ask("conv_1", QUESTION, []);
    stored = [{ id: "msg_1", response_id: "resp_1" }];
    await comeBack();
    expect(sent()).toEqual([
      { type: "response.subscribe", response_id: "resp_1", starting_after: -1 },
    ]);
  });

  it("is asked again, once, when the server never got it", async () => {
    PlayedSocket.last.open();
    answers.ask("conv_1", QUESTION, []);
    await comeBack();
    expect(sent()).toMatchObject([{ type: "response.create", client_id: turn().clientId }]);
    await comeBack();
    expect(sent()).toEqual([]);
    expect(turn().answer.status).toBe("failed");
  });

  it("waits until the server can say", async () => {
    PlayedSocket.last.open();
    answers.ask("conv_1", QUESTION, []);
    vi.stubGlobal("fetch", () => Promise.reject(new Error("refused")));
    await comeBack();
    expect(turn().answer.status).toBe("waiting");
    stored = [{ id: "msg_1", response_id: "resp_1" }];
    vi.stubGlobal("fetch", () =>
      Promise.resolve(new Response(JSON.stringify({ data: stored, has_more: false, last_id: null }))),
    );
    await vi.advanceTimersByTimeAsync(200);
    expect(turn().responseId).toBe("resp_1");
  });
});
