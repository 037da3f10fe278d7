import { AudioLines, FileText, RotateCcw, X } from "lucide-react";
import { IconButton } from "@/components/ui/button";
import { cx } from "@/components/ui/cx";
import { formatBytes, formatClock } from "@/lib/format";
import { assertNever } from "@/lib/assert-never";
import { adviceFor } from "@/lib/problem";
import type { Attachment } from "../compose/attachments-reducer";

type AttachmentTrayProps = {
  attachments: readonly Attachment[];
  onRemove: (id: string) => void;
  onRetry: (attachment: Attachment) => void;
};

/** The files of a message not yet sent. */
export function AttachmentTray({ attachments, onRemove, onRetry }: AttachmentTrayProps) {
  if (attachments.length === 0) return null;
  return (
    <ul aria-label="Attachments" className="flex gap-2.5 overflow-x-auto px-3 pt-3 pb-1">
      {attachments.map((attachment) => (
        <li
          key={attachment.id}
          className={cx(
            "animate-rise relative flex w-64 shrink-0 items-center gap-3 rounded-xl border bg-canvas p-2 pr-10",
            attachment.status === "failed" ? "border-danger/50" : "border-line",
          )}
        >
          <Preview attachment={attachment} />
          <div className="min-w-0 flex-1 text-sm">
            <p className="truncate font-medium">{attachment.name}</p>
            <Status attachment={attachment} />
            {attachment.words !== "" && (
              <p title={attachment.words} className="mt-1 line-clamp-2 text-xs text-ink-soft">
                <span className="sr-only">Heard so far: </span>
                {newestOf(attachment.words)}
              </p>
            )}
          </div>
          <div className="absolute top-1 right-1 flex flex-col">
            <IconButton label={`Remove ${attachment.name}`} size="iconSm" onClick={() => onRemove(attachment.id)}>
              <X aria-hidden className="size-4" />
            </IconButton>
            {attachment.status === "failed" && attachment.file !== null && (
              <IconButton label={`Upload ${attachment.name} again`} size="iconSm" onClick={() => onRetry(attachment)}>
                <RotateCcw aria-hidden className="size-4" />
              </IconButton>
            )}
          </div>
        </li>
      ))}
    </ul>
  );
}

const SHOWN_WORDS = 12;

/** The end of what was heard: it is what has just come. */
function newestOf(words: string): string {
  const all = words.split(" ");
  return all.length <= SHOWN_WORDS ? words : `… ${all.slice(-SHOWN_WORDS).join(" ")}`;
}

function Preview({ attachment }: { attachment: Attachment }) {
  const { kind, previewUrl } = attachment;
  switch (kind) {
    case "image":
      return <img src={previewUrl} alt="" className="size-13 shrink-0 rounded-lg bg-sunken object-cover" />;
    case "video":
      // A moment after the start: many videos begin in black.
      return (
        <video muted playsInline preload="metadata" aria-hidden tabIndex={-1} src={`${previewUrl}#t=0.5`} className="size-13 shrink-0 rounded-lg bg-sunken object-cover" />
      );
    case "audio":
    case "document": {
      const Icon = kind === "audio" ? AudioLines : FileText;
      return (
        <span className="flex size-13 shrink-0 items-center justify-center rounded-lg bg-sunken">
          <Icon aria-hidden className={cx("size-6", kind === "audio" ? "text-hear" : "text-read")} />
        </span>
      );
    }
    default:
      return assertNever(kind);
  }
}

function Status({ attachment }: { attachment: Attachment }) {
  switch (attachment.status) {
    case "uploading": {
      const percent = Math.round(attachment.fraction * 100);
      return (
        <div className="mt-1.5 flex items-center gap-2">
          <progress
            value={percent}
            max={100}
            aria-label={`Uploading ${attachment.name}`}
            className="h-1.5 min-w-0 flex-1 appearance-none overflow-hidden rounded-full [&::-moz-progress-bar]:bg-accent [&::-webkit-progress-bar]:bg-line [&::-webkit-progress-value]:bg-accent"
          />
          <span className="text-xs text-ink-soft tabular-nums">{percent} %</span>
        </div>
      );
    }
    case "ready": {
      const { asset } = attachment;
      const size =
        asset.duration_s !== null
          ? formatClock(asset.duration_s)
          : asset.width_px !== null && asset.height_px !== null
            ? `${asset.width_px} × ${asset.height_px}`
            : formatBytes(asset.bytes);
      return <p className="text-xs text-ink-soft">{size}</p>;
    }
    case "failed": {
      const { title, action } = adviceFor(attachment.problem);
      return (
        <p role="alert" className="text-xs text-danger">
          {title}. {attachment.problem.message === "" ? action : attachment.problem.message}
        </p>
      );
    }
  }
}
