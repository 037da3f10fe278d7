import { useId, useState, type SyntheticEvent } from "react";
import type { ApiKeyScope } from "@/api/types";
import { Button } from "@/components/ui/button";
import { TextField } from "@/components/ui/text-field";
import type { KeyDraft } from "../api/keys-api";

const SCOPES: readonly { scope: ApiKeyScope; label: string; note: string }[] = [
  { scope: "generate", label: "Generate", note: "ask for answers" },
  { scope: "read", label: "Read", note: "read conversations and answers" },
  { scope: "assets", label: "Files", note: "upload and read pictures and recordings" },
];

const LIFETIMES = [
  { days: null, label: "Never" },
  { days: 30, label: "In 30 days" },
  { days: 90, label: "In 90 days" },
  { days: 365, label: "In a year" },
] as const;

type KeyFormProps = { busy: boolean; onSubmit: (draft: KeyDraft) => void };

export function KeyForm({ busy, onSubmit }: KeyFormProps) {
  const lifetimeId = useId();
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<ApiKeyScope[]>(["generate", "read", "assets"]);
  const [days, setDays] = useState<number | null>(null);
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    onSubmit({ name: name.trim(), scopes, expires_in_days: days });
    setName("");
  };
  const toggle = (scope: ApiKeyScope) =>
    setScopes(scopes.includes(scope) ? scopes.filter((one) => one !== scope) : [...scopes, scope]);
  return (
    <form onSubmit={submit} className="rounded-2xl border border-line bg-surface p-5">
      <div className="grid gap-5 sm:grid-cols-[1fr_auto]">
        <TextField
          label="Name of the new key"
          placeholder="laptop, nightly job…"
          required
          maxLength={80}
          value={name}
          onChange={(event) => setName(event.target.value)}
        />
        <div>
          <label htmlFor={lifetimeId} className="mb-1.5 block text-sm font-medium">
            Expires
          </label>
          <select
            id={lifetimeId}
            value={days ?? ""}
            onChange={(event) => setDays(event.target.value === "" ? null : Number(event.target.value))}
            className="h-11 w-full rounded-xl border border-line-strong bg-surface px-3 text-base"
          >
            {LIFETIMES.map((lifetime) => (
              <option key={lifetime.label} value={lifetime.days ?? ""}>
                {lifetime.label}
              </option>
            ))}
          </select>
        </div>
      </div>
      <fieldset className="mt-5">
        <legend className="mb-2 text-sm font-medium">It may</legend>
        <div className="flex flex-col gap-2.5 sm:flex-row sm:flex-wrap sm:gap-x-6">
          {SCOPES.map(({ scope, label, note }) => (
            <label key={scope} className="flex items-center gap-2.5 text-sm">
              <input
                type="checkbox"
                checked={scopes.includes(scope)}
                onChange={() => toggle(scope)}
                className="size-4.5 accent-accent"
              />
              <span>
                {label} <span className="text-ink-faint">({note})</span>
              </span>
            </label>
          ))}
        </div>
      </fieldset>
      <Button type="submit" variant="primary" className="mt-6" disabled={busy || scopes.length === 0 || name.trim() === ""}>
        {busy ? "Creating…" : "Create key"}
      </Button>
    </form>
  );
}
