import { useState, type SyntheticEvent } from "react";
import { Button } from "@/components/ui/button";
import { ProblemNote } from "@/components/ui/problem-note";
import { TextField } from "@/components/ui/text-field";
import type { Problem } from "@/lib/problem";

export const MIN_PASSWORD_LENGTH = 10;

type SetupFormProps = {
  busy: boolean;
  problem: Problem | null;
  onSubmit: (password: string) => void;
};

export function SetupForm({ busy, problem, onSubmit }: SetupFormProps) {
  const [password, setPassword] = useState("");
  const [again, setAgain] = useState("");
  const [checked, setChecked] = useState(false);
  const short = password.length < MIN_PASSWORD_LENGTH;
  const different = password !== again;
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    setChecked(true);
    if (!short && !different) onSubmit(password);
  };
  return (
    <form onSubmit={submit} noValidate className="space-y-5">
      <p className="text-ink-soft">This link works once. Afterwards you sign in with this password.</p>
      <TextField
        label="New password"
        type="password"
        name="password"
        autoComplete="new-password"
        required
        hint={`At least ${MIN_PASSWORD_LENGTH} characters; a sentence is fine.`}
        error={checked && short ? `Use at least ${MIN_PASSWORD_LENGTH} characters.` : null}
        value={password}
        onChange={(event) => setPassword(event.target.value)}
      />
      <TextField
        label="The same again"
        type="password"
        name="password-again"
        autoComplete="new-password"
        required
        error={checked && different ? "The two differ." : null}
        value={again}
        onChange={(event) => setAgain(event.target.value)}
      />
      {problem !== null && <ProblemNote problem={problem} />}
      <Button type="submit" variant="primary" size="lg" className="w-full" disabled={busy}>
        {busy ? "Setting up…" : "Choose this password"}
      </Button>
    </form>
  );
}
