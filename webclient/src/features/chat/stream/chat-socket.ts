import { parseServerMessage, type ServerMessage } from "./parse-message";
import type { InputPart } from "@/api/types";

export type ClientMessage =
  | {
      type: "response.create";
      client_id: string;
      response: { conversation: string; input: { role: "user"; content: InputPart[] }[] };
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
};

/** The server's own close code for a session that is unknown or over. */
const CLOSE_UNAUTHENTICATED = 4401;

const FIRST_DELAY_MS = 400;
const MAX_DELAY_MS = 15_000;
/** Proxies close connections that are silent for a minute. */
const PING_EVERY_MS = 25_000;
/** Without any word from the server for this long the connection counts as dead. */
const SILENCE_MS = 60_000;

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
  let retry: ReturnType<typeof setTimeout> | undefined;

  const connect = () => {
    clearTimeout(retry);
    const next = new WebSocket(url);
    socket = next;
    next.onopen = () => {
      heardAt = Date.now();
      listeners.onOpen();
    };
    next.onmessage = ({ data }: MessageEvent<unknown>) => {
      heardAt = Date.now();
      // Not when it opens: a server that accepts and hangs up at once would be called without pause.
      attempt = 0;
      const message = typeof data === "string" ? parseServerMessage(data) : null;
      if (message !== null) listeners.onMessage(message);
    };
    next.onclose = ({ code }) => {
      if (closed || socket !== next) return;
      if (code === CLOSE_UNAUTHENTICATED) {
        listeners.onSignedOut();
        return;
      }
      attempt += 1;
      retry = setTimeout(connect, backoffMs(attempt, Math.random()));
      listeners.onLost(attempt);
    };
  };

  const send = (message: ClientMessage): boolean => {
    if (socket?.readyState !== WebSocket.OPEN) return false;
    socket.send(JSON.stringify(message));
    return true;
  };

  const heartbeat = setInterval(() => {
    if (socket?.readyState !== WebSocket.OPEN) return;
    if (Date.now() - heardAt > SILENCE_MS) socket.close();
    else send({ type: "ping" });
  }, PING_EVERY_MS);

  const comeBackNow = () => {
    if (closed || socket?.readyState === WebSocket.OPEN || socket?.readyState === WebSocket.CONNECTING) return;
    connect();
  };
  window.addEventListener("online", comeBackNow);

  connect();
  return {
    send,
    close: () => {
      closed = true;
      clearTimeout(retry);
      clearInterval(heartbeat);
      window.removeEventListener("online", comeBackNow);
      socket?.close();
    },
  };
}
