import { ArrowUp, Mic, Paperclip, Square } from "lucide-react";
import { useId, useRef, type KeyboardEvent, type Ref } from "react";
import { Button, IconButton } from "@/components/ui/button";
import type { Attachments } from "../compose/use-attachments";
import type { Recorder } from "../compose/use-recorder";
import { AttachmentTray } from "./attachment-tray";
import { RecorderPanel } from "./recorder-panel";

export type ComposerStatus = "ready" | "sending" | "answering" | "stopping";

type ComposerProps = {
  ref: Ref<HTMLTextAreaElement>;
  text: string;
  status: ComposerStatus;
  attachments: Attachments;
  recorder: Recorder;
  onText: (text: string) => void;
  onSend: () => void;
  onStop: () => void;
};

/** Where a message is written, shown and said. */
export function Composer({ ref, text, status, attachments, recorder, onText, onSend, onStop }: ComposerProps) {
  const hintId = useId();
  const filePicker = useRef<HTMLInputElement>(null);
  const blocker = whyNot(text, status, attachments);
  const answering = status === "answering" || status === "stopping";

  const onKeyDown = (event: KeyboardEvent) => {
    // While an input method composes a character, Enter belongs to it.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    if (blocker === null) onSend();
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
      {attachments.refusal !== null && (
        <p role="alert" className="px-4 pt-3 text-sm text-danger">
          {attachments.refusal}
        </p>
      )}
      {recorder.state.status !== "idle" && (
        <RecorderPanel state={recorder.state} actions={recorder} onKeep={keepRecording} />
      )}
      <div className={recorder.state.status === "idle" ? "flex items-end gap-1 p-2" : "hidden"}>
        <input
          ref={filePicker}
          type="file"
          accept="image/*,audio/*"
          multiple
          hidden
          aria-label="Attach pictures or recordings"
          onChange={({ target }) => {
            attachments.add([...(target.files ?? [])]);
            target.value = "";
          }}
        />
        <IconButton label="Attach pictures or recordings" onClick={() => filePicker.current?.click()}>
          <Paperclip aria-hidden className="size-5" />
        </IconButton>
        <IconButton label="Record a voice note" onClick={recorder.start}>
          <Mic aria-hidden className="size-5" />
        </IconButton>
        <textarea
          ref={ref}
          rows={1}
          value={text}
          aria-label="Your message"
          aria-describedby={hintId}
          placeholder="Show it, say it, ask it"
          onChange={(event) => onText(event.target.value)}
          onKeyDown={onKeyDown}
          className="field-sizing-content max-h-[38dvh] min-h-10 min-w-0 flex-1 resize-none self-center px-1.5 py-2 text-base leading-6 outline-none placeholder:text-ink-faint"
        />
        <p id={hintId} className="sr-only">
          Enter sends, Shift and Enter starts a new line. Pictures and recordings can be pasted.
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
