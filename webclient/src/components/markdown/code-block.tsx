import { lazy, memo, Suspense } from "react";
import { CopyButton } from "@/components/ui/copy-button";

const Highlighted = lazy(() => import("./highlighted"));

type CodeBlockProps = { code: string; language: string };

/** A block of code with its language and a copy button. Scrollable by keyboard. */
export const CodeBlock = memo(function CodeBlock({ code, language }: CodeBlockProps) {
  return (
    <figure className="overflow-hidden rounded-xl border border-line bg-code-canvas text-code">
      <figcaption className="flex h-10 items-center justify-between border-b border-line pr-1 pl-4 font-mono text-xs text-ink-faint">
        {language === "" ? "code" : language}
        <CopyButton text={code} what="code" />
      </figcaption>
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- WCAG 2.1.1: a scrolling region must be reachable by keyboard */}
      <pre tabIndex={0} role="region" aria-label={`${language === "" ? "Plain" : language} code`} className="overflow-x-auto p-4 font-mono text-[0.84rem] leading-relaxed">
        <code>
          <Suspense fallback={code}>
            <Highlighted code={code} language={language} />
          </Suspense>
        </code>
      </pre>
    </figure>
  );
});
