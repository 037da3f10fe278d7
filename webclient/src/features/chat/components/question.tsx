import type { InputPart } from "@/api/types";
import { assertNever } from "@/lib/assert-never";
import { SentMedium } from "./sent-media";

type QuestionProps = { parts: readonly InputPart[]; perceived: boolean };

/** What one asked: its media first, then the words. */
export function Question({ parts, perceived }: QuestionProps) {
  return (
    <div className="flex flex-col items-end gap-2">
      <h2 className="sr-only">You asked</h2>
      {parts.map((part, index) => (
        <QuestionPart key={index} part={part} perceived={perceived} />
      ))}
    </div>
  );
}

/** One part of a question. A new kind does not compile until it is drawn here. */
function QuestionPart({ part, perceived }: { part: InputPart; perceived: boolean }) {
  switch (part.type) {
    case "input_text":
      return (
        <p className="max-w-[min(100%,38rem)] rounded-2xl rounded-br-md bg-accent-wash px-4 py-2.5 wrap-anywhere whitespace-pre-wrap">
          {part.text}
        </p>
      );
    case "input_image":
      return part.file_id === null ? (
        <p className="text-sm text-ink-soft">A picture from another address</p>
      ) : (
        <SentMedium kind="image" assetId={part.file_id} perceived={perceived} />
      );
    case "input_audio":
      return part.file_id == null ? (
        <p className="text-sm text-ink-soft">A recording sent with the request</p>
      ) : (
        <SentMedium kind="audio" assetId={part.file_id} perceived={perceived} />
      );
    case "input_file":
      return part.file_id === null || part.kind === null ? (
        <p className="text-sm text-ink-soft">{part.filename ?? "A file"}</p>
      ) : (
        <SentMedium kind={part.kind} assetId={part.file_id} perceived={perceived} />
      );
    default:
      return assertNever(part);
  }
}
