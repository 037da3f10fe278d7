import { parseServerMessage, type ServerMessage } from "./parse-message";
import type { InputPart } from "@/api/types";
import type { ToolFields } from "../made";

export type ClientMessage =
  | {
      type: "response.create";
      client_id: string;
      response: { conversation: string; input: { role: "user"; content: InputPart[] }[] } & ToolFields;
    }
  | { type: "response.subscribe"; response_id: string; starting_after: number }
  | { type: "response.cancel"; response_id: string }
  | { type: "ping" };

export type ChatSocket = {
  /** Sends if the connection is open; false means that nothing was sent. */
  send: (message: ClientMessage) => boolean;
  close: () => void;
};

type Listeners = {
  onOpen: () => void;
  onMessage: (message: ServerMessage) => void;
  /** The connection is gone; the next attempt is number `attempt`. */
  onLost: (attempt: number) => void;
  /** The server does not know this browser; it makes no sense to come back before signing in. */
  onSignedOut: () => void;
  /** Whether somebody waits for words, so that a silent connection must be found out soon. */
  isBusy: () => boolean;
};

/** The server's own close code for a session that is unknown or over. */
const CLOSE_UNAUTHENTICATED = 4401;

/** Another server takes over at once where one was killed, so the first attempt is nearly immediate. */
const FIRST_DELAY_MS = 100;
const MAX_DELAY_MS = 5_000;
const LOOK_EVERY_MS = 500;
/** Silence after which the server is asked whether it is there, while words are waited for. */
const BUSY_SILENCE_MS = 1_000;
/** And while none are: proxies close connections that are silent for a minute. */
const IDLE_SILENCE_MS = 25_000;
/** How long the server may take to answer that. */
const ANSWER_PATIENCE_MS = 2_000;
/** Longer: a server that is short of time must not be knocked at ever again. */
const OPEN_PATIENCE_MS = 5_000;

/** Milliseconds before attempt number `attempt` (from 1), spread so that clients do not return as one. */
export function backoffMs(attempt: number, random: number): number {
  const full = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** (attempt - 1));
  return full * (0.5 + random / 2);
}

/** A WebSocket that comes back by itself until it is closed. */
export function openChatSocket(url: string, listeners: Listeners): ChatSocket {
  let socket: WebSocket | null = null;
  let attempt = 0;
  let closed = false;
  let heardAt = 0;
  /** Until when the server owes us an answer, to our knock or to our ping. Null when it does not. */
  let owedUntil: number | null = null;
  let retry: ReturnType<typeof setTimeout> | undefined;

  const connect = () => {
    clearTimeout(retry);
    const next = new WebSocket(url);
    socket = next;
    owedUntil = Date.now() + OPEN_PATIENCE_MS;
    next.onopen = () => {
      if (socket !== next) return;
      hear();
      listeners.onOpen();
    };
    next.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (socket !== next) return;
      hear();
      // Not when it opens: a server that accepts and hangs up at once would be called without pause.
      attempt = 0;
      const message = typeof data === "string" ? parseServerMessage(data) : null;
      if (message !== null) listeners.onMessage(message);
    };
    next.onclose = ({ code }) => {
      if (socket !== next) return;
      if (code === CLOSE_UNAUTHENTICATED) {
        socket = null;
        closed = true;
        listeners.onSignedOut();
      } else lose();
    };
  };

  const hear = () => {
    heardAt = Date.now();
    owedUntil = null;
  };

  /** A dead peer never confirms a close, so its socket is left to the browser. */
  const leave = () => {
    const left = socket;
    socket = null;
    left?.close();
  };

  const lose = () => {
    leave();
    attempt += 1;
    retry = setTimeout(connect, backoffMs(attempt, Math.random()));
    listeners.onLost(attempt);
  };

  const send = (message: ClientMessage): boolean => {
    if (socket?.readyState !== WebSocket.OPEN) return false;
    socket.send(JSON.stringify(message));
    return true;
  };

  const ping = () => {
    if (send({ type: "ping" })) owedUntil ??= Date.now() + ANSWER_PATIENCE_MS;
  };

  const look = () => {
    if (socket === null) return;
    const now = Date.now();
    if (owedUntil !== null) {
      if (now > owedUntil) lose();
    } else if (now - heardAt > (listeners.isBusy() ? BUSY_SILENCE_MS : IDLE_SILENCE_MS)) ping();
  };
  const watch = setInterval(look, LOOK_EVERY_MS);

  /** The network is back, or somebody looks at the page again: find out now how things stand. */
  const comeBackNow = () => {
    if (closed || document.visibilityState === "hidden") return;
    if (socket === null) connect();
    else ping();
  };
  window.addEventListener("online", comeBackNow);
  // Browsers keep a connection whose network has gone: only silence tells.
  window.addEventListener("offline", ping);
  document.addEventListener("visibilitychange", comeBackNow);

  connect();
  return {
    send,
    close: () => {
      closed = true;
      clearTimeout(retry);
      clearInterval(watch);
      window.removeEventListener("online", comeBackNow);
      window.removeEventListener("offline", ping);
      document.removeEventListener("visibilitychange", comeBackNow);
      leave();
    },
  };
}
