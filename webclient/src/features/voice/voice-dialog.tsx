import { AudioLines, Hand, Mic, MicOff, PhoneOff } from "lucide-react";
import { useEffect, useReducer, useRef, useState } from "react";
import { useStore } from "react-redux";
import { Button } from "@/components/ui/button";
import { cx } from "@/components/ui/cx";
import { Dialog } from "@/components/ui/dialog";
import { ProblemNote } from "@/components/ui/problem-note";
import type { SessionRoot } from "@/lib/base-api";
import { selectCsrfToken } from "@/lib/session-slice";
import { useKeptTalk } from "./use-kept-talk";
import { CONNECTING, reduceVoice, statusInWords, type Caption } from "./voice-reducer";
import { openVoiceSession, type VoiceSession } from "./voice-session";

type VoiceDialogProps = {
  /** What the talk goes on from and is kept in; a new conversation without one. */
  conversationId: string | undefined;
  onClose: () => void;
};

/** A conversation by voice: it listens all the time, speaks, and lets itself be interrupted. */
export function VoiceDialog({ conversationId, onClose }: VoiceDialogProps) {
  const store = useStore<SessionRoot>();
  const [state, dispatch] = useReducer(reduceVoice, CONNECTING);
  const [muted, setMuted] = useState(false);
  const [level, setLevel] = useState(0);
  const session = useRef<VoiceSession | null>(null);
  const talk = useKeptTalk(conversationId);

  useEffect(() => {
    const csrfToken = selectCsrfToken(store.getState());
    const opened = openVoiceSession(csrfToken, talk.begin, { onEvent: dispatch, onLevel: setLevel });
    session.current = opened;
    return () => void opened.end();
  }, [store, talk]);

  const firstWords = state.captions.find(({ who, isFinal }) => who === "you" && isFinal)?.text;
  useEffect(() => {
    if (firstWords !== undefined) talk.name(firstWords);
  }, [firstWords, talk]);

  const close = async () => {
    await session.current?.end();
    await talk.finish(state.captions.length === 0);
    onClose();
  };

  const toggleMute = () => {
    session.current?.mute(!muted);
    setMuted(!muted);
  };
  const over = state.status === "ended" || state.status === "failed";
  return (
    <Dialog open onOpenChange={() => void close()} width="md" title="Voice" description="Just talk. Speak up to interrupt. What is said is kept as a conversation.">
      <div className="space-y-5">
        <div className="flex flex-col items-center gap-4 pt-2">
          <Pulse level={state.status === "speaking" ? 0.5 : level} speaking={state.status === "speaking"} />
          <p role="status" className="text-lg font-semibold">
            {statusInWords(state.status, muted)}
          </p>
          <div role="meter" aria-label="Loudness of your microphone" aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(level * 100)} className="h-1.5 w-48 overflow-hidden rounded-full bg-sunken">
            <span className="block h-full rounded-full bg-hear transition-[width] duration-75" style={{ width: `${level * 100}%` }} />
          </div>
        </div>
        {state.problem !== null && <ProblemNote problem={state.problem} />}
        <Captions captions={state.captions} />
        <div className="grid auto-cols-fr grid-flow-col gap-2 sm:flex sm:justify-center">
          {!over && (
            <>
              <Button onClick={toggleMute} aria-pressed={muted}>
                {muted ? <MicOff aria-hidden className="size-4 max-sm:hidden" /> : <Mic aria-hidden className="size-4 max-sm:hidden" />}
                {muted ? "Unmute" : "Mute"}
              </Button>
              <Button onClick={() => session.current?.interrupt()} disabled={state.status !== "speaking"}>
                <Hand aria-hidden className="size-4 max-sm:hidden" /> Interrupt
              </Button>
            </>
          )}
          <Button variant={over ? "secondary" : "danger"} onClick={() => void close()}>
            <PhoneOff aria-hidden className="size-4 max-sm:hidden" /> {over ? "Close" : "End"}
          </Button>
        </div>
      </div>
    </Dialog>
  );
}

function Pulse({ level, speaking }: { level: number; speaking: boolean }) {
  return (
    <span aria-hidden className="relative grid size-24 place-items-center">
      <span
        className={cx("absolute inset-0 rounded-full bg-accent-wash transition-transform duration-100", speaking && "animate-breathe")}
        style={{ transform: `scale(${0.7 + level * 0.5})` }}
      />
      <span className={cx("relative grid size-14 place-items-center rounded-full", speaking ? "bg-accent text-accent-ink" : "bg-surface text-hear")}>
        <AudioLines className="size-7" />
      </span>
    </span>
  );
}

/** Both sides in words, the newest at the bottom and in view. */
function Captions({ captions }: { captions: readonly Caption[] }) {
  const end = useRef<HTMLLIElement>(null);
  useEffect(() => {
    // Some browsers return a promise here, which an effect must not.
    end.current?.scrollIntoView({ block: "nearest" });
  }, [captions]);
  return (
    // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- WCAG 2.1.1: a scrolling region must be reachable by keyboard
    <ol tabIndex={0} aria-label="Captions" aria-live="polite" className="max-h-[34dvh] min-h-24 space-y-2 overflow-y-auto rounded-xl bg-sunken p-3">
      {captions.length === 0 && <li className="text-sm text-ink-soft">What is said appears here.</li>}
      {captions.map((caption, index) => (
        <li
          key={caption.id}
          ref={index === captions.length - 1 ? end : null}
          className={cx("w-fit max-w-[90%] rounded-2xl px-3.5 py-2 wrap-anywhere", caption.who === "you" ? "ml-auto bg-accent-wash" : "bg-surface", !caption.isFinal && "italic")}
        >
          <span className="sr-only">{caption.who === "you" ? "You: " : "Polymodal: "}</span>
          {caption.text}
        </li>
      ))}
    </ol>
  );
}
