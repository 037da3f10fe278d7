import { useEffect, useRef } from "react";
import type { NewApiKey } from "@/api/types";
import { Button } from "@/components/ui/button";
import { CopyButton } from "@/components/ui/copy-button";

type NewKeyNoteProps = { created: NewApiKey; onDone: () => void };

/** The only time a key can be read. It takes the focus so that nobody misses it. */
export function NewKeyNote({ created, onDone }: NewKeyNoteProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), [created.id]);
  return (
    <section className="animate-rise rounded-2xl border border-accent bg-accent-wash p-5">
      <h2 ref={heading} tabIndex={-1} className="text-lg font-semibold outline-none">
        Copy “{created.name}” now
      </h2>
      <p className="mt-1 text-sm text-ink-soft">
        It is shown once. We keep only its fingerprint and cannot show it again.
      </p>
      <div className="mt-4 flex flex-wrap items-center gap-2">
        <code className="min-w-0 flex-1 basis-full rounded-lg bg-surface sm:basis-0 px-3 py-2.5 font-mono text-sm break-all select-all">
          {created.secret}
        </code>
        <CopyButton text={created.secret} what="key" variant="secondary" />
        <Button size="sm" variant="ghost" onClick={onDone}>
          I have it
        </Button>
      </div>
    </section>
  );
}
