import type { Span, Trace } from "@/api/types";

export type Bar = {
  span: Span;
  startS: number;
  durationS: number;
  /** Share of the whole, 0 to 1. */
  offset: number;
  width: number;
  cache: "hit" | "miss" | null;
};

/** Spans in order of their beginning, placed on one scale that starts at zero. */
export function layOutTrace({ spans, total_s }: Pick<Trace, "spans" | "total_s">): Bar[] {
  if (spans.length === 0) return [];
  const first = Math.min(...spans.map((span) => span.start_s));
  const last = Math.max(...spans.map((span) => span.end_s));
  // Spans may count from the request's arrival or from an epoch; only an epoch is this large.
  const origin = first > 1e6 ? first : 0;
  const scale = Math.max(total_s, last - origin, Number.EPSILON);
  return spans
    .toSorted((a, b) => a.start_s - b.start_s || b.end_s - a.end_s)
    .map((span) => {
      const startS = span.start_s - origin;
      const durationS = Math.max(0, span.end_s - span.start_s);
      const { cache } = span.attributes;
      return {
        span,
        startS,
        durationS,
        offset: startS / scale,
        width: durationS / scale,
        cache: cache === "hit" || cache === "miss" ? cache : null,
      };
    });
}
