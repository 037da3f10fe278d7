import { AudioLines, Code, Image, Sparkles } from "lucide-react";

export type Start = "picture" | "voice" | { prompt: string };

const STARTS: readonly { Icon: typeof Image; hue: string; title: string; note: string; start: Start }[] = [
  { Icon: Image, hue: "text-see", title: "Show a picture", note: "What is in it, and what does it say?", start: "picture" },
  { Icon: AudioLines, hue: "text-hear", title: "Say it", note: "Record a voice note and get it summed up.", start: "voice" },
  {
    Icon: Code,
    hue: "text-write",
    title: "Write some code",
    note: "A Python function that finds duplicate files.",
    start: { prompt: "Write a Python function that finds duplicate files in a folder by their content, and explain how it works." },
  },
  {
    Icon: Sparkles,
    hue: "text-read",
    title: "Ask a question",
    note: "Why does bread rise? Explain it in three steps.",
    start: { prompt: "Why does bread rise? Explain it in three steps." },
  },
];

/** The first thing a newcomer sees: four ways to begin. */
export function EmptyState({ onStart }: { onStart: (start: Start) => void }) {
  return (
    <div className="m-auto w-full max-w-2xl py-8">
      <h1 className="text-[clamp(2.25rem,6vw,3.5rem)] leading-[1.02] font-semibold [font-stretch:80%]">
        What do you want to&nbsp;know?
      </h1>
      <p className="mt-3 max-w-lg text-ink-soft sm:text-lg">
        Drop a picture, a recording, a video or a PDF anywhere on this page, paste one, or just write.
      </p>
      <ul className="mt-8 grid gap-2.5 sm:grid-cols-2">
        {STARTS.map(({ Icon, hue, title, note, start }) => (
          <li key={title}>
            <button
              type="button"
              onClick={() => onStart(start)}
              className="flex h-full w-full items-start gap-3.5 rounded-2xl border border-line bg-surface px-4 py-3.5 text-left transition-colors hover:border-line-strong sm:py-4"
            >
              <Icon aria-hidden strokeWidth={1.75} className={`mt-0.5 size-5 shrink-0 ${hue}`} />
              <span>
                <span className="block font-semibold">{title}</span>
                <span className="block text-sm text-ink-soft">{note}</span>
              </span>
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
