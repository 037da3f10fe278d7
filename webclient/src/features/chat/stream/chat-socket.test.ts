import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { backoffMs, openChatSocket } from "./chat-socket";
import { PlayedSocket } from "./played-socket";

const PONG = { type: "pong" };

let busy: boolean;
const listeners = {
  onOpen: vi.fn(),
  onMessage: vi.fn(),
  onLost: vi.fn(),
  onSignedOut: vi.fn(),
  isBusy: () => busy,
};

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", PlayedSocket);
  PlayedSocket.all = [];
  busy = true;
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.clearAllMocks();
});

describe("the line to the server", () => {
  it("is back within a tenth of a second after a broken connection", () => {
    const line = openChatSocket("ws://x", listeners);
    PlayedSocket.last.open();
    PlayedSocket.last.say(PONG);
    PlayedSocket.last.drop();
    expect(listeners.onLost).toHaveBeenCalledWith(1);
    vi.advanceTimersByTime(100);
    expect(PlayedSocket.all).toHaveLength(2);
    PlayedSocket.last.open();
    expect(listeners.onOpen).toHaveBeenCalledTimes(2);
    line.close();
  });

  it("tries ever less often, never all at once, and for ever", () => {
    expect(backoffMs(1, 0)).toBe(50);
    expect(backoffMs(1, 1)).toBe(100);
    expect(backoffMs(3, 1)).toBe(400);
    expect(backoffMs(50, 1)).toBe(5_000);
  });

  it("finds a silent server while words are waited for, and knocks elsewhere", () => {
    const line = openChatSocket("ws://x", listeners);
    const silent = PlayedSocket.last;
    silent.open();
    vi.advanceTimersByTime(2_000);
    expect(silent.sent).toEqual([JSON.stringify({ type: "ping" })]);
    vi.advanceTimersByTime(2_500);
    expect(listeners.onLost).toHaveBeenCalledOnce();
    expect(PlayedSocket.all.length).toBeGreaterThan(1);
    PlayedSocket.last.open();
    silent.say({ type: "error", client_id: "c1", response_id: null, error: { message: "late" } });
    silent.drop();
    expect(listeners.onMessage).not.toHaveBeenCalled();
    expect(listeners.onLost).toHaveBeenCalledOnce();
    line.close();
  });

  it("is kept while the server answers", () => {
    const line = openChatSocket("ws://x", listeners);
    PlayedSocket.last.open();
    for (let second = 0; second < 60; second += 1) {
      vi.advanceTimersByTime(1_000);
      PlayedSocket.last.say(PONG);
    }
    expect(PlayedSocket.all).toHaveLength(1);
    line.close();
  });

  it("leaves the server alone while nothing is waited for", () => {
    busy = false;
    const line = openChatSocket("ws://x", listeners);
    PlayedSocket.last.open();
    vi.advanceTimersByTime(20_000);
    expect(PlayedSocket.last.sent).toEqual([]);
    line.close();
  });

  it("gives up a connection that does not open", () => {
    const line = openChatSocket("ws://x", listeners);
    vi.advanceTimersByTime(6_000);
    expect(PlayedSocket.all.length).toBeGreaterThan(1);
    line.close();
  });

  it("asks at once when the network is back", () => {
    busy = false;
    const line = openChatSocket("ws://x", listeners);
    PlayedSocket.last.open();
    window.dispatchEvent(new Event("online"));
    expect(PlayedSocket.last.sent).toEqual([JSON.stringify({ type: "ping" })]);
    PlayedSocket.last.drop();
    window.dispatchEvent(new Event("online"));
    expect(PlayedSocket.all).toHaveLength(2);
    line.close();
  });

  it("gives up a connection whose network has gone", () => {
    busy = false;
    const line = openChatSocket("ws://x", listeners);
    PlayedSocket.last.open();
    window.dispatchEvent(new Event("offline"));
    vi.advanceTimersByTime(3_000);
    expect(listeners.onLost).toHaveBeenCalledOnce();
    line.close();
  });

  it("stays away once signed out or closed", () => {
    const line = openChatSocket("ws://x", listeners);
    PlayedSocket.last.open();
    PlayedSocket.last.drop(4401);
    expect(listeners.onSignedOut).toHaveBeenCalledOnce();
    window.dispatchEvent(new Event("online"));
    vi.advanceTimersByTime(60_000);
    line.close();
    expect(PlayedSocket.all).toHaveLength(1);
  });
});
