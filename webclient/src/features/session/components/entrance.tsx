import { AudioLines, Image, MessageSquareText } from "lucide-react";
import type { ReactNode } from "react";
import { Mark } from "@/components/ui/mark";
import { useTheme } from "@/lib/theme";

const SENSES = [
  { Icon: Image, word: "Show it", hue: "text-see" },
  { Icon: AudioLines, word: "say it", hue: "text-hear" },
  { Icon: MessageSquareText, word: "ask it", hue: "text-write" },
] as const;

/** The frame around the pages one sees before being signed in. */
export function Entrance({ title, children }: { title: string; children: ReactNode }) {
  useTheme();
  return (
    <main className="grid min-h-dvh lg:grid-cols-[1.1fr_1fr]">
      <div className="flex flex-col justify-between gap-10 px-6 py-8 sm:px-12 lg:bg-sunken lg:px-16 lg:py-14">
        <p className="flex items-center gap-3 text-lg font-semibold">
          <Mark className="size-8" />
          Polymodal
        </p>
        <div className="max-lg:hidden">
          <ul className="space-y-1 text-[clamp(3rem,5.4vw,5.25rem)] leading-[1.02] font-semibold tracking-tight [font-stretch:80%]">
            {SENSES.map(({ Icon, word, hue }, index) => (
              <li key={word} className="flex items-center gap-[0.3em]">
                <Icon aria-hidden strokeWidth={1.6} className={`size-[0.72em] ${hue}`} />
                {word}
                {index === SENSES.length - 1 ? "." : ","}
              </li>
            ))}
          </ul>
          <p className="mt-8 max-w-md text-lg text-ink-soft">
            One conversation for pictures, recordings and words. You see what the model saw and
            heard, and where every second went.
          </p>
        </div>
        <p className="text-sm text-ink-soft max-lg:hidden">Runs on your own machines.</p>
      </div>
      <div className="flex items-start justify-center px-6 pb-12 sm:px-12 lg:items-center lg:py-14">
        <div className="w-full max-w-sm">
          <h1 className="mb-7 text-3xl font-semibold">{title}</h1>
          {children}
        </div>
      </div>
    </main>
  );
}
