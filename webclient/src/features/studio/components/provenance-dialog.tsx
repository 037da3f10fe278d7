import type { Asset } from "@/api/types";
import { ProvenanceView } from "@/components/media/provenance-view";
import { Dialog } from "@/components/ui/dialog";
import { ProblemNote } from "@/components/ui/problem-note";
import { Spinner } from "@/components/ui/spinner";
import { asProblem } from "@/lib/problem";
import { useGetLineageQuery, useGetProvenanceQuery } from "../api/studio-api";

type ProvenanceDialogProps = { asset: Asset; onClose: () => void };

/** How one of our own media came to be: its signed statement, and what the server remembers. */
export function ProvenanceDialog({ asset, onClose }: ProvenanceDialogProps) {
  const provenance = useGetProvenanceQuery(asset.id);
  const lineage = useGetLineageQuery(asset.id);
  const error = provenance.error ?? lineage.error;
  return (
    <Dialog open onOpenChange={onClose} width="md" title="How it was made" description="The statement inside the file, and where it comes from.">
      <div className="space-y-6">
        {error !== undefined && <ProblemNote problem={asProblem(error)} />}
        {provenance.data === undefined ? (
          error === undefined && <Spinner label="Reading the statement" />
        ) : (
          <ProvenanceView provenance={provenance.data} />
        )}
        {lineage.data !== undefined && (
          <>
            {lineage.data.making !== null && (
              <p className="text-sm text-ink-soft">Model: {lineage.data.making.model}</p>
            )}
            <Relatives title="Made from" assets={lineage.data.parents} />
            <Relatives title="Made of it" assets={lineage.data.children} />
          </>
        )}
      </div>
    </Dialog>
  );
}

function Relatives({ title, assets }: { title: string; assets: readonly Asset[] }) {
  if (assets.length === 0) return null;
  return (
    <section>
      <h3 className="mb-2 text-sm font-semibold">{title}</h3>
      <ul className="flex flex-wrap gap-2">
        {assets.map((asset) => (
          <li key={asset.id}>
            <a href={asset.content_url} target="_blank" rel="noreferrer" className="block rounded-lg text-sm underline">
              {asset.kind === "image" ? (
                <img src={asset.content_url} alt={asset.filename === "" ? "A picture made here" : asset.filename} className="size-20 rounded-lg bg-sunken object-cover" />
              ) : (
                asset.filename || asset.kind
              )}
            </a>
          </li>
        ))}
      </ul>
    </section>
  );
}
