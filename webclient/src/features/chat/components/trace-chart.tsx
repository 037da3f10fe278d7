import type { Trace } from "@/api/types";
import { cx } from "@/components/ui/cx";
import { formatSeconds } from "@/lib/format";
import { layOutTrace, type Bar } from "../trace";
import { MemoryTag } from "./stage-line";
import { STAGE_LOOK, stageOfSpan } from "./stage-look";

/** Where the time went: a table whose middle column is drawn as a waterfall. */
export function TraceChart({ trace }: { trace: Trace }) {
  const bars = layOutTrace(trace);
  return (
    <div className="space-y-5">
      <dl className="grid grid-cols-2 gap-x-8 gap-y-4 sm:flex">
        <Figure name="Total" value={formatSeconds(trace.total_s)} />
        <Figure name="From memory" value={String(bars.filter((bar) => bar.cache === "hit").length)} />
        <Figure name="Tokens read" value={trace.usage.input_tokens.toLocaleString()} />
        <Figure name="Tokens written" value={trace.usage.output_tokens.toLocaleString()} />
      </dl>
      <table className="w-full table-fixed border-collapse text-sm">
        <caption className="sr-only">Steps of this answer with their times</caption>
        <thead>
          <tr className="border-b border-line text-left text-xs text-ink-faint">
            <th scope="col" className="w-[42%] py-2 pr-3 font-medium sm:w-52">Step</th>
            <th scope="col" className="py-2 pr-3 font-medium">
              <span className="flex justify-between">
                <span>0</span>
                <span>{formatSeconds(trace.total_s)}</span>
              </span>
            </th>
            <th scope="col" className="py-2 pr-3 w-24 text-right font-medium max-sm:hidden">Began at</th>
            <th scope="col" className="w-20 py-2 text-right font-medium">Took</th>
          </tr>
        </thead>
        <tbody>
          {bars.map((bar, index) => (
            <Row key={index} bar={bar} />
          ))}
        </tbody>
      </table>
      <p className="font-mono text-xs wrap-anywhere text-ink-faint">
        {trace.model} · {trace.response_id}
      </p>
    </div>
  );
}

function Row({ bar }: { bar: Bar }) {
  const { span, cache } = bar;
  const { Icon, text, bar: fill } = STAGE_LOOK[stageOfSpan(span)];
  return (
    <tr className="border-b border-line/60 align-middle last:border-0">
      <th scope="row" className="py-2 pr-3 text-left font-normal">
        <span className="flex items-start gap-2">
          <Icon aria-hidden className={cx("mt-0.5 size-4 shrink-0", text)} />
          <span className="min-w-0">
            <span className="block leading-snug font-medium wrap-anywhere">{span.name}</span>
            <span className="block text-xs wrap-anywhere text-ink-faint">{span.node}</span>
            {cache === "hit" && <MemoryTag note="from memory" />}
            {cache === "miss" && <span className="text-xs text-ink-faint">first time</span>}
          </span>
        </span>
      </th>
      <td className="py-2 pr-3">
        <div aria-hidden className="relative h-4 rounded bg-sunken">
          <span
            className={cx("absolute inset-y-0.5 min-w-[3px] rounded-sm", fill, cache === "hit" && "opacity-55")}
            style={{ left: `${Math.min(99, bar.offset * 100)}%`, width: `${bar.width * 100}%` }}
          />
        </div>
      </td>
      <td className="py-2 pr-3 text-right text-ink-soft tabular-nums max-sm:hidden">{formatSeconds(bar.startS)}</td>
      <td className="py-2 text-right tabular-nums">{formatSeconds(bar.durationS)}</td>
    </tr>
  );
}

function Figure({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt className="text-xs text-ink-faint">{name}</dt>
      <dd className="text-2xl font-semibold tabular-nums [font-stretch:85%]">{value}</dd>
    </div>
  );
}
