import { fromBase64, toBase64 } from "@/lib/pcm";
import { PcmPlayer } from "@/lib/pcm-player";
import { isRecord, problemOf } from "@/lib/problem";
import { CallFailed, problemOfCall, streamCall } from "@/lib/stream-call";
import { openMicrophone, type Microphone } from "./microphone";
import { parseVoiceEvent, type VoiceEvent } from "./voice-reducer";

export type VoiceSession = {
  mute: (muted: boolean) => void;
  /** Stops the voice and the answer, as speaking does. */
  interrupt: () => void;
  /** Resolves when the server knows how much was heard of the last answer. */
  end: () => Promise<void>;
};

type Listeners = {
  onEvent: (event: VoiceEvent) => void;
  /** Loudness of the microphone, 0 to 1. */
  onLevel: (level: number) => void;
};

/** What the server keeps of a session for whom its connection broke. */
type Ticket = { sessionId: string; resumeToken: string; lastEventId: string };

const SESSION = {
  type: "realtime",
  audio: {
    input: { transcription: {}, turn_detection: { type: "server_vad" } },
  },
} as const;
/** While a connection is away; then the conversation has ended. */
const MAX_ATTEMPTS = 6;
const AGAIN_AFTER_MS = 700;
const SILENCE_CHECK_MS = 120;
const LEAVE_PATIENCE_MS = 1_000;

