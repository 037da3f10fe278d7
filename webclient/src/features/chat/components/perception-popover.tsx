import { Popover } from "radix-ui";
import { Ear, Eye } from "lucide-react";
import type { ReactNode } from "react";
import type { AudioPerception, ImagePerception } from "@/api/types";
import { Button } from "@/components/ui/button";
import { formatClock, formatPercent } from "@/lib/format";

type PerceptionPopoverProps = { perception: ImagePerception | AudioPerception };

/** What the model was told about a picture or a recording. */
export function PerceptionPopover({ perception }: PerceptionPopoverProps) {
  const Icon = perception.kind === "image" ? Eye : Ear;
  const title = perception.kind === "image" ? "What was seen" : "What was heard";
  return (
    <Popover.Root>
      <Popover.Trigger asChild>
        <Button size="sm" variant="ghost">
          <Icon aria-hidden className={perception.kind === "image" ? "size-4 text-see" : "size-4 text-hear"} />
          {title}
        </Button>
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content
          aria-label={title}
          align="end"
          sideOffset={6}
          collisionPadding={12}
          className="animate-fade z-50 max-h-[min(28rem,var(--radix-popover-content-available-height))] w-[min(24rem,calc(100vw-1.5rem))] overflow-y-auto rounded-2xl border border-line bg-surface p-5 text-sm shadow-lift"
        >
          {perception.kind === "image" ? <Seen seen={perception} /> : <Heard heard={perception} />}
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}

function Seen({ seen }: { seen: ImagePerception }) {
  return (
    <div className="space-y-4">
      <p className="text-base leading-snug">{seen.description === "" ? "Nothing to describe." : seen.description}</p>
      {seen.objects.length > 0 && (
        <Section title="Objects">
          <ul className="flex flex-wrap gap-1.5">
            {seen.objects.map((object, index) => (
              <li key={index} className="rounded-full bg-sunken px-2.5 py-1">
                {object.name} <span className="text-ink-soft">{formatPercent(object.score)}</span>
              </li>
            ))}
          </ul>
        </Section>
      )}
      {seen.text_lines.length > 0 && (
        <Section title="Text in it">
          <p className="rounded-lg bg-code-canvas px-3 py-2 font-mono text-[0.8125rem] whitespace-pre-wrap">
            {seen.text_lines.map((line) => line.text).join("\n")}
          </p>
        </Section>
      )}
      {seen.labels.length > 0 && (
        <Section title="It looks like">
          <ul className="space-y-1.5">
            {seen.labels.slice(0, 5).map((label) => (
              <li key={label.name} className="grid grid-cols-[1fr_5rem_2.75rem] items-center gap-2">
                <span className="truncate">{label.name}</span>
                <span aria-hidden className="h-1.5 overflow-hidden rounded-full bg-sunken">
                  <span className="block h-full rounded-full bg-see" style={{ width: formatPercent(label.score).replace(" ", "") }} />
                </span>
                <span className="text-right text-ink-soft tabular-nums">{formatPercent(label.score)}</span>
              </li>
            ))}
          </ul>
        </Section>
      )}
    </div>
  );
}

function Heard({ heard }: { heard: AudioPerception }) {
  return (
    <div className="space-y-4">
      {heard.segments.length === 0 ? (
        <p className="text-base leading-snug">{heard.transcript === "" ? "No speech was heard." : heard.transcript}</p>
      ) : (
        <ol className="space-y-2">
          {heard.segments.map((segment) => (
            <li key={segment.start_s} className="grid grid-cols-[2.75rem_1fr] gap-2">
              <span className="pt-px font-mono text-xs leading-5 text-hear">{formatClock(segment.start_s)}</span>
              <span className="leading-snug">{segment.text.trim()}</span>
            </li>
          ))}
        </ol>
      )}
      <p className="text-ink-soft">
        {heard.language !== "" && <>Language: {languageName(heard.language)}</>}
        {heard.sound_tags.length > 0 && (
          <span className="block">Sounds: {heard.sound_tags.slice(0, 4).map((tag) => tag.name).join(", ")}</span>
        )}
      </p>
    </div>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section>
      <h3 className="mb-2 text-xs font-medium tracking-normal text-ink-faint [font-stretch:100%]">{title}</h3>
      {children}
    </section>
  );
}

function languageName(code: string): string {
  try {
    return new Intl.DisplayNames(undefined, { type: "language" }).of(code) ?? code;
  } catch {
    return code;
  }
}
