import { useState, type SyntheticEvent } from "react";
import { Button } from "@/components/ui/button";
import { ProblemNote } from "@/components/ui/problem-note";
import { TextField } from "@/components/ui/text-field";
import type { Problem } from "@/lib/problem";

type SignInFormProps = {
  busy: boolean;
  problem: Problem | null;
  onSubmit: (email: string, password: string) => void;
};

export function SignInForm({ busy, problem, onSubmit }: SignInFormProps) {
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    onSubmit(email, password);
  };
  const refused = problem?.status === 401;
  return (
    <form onSubmit={submit} className="space-y-5">
      <TextField
        label="Email"
        type="email"
        name="email"
        autoComplete="username"
        required
        value={email}
        onChange={(event) => setEmail(event.target.value)}
      />
      <TextField
        label="Password"
        type="password"
        name="password"
        autoComplete="current-password"
        required
        value={password}
        onChange={(event) => setPassword(event.target.value)}
      />
      {refused && (
        <p role="alert" className="text-sm text-danger">
          Email and password do not belong together. Check both and try again.
        </p>
      )}
      {problem !== null && !refused && <ProblemNote problem={problem} />}
      <Button type="submit" variant="primary" size="lg" className="w-full" disabled={busy}>
        {busy ? "Signing in…" : "Sign in"}
      </Button>
      <p className="text-sm text-ink-soft">
        First time here? The link printed when the server started lets you choose a password.
      </p>
    </form>
  );
}
