import { ArrowUp, Mic, Square, X } from "lucide-react";
import { useId, useState, type KeyboardEvent, type ReactNode, type Ref } from "react";
import { Button, IconButton } from "@/components/ui/button";
import { useCapabilities } from "@/lib/capabilities";
import type { Attachments } from "../compose/use-attachments";
import type { Recorder } from "../compose/use-recorder";
import { grabScreen, screenAdvice } from "../compose/grab-screen";
import type { Wish } from "../made";
import { AttachMenu, WISH_NAMES } from "./attach-menu";
import { AttachmentTray } from "./attachment-tray";
import { CameraDialog } from "./camera-dialog";
import { RecorderPanel } from "./recorder-panel";

export type ComposerStatus = "ready" | "sending" | "answering" | "stopping";

type ComposerProps = {
  ref: Ref<HTMLTextAreaElement>;
  text: string;
  status: ComposerStatus;
  attachments: Attachments;
  recorder: Recorder;
  /** Stands beside the microphone: another way to talk. */
  aside: ReactNode;
  wishes: readonly Wish[];
  onWishes: (wishes: readonly Wish[]) => void;
  onText: (text: string) => void;
  onSend: () => void;
  onStop: () => void;
};

/** Where a message is written, shown and said. */
export function Composer({ ref, text, status, attachments, recorder, aside, wishes, onWishes, onText, onSend, onStop }: ComposerProps) {
  const hintId = useId();
  const { media, pictures, speech } = useCapabilities();
  const [cameraOpen, setCameraOpen] = useState(false);
  const [screenRefusal, setScreenRefusal] = useState<string | null>(null);
  const offeredWishes: Wish[] = [...(pictures ? ["picture" as const] : []), ...(speech ? ["speech" as const] : [])];
  const blocker = whyNot(text, status, attachments);
  const answering = status === "answering" || status === "stopping";

  const onKeyDown = (event: KeyboardEvent) => {
    // While an input method composes a character, Enter belongs to it.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    if (blocker === null) onSend();
  };

  const captureScreen = () => {
    setScreenRefusal(null);
    grabScreen().then(
      (file) => attachments.add([file]),
      (error: unknown) => setScreenRefusal(screenAdvice(error)),
    );
  };

  const keepRecording = (file: File) => {
    attachments.add([file]);
    recorder.discard();
  };

  return (
    <form
      aria-label="Message"
      onSubmit={(event) => {
        event.preventDefault();
        if (blocker === null) onSend();
      }}
      className="rounded-[1.35rem] border border-line-strong/60 bg-surface shadow-lift focus-within:border-accent"
    >
      <AttachmentTray attachments={attachments.list} onRemove={attachments.remove} onRetry={attachments.retry} />
      {[attachments.refusal, screenRefusal].map(
        (refusal, index) =>
          refusal !== null && (
            <p key={index} role="alert" className="px-4 pt-3 text-sm text-danger">
              {refusal}
            </p>
          ),
      )}
      {wishes.length > 0 && (
        <ul aria-label="The answer shall be" className="flex flex-wrap gap-2 px-3 pt-3">
          {wishes.map((wish) => (
            <li key={wish}>
              <Button size="sm" onClick={() => onWishes(wishes.filter((one) => one !== wish))}>
                {WISH_NAMES[wish]} <X aria-hidden className="size-3.5" />
                <span className="sr-only">: take back</span>
              </Button>
            </li>
          ))}
        </ul>
      )}
      {recorder.state.status !== "idle" && (
        <RecorderPanel state={recorder.state} actions={recorder} onKeep={keepRecording} />
      )}
      <div className={recorder.state.status === "idle" ? "flex items-end gap-1 p-2" : "hidden"}>
        {media.length > 0 && (
          <AttachMenu
            kinds={media}
            onFiles={attachments.add}
            onCamera={() => setCameraOpen(true)}
            onScreen={captureScreen}
            wishes={offeredWishes.filter((wish) => !wishes.includes(wish))}
            onWish={(wish) => onWishes([...wishes, wish])}
          />
        )}
        {media.includes("audio") && (
          <IconButton label="Record a voice note" onClick={recorder.start}>
            <Mic aria-hidden className="size-5" />
          </IconButton>
        )}
        {aside}
        <textarea
          ref={ref}
          rows={1}
          value={text}
          aria-label="Your message"
          aria-describedby={hintId}
          placeholder="Show, say, ask"
          onChange={(event) => onText(event.target.value)}
          onKeyDown={onKeyDown}
          className="field-sizing-content max-h-[38dvh] min-h-10 min-w-0 flex-1 resize-none self-center px-1.5 py-2 text-base leading-6 outline-none placeholder:text-ink-faint"
        />
        <p id={hintId} className="sr-only">
          Enter sends, Shift and Enter starts a new line. Files can be pasted and dropped.
        </p>
        {answering ? (
          <Button variant="secondary" onClick={onStop} disabled={status === "stopping"} className="px-3.5">
            <Square aria-hidden className="size-3.5 fill-current" />
            {status === "stopping" ? "Stopping…" : "Stop"}
          </Button>
        ) : (
          <Button type="submit" variant="primary" size="icon" disabled={blocker !== null} aria-label="Send" title={blocker ?? "Send"}>
            <ArrowUp aria-hidden className="size-5" />
          </Button>
        )}
      </div>
      {cameraOpen && (
        <CameraDialog
          withClips={media.includes("video")}
          onKeep={(file) => attachments.add([file])}
          onClose={() => setCameraOpen(false)}
        />
      )}
    </form>
  );
}

/** Why the message cannot be sent now; null when it can. */
function whyNot(text: string, status: ComposerStatus, { list }: Attachments): string | null {
  if (status !== "ready") return "One answer at a time";
  if (list.some((one) => one.status === "uploading")) return "Wait for the upload";
  if (list.some((one) => one.status === "failed")) return "Remove what could not be uploaded";
  return text.trim() === "" && list.length === 0 ? "Write something, or attach a file" : null;
}
