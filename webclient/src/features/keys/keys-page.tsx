import { useState } from "react";
import type { NewApiKey } from "@/api/types";
import { CodeBlock } from "@/components/markdown/code-block";
import { ProblemNote } from "@/components/ui/problem-note";
import { Spinner } from "@/components/ui/spinner";
import { asProblem } from "@/lib/problem";
import { useTitle } from "@/lib/use-title";
import { useCreateKeyMutation, useGetKeysQuery, useRevokeKeyMutation, type KeyDraft } from "./api/keys-api";
import { KeyForm } from "./components/key-form";
import { KeyList } from "./components/key-list";
import { NewKeyNote } from "./components/new-key-note";
import { sdkSnippet } from "./sdk-snippet";

export function KeysPage() {
  useTitle("API keys");
  const keys = useGetKeysQuery();
  const [createKey, creation] = useCreateKeyMutation();
  const [revokeKey, revocation] = useRevokeKeyMutation();
  const [created, setCreated] = useState<NewApiKey | null>(null);
  const create = async (draft: KeyDraft) => {
    const result = await createKey(draft);
    if (result.data !== undefined) setCreated(result.data);
  };
  const error = keys.error ?? creation.error ?? revocation.error;
  return (
    <div className="h-full overflow-y-auto">
      <div className="mx-auto max-w-3xl space-y-8 px-4 py-8 sm:px-8 sm:py-12">
        <header>
          <h1 className="text-3xl font-semibold">API keys</h1>
          <p className="mt-2 max-w-prose text-ink-soft">
            Polymodal speaks the OpenAI API. Point the stock SDK at this server and give it a key.
          </p>
        </header>
        {error !== undefined && <ProblemNote problem={asProblem(error)} />}
        {created !== null && <NewKeyNote created={created} onDone={() => setCreated(null)} />}
        <KeyForm busy={creation.isLoading} onSubmit={(draft) => void create(draft)} />
        <section className="space-y-3">
          <h2 className="text-lg font-semibold">Your keys</h2>
          {keys.data === undefined ? (
            keys.isLoading && <Spinner label="Fetching your keys" />
          ) : (
            <KeyList keys={keys.data} onRevoke={(id) => void revokeKey(id)} />
          )}
        </section>
        <section className="space-y-3">
          <h2 className="text-lg font-semibold">In your code</h2>
          <CodeBlock code={sdkSnippet(window.location.origin, created?.secret ?? "pm-…")} language="python" />
        </section>
      </div>
    </div>
  );
}
