import { expect, it } from "vitest";
import type { Span } from "@/api/types";
import { layOutTrace } from "./trace";

const span = (name: string, start_s: number, end_s: number, cache?: string): Span => ({
  name,
  node: "n",
  start_s,
  end_s,
  attributes: cache === undefined ? {} : { cache },
});

it("places spans on one scale, in order of their beginning", () => {
  const bars = layOutTrace({ total_s: 4, spans: [span("b", 2, 4), span("a", 0, 1, "hit")] });
  expect(bars.map((bar) => [bar.span.name, bar.offset, bar.width, bar.cache])).toEqual([
    ["a", 0, 0.25, "hit"],
    ["b", 0.5, 0.5, null],
  ]);
});

it("starts at zero when spans carry the time of day", () => {
  const [bar] = layOutTrace({ total_s: 2, spans: [span("a", 1_800_000_000, 1_800_000_001)] });
  expect(bar).toMatchObject({ startS: 0, offset: 0, width: 0.5 });
});

it("draws nothing for a trace without spans", () => {
  expect(layOutTrace({ total_s: 0, spans: [] })).toEqual([]);
});
