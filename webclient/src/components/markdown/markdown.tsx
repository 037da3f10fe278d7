import { isValidElement, memo, useDeferredValue, type ReactNode } from "react";
import ReactMarkdown, { type Components } from "react-markdown";
import remarkGfm from "remark-gfm";
import { isRecord } from "@/lib/problem";
import { CodeBlock } from "./code-block";

const PLUGINS = [remarkGfm];

const COMPONENTS: Components = {
  pre: ({ children }) => {
    const { code, language } = readCode(children);
    return <CodeBlock code={code} language={language} />;
  },
  a: ({ href, children }) => <OutsideLink href={href}>{children}</OutsideLink>,
  // The policy of the page lets no foreign picture in, and a model's address may be a beacon.
  img: ({ src, alt }) => (
    <OutsideLink href={typeof src === "string" ? src : undefined}>
      {alt === undefined || alt === "" ? "picture" : alt}
    </OutsideLink>
  ),
  table: ({ children }) => (
    // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- WCAG 2.1.1: a scrolling region must be reachable by keyboard
    <div tabIndex={0} role="region" aria-label="Table" className="overflow-x-auto text-[0.9375rem]">
      <table>{children}</table>
    </div>
  ),
  // A heading inside an answer never outranks the page's own.
  h1: ({ children }) => <h3>{children}</h3>,
  h2: ({ children }) => <h3>{children}</h3>,
  h3: ({ children }) => <h4>{children}</h4>,
};

/** Markdown as it grows. Typing stays quick: a late frame is skipped, never queued. */
export const Markdown = memo(function Markdown({ text }: { text: string }) {
  const settled = useDeferredValue(text);
  return (
    <div className="prose-answer">
      <ReactMarkdown remarkPlugins={PLUGINS} components={COMPONENTS}>
        {settled}
      </ReactMarkdown>
    </div>
  );
});

/** A link out of the page. An address that was found unsafe is absent: its words stay. */
function OutsideLink({ href, children }: { href: string | undefined; children: ReactNode }) {
  if (href === undefined || href === "") return <span>{children}</span>;
  return (
    <a href={href} target="_blank" rel="noreferrer noopener">
      {children}
    </a>
  );
}

function readCode(children: ReactNode): { code: string; language: string } {
  if (!isValidElement(children) || !isRecord(children.props)) return { code: "", language: "" };
  const { className, children: text } = children.props;
  const language = typeof className === "string" ? /language-(\S+)/.exec(className)?.[1] : null;
  return {
    code: typeof text === "string" ? text.replace(/\n$/, "") : "",
    language: language ?? "",
  };
}