/** Talks with the server in a `conversation` until `end`: microphone in, voice out, over a connection that may break. */
export function openVoiceSession(
  csrfToken: string | null,
  conversation: () => Promise<string>,
  listeners: Listeners,
): VoiceSession {
  const control = new AbortController();
  const player = new PcmPlayer();
  let microphone: Microphone | null = null;
  let socket: WebSocket | null = null;
  let ticket: Ticket | null = null;
  let muted = false;
  let attempts = 0;
  /** The item whose voice is playing. */
  let playing: string | null = null;
  /** All of it has come. */
  let isWhole = false;
  /** It was interrupted: what still comes of it is not for the ear. */
  let isStale = false;
  /** The server has forgotten what was not heard. */
  let onForgotten: (() => void) | null = null;

  const tell = (event: VoiceEvent) => {
    if (!control.signal.aborted) listeners.onEvent(event);
  };

  const send = (message: object) => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  };

  const finish = (event: VoiceEvent) => {
    if (control.signal.aborted) return;
    tell(event);
    control.abort();
    window.clearInterval(silence);
    microphone?.close();
    player.close();
    socket?.close();
  };

  /** The server forgets what was not heard, so that both sides remember the same. */
  const interrupt = () => {
    isStale = true;
    if (playing === null) return;
    const audio_end_ms = Math.round(player.heardS * 1000);
    send({ type: "conversation.item.truncate", item_id: playing, content_index: 0, audio_end_ms });
    playing = null;
    player.stop();
    tell({ kind: "silent" });
  };

  const takeLeave = async () => {
    if (playing === null || socket?.readyState !== WebSocket.OPEN) return;
    await new Promise<void>((resolve) => {
      onForgotten = resolve;
      window.setTimeout(resolve, LEAVE_PATIENCE_MS);
      interrupt();
    });
  };

  const onSound = (itemId: string, pcm16: string) => {
    if (isStale) return;
    if (playing !== itemId) player.stop();
    playing = itemId;
    isWhole = false;
    player.push(fromBase64(pcm16));
  };

  const onMessage = (text: string) => {
    const told: unknown = JSON.parse(text);
    if (!isRecord(told)) return;
    if (told.type === "session.created") ticket = ticketOf(told) ?? ticket;
    if (ticket !== null && typeof told.event_id === "string") ticket.lastEventId = told.event_id;
    const event = parseVoiceEvent(told);
    if (told.type === "conversation.item.truncated") onForgotten?.();
    if (event === null) return;
    if (event.kind === "ready") attempts = 0;
    if (event.kind === "heard") interrupt();
    if (event.kind === "answering") isStale = false;
    if (event.kind === "answered") isWhole = true;
    if (event.kind === "sound") onSound(event.itemId, event.pcm16);
    tell(event);
  };

  const connect = async () => {
    const { path, protocols } = ticket === null ? await freshAddress() : resumedAddress(ticket);
    if (control.signal.aborted) return;
    const scheme = window.location.protocol === "https:" ? "wss" : "ws";
    const next = new WebSocket(`${scheme}://${window.location.host}${path}`, protocols);
    socket = next;
    next.onmessage = ({ data }: MessageEvent<string>) => onMessage(data);
    next.onclose = () => {
      if (socket === next && !control.signal.aborted) lose();
    };
  };

  const lose = () => {
    attempts += 1;
    if (attempts > MAX_ATTEMPTS) {
      finish({ kind: "failed", problem: problemOf("connection_lost", "") });
      return;
    }
    tell({ kind: "lost" });
    setTimeout(() => void connect().catch(() => lose()), AGAIN_AFTER_MS);
  };

  const freshAddress = async () => {
    const body = await streamCall("/v1/realtime/client_secrets", {
      csrfToken,
      body: { session: SESSION },
      signal: control.signal,
    });
    const secret: unknown = await new Response(body).json();
    if (!isRecord(secret) || typeof secret.value !== "string") {
      throw new CallFailed(problemOf("payload", "no client secret"));
    }
    const query = new URLSearchParams({ conversation: await conversation() });
    return { path: `/v1/realtime?${query.toString()}`, protocols: ["realtime", `openai-insecure-api-key.${secret.value}`] };
  };

  const silence = window.setInterval(() => {
    // A silence before all of it has come is only a late piece.
    if (playing === null || !isWhole || !player.isSilent) return;
    playing = null;
    tell({ kind: "silent" });
  }, SILENCE_CHECK_MS);

  const begin = async () => {
    // The browser's question comes first: without a microphone there is nothing to connect.
    const opened = await openMicrophone((pcm16, level) => {
      listeners.onLevel(muted ? 0 : level);
      // Silence instead of nothing: it ends what was being said, as a pause would.
      const heard = muted ? new Uint8Array(pcm16.byteLength) : pcm16;
      send({ type: "input_audio_buffer.append", audio: toBase64(heard) });
    });
    if (control.signal.aborted) opened.close();
    else {
      microphone = opened;
      await connect();
    }
  };

  begin().catch((error: unknown) => {
    if (control.signal.aborted) return;
    const device = error instanceof DOMException;
    const problem = device ? problemOf(microphoneProblem(error.name), "") : problemOfCall(error);
    finish({ kind: "failed", problem: problem ?? problemOf("internal_error", "") });
  });

  return {
    mute: (wanted) => {
      muted = wanted;
    },
    interrupt: () => {
      send({ type: "response.cancel" });
      interrupt();
    },
    end: async () => {
      muted = true;
      await takeLeave();
      finish({ kind: "ended" });
    },
  };
}

function ticketOf(created: Record<string, unknown>): Ticket | null {
  const { session } = created;
  if (!isRecord(session)) return null;
  const { id, resume_token } = session;
  return typeof id === "string" && typeof resume_token === "string"
    ? { sessionId: id, resumeToken: resume_token, lastEventId: "event_0" }
    : null;
}

function resumedAddress({ sessionId, resumeToken, lastEventId }: Ticket) {
  const query = new URLSearchParams({
    session_id: sessionId,
    resume_token: resumeToken,
    last_event_id: lastEventId,
  });
  return { path: `/v1/realtime?${query.toString()}`, protocols: ["realtime"] };
}

function microphoneProblem(name: string): string {
  switch (name) {
    case "NotAllowedError":
      return "microphone_blocked";
    case "NotFoundError":
      return "microphone_missing";
    case "SecurityError":
      return "microphone_insecure";
    default:
      return "microphone_failed";
  }
}
