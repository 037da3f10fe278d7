import { ExternalLink, FileText } from "lucide-react";
import type { DocumentPerception } from "@/api/types";
import { count } from "@/lib/format";

type DocumentCardProps = { url: string; filename: string; read: DocumentPerception | null };

const EXCERPT_CHARS = 400;

/** A document with what was read on each page. */
export function DocumentCard({ url, filename, read }: DocumentCardProps) {
  const title = read === null || read.title === "" ? filename : read.title;
  return (
    <div className="w-full rounded-2xl border border-line bg-surface p-3 text-left">
      <a href={url} target="_blank" rel="noreferrer" className="flex items-center gap-3 rounded-lg">
        <span className="grid size-11 shrink-0 place-items-center rounded-lg bg-sunken">
          <FileText aria-hidden className="size-5 text-read" />
        </span>
        <span className="min-w-0 flex-1">
          <span className="block truncate font-medium">{title === "" ? "Document" : title}</span>
          <span className="block text-sm text-ink-soft">
            {read === null ? "PDF" : `PDF, ${count(read.pages.length, "page")}`}
          </span>
        </span>
        <ExternalLink aria-hidden className="size-4 text-ink-faint" />
        <span className="sr-only">Opens in a new tab</span>
      </a>
      {read !== null && read.pages.length > 0 && (
        <details className="mt-2 text-sm">
          <summary className="cursor-pointer rounded-lg px-1 py-1 text-ink-soft">What was read, page by page</summary>
          {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- WCAG 2.1.1: a scrolling region must be reachable by keyboard */}
          <ol tabIndex={0} aria-label="Pages" className="mt-1 max-h-56 space-y-2 overflow-y-auto px-1">
            {read.pages.map((page) => (
              <li key={page.number} className="grid grid-cols-[3.5rem_1fr] gap-2">
                <span className="font-mono text-xs leading-5 text-read">Page {page.number}</span>
                <span className="leading-snug wrap-anywhere whitespace-pre-line">{excerptOf(page.text, page.description)}</span>
              </li>
            ))}
          </ol>
        </details>
      )}
    </div>
  );
}

function excerptOf(text: string, description: string): string {
  const words = text.trim();
  if (words === "") return description === "" ? "Nothing was read on this page." : description;
  return words.length <= EXCERPT_CHARS ? words : `${words.slice(0, EXCERPT_CHARS).trimEnd()}…`;
}
