import { BadgeCheck, CircleHelp, ShieldAlert, ShieldCheck } from "lucide-react";
import type { Provenance } from "@/api/types";
import { cx } from "@/components/ui/cx";
import { verdictOn } from "./provenance";

const LOOK = {
  ours: { Icon: BadgeCheck, hue: "text-accent" },
  valid: { Icon: ShieldCheck, hue: "text-accent" },
  changed: { Icon: ShieldAlert, hue: "text-danger" },
  unsigned: { Icon: CircleHelp, hue: "text-ink-soft" },
} as const;

/** What a file says of its own making, and whether that holds. */
export function ProvenanceView({ provenance }: { provenance: Provenance }) {
  const verdict = verdictOn(provenance);
  const { Icon, hue } = LOOK[verdict.kind];
  const facts: [string, string][] = [
    ["Signed by", provenance.issuer],
    ["Made with", provenance.claim_generator],
    ["Steps", provenance.actions.map((action) => actionInWords(action)).join("; ")],
    ["Made from", provenance.ingredients.map((one) => (one.title === "" ? one.mime_type : one.title)).join(", ")],
  ];
  return (
    <div className="space-y-3 text-sm">
      <div role="status" className="flex items-start gap-3">
        <Icon aria-hidden className={cx("mt-0.5 size-5 shrink-0", hue)} />
        <div>
          <p className="text-base font-semibold">{verdict.title}</p>
          <p className="text-ink-soft">{verdict.meaning}</p>
        </div>
      </div>
      <dl className="grid grid-cols-[6rem_1fr] gap-x-3 gap-y-1.5">
        {facts
          .filter(([, value]) => value !== "")
          .map(([name, value]) => (
            <div key={name} className="col-span-2 grid grid-cols-subgrid">
              <dt className="text-ink-faint">{name}</dt>
              <dd className="wrap-anywhere">{value}</dd>
            </div>
          ))}
      </dl>
      {provenance.problems.length > 0 && (
        <ul aria-label="Checks that failed" className="space-y-1 rounded-xl bg-danger-wash px-3 py-2">
          {provenance.problems.map((problem) => (
            <li key={problem.code} className="wrap-anywhere">
              <span className="font-mono text-xs">{problem.code}</span> {problem.explanation}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function actionInWords({ action, digital_source_type, software_agent }: Provenance["actions"][number]): string {
  const verb = action.replace(/^c2pa\./, "");
  const by = software_agent === "" ? "" : ` by ${software_agent}`;
  return digital_source_type === "trainedAlgorithmicMedia" ? `${verb}${by} (by a trained model)` : `${verb}${by}`;
}
