import { useState } from "react";
import type { ApiKey } from "@/api/types";
import { Button } from "@/components/ui/button";
import { ConfirmDialog } from "@/components/ui/confirm-dialog";
import { formatDate } from "@/lib/format";

type KeyListProps = { keys: ApiKey[]; onRevoke: (id: string) => void };

export function KeyList({ keys, onRevoke }: KeyListProps) {
  const [revoking, setRevoking] = useState<ApiKey | null>(null);
  if (keys.length === 0) {
    return (
      <p className="rounded-2xl border border-dashed border-line px-5 py-8 text-center text-ink-soft">
        No keys yet. Create one to use Polymodal from your own code.
      </p>
    );
  }
  return (
    <>
      <ul className="divide-y divide-line rounded-2xl border border-line bg-surface">
        {keys.map((key) => (
          <li key={key.id} className="grid items-center gap-x-6 gap-y-2 px-5 py-4 sm:grid-cols-[1fr_8rem_11rem_auto]">
            <div className="min-w-0">
              <p className="truncate font-medium">{key.name}</p>
              <p className="font-mono text-xs text-ink-faint">{key.prefix}…</p>
            </div>
            <p className="text-sm text-ink-soft">{key.scopes.join(", ")}</p>
            <p className="text-sm text-ink-soft">
              Created {formatDate(key.created_at)}
              <br />
              {key.last_used_at === null ? "Never used" : `Last used ${formatDate(key.last_used_at)}`}
              {key.expires_at !== null && `, expires ${formatDate(key.expires_at)}`}
            </p>
            <Button size="sm" className="justify-self-start" onClick={() => setRevoking(key)}>
              Revoke<span className="sr-only"> {key.name}</span>
            </Button>
          </li>
        ))}
      </ul>
      <ConfirmDialog
        open={revoking !== null}
        onOpenChange={(open) => {
          if (!open) setRevoking(null);
        }}
        title={`Revoke “${revoking?.name ?? ""}”?`}
        description="Programs that use this key stop working at once. This cannot be undone."
        action="Revoke key"
        onConfirm={() => {
          if (revoking !== null) onRevoke(revoking.id);
        }}
      />
    </>
  );
}
