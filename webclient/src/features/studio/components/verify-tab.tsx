import { FileSearch } from "lucide-react";
import { useRef, useState } from "react";
import { ProvenanceView } from "@/components/media/provenance-view";
import { Button } from "@/components/ui/button";
import { cx } from "@/components/ui/cx";
import { ProblemNote } from "@/components/ui/problem-note";
import { Spinner } from "@/components/ui/spinner";
import { asProblem } from "@/lib/problem";
import { useDropZone } from "@/lib/use-drop-zone";
import { useVerifyFileMutation } from "../api/studio-api";

/** Reads the statement inside any file. */
export function VerifyTab() {
  const picker = useRef<HTMLInputElement>(null);
  const [verify, { data, error, isLoading }] = useVerifyFileMutation();
  const [name, setName] = useState("");
  const check = (file: File | undefined) => {
    if (file === undefined) return;
    setName(file.name);
    void verify(file);
  };
  const drop = useDropZone(
    (files) => check(files[0]),
    // What was made here has a panel of its own.
    () => undefined,
  );
  return (
    <div className="max-w-xl space-y-6">
      <div
        {...drop.handlers}
        className={cx("rounded-2xl border border-dashed px-5 py-8 text-center", drop.over ? "border-accent bg-accent-wash" : "border-line-strong")}
      >
        <p className="mb-4 text-ink-soft">
          Was it made by a model, by whom, and changed since? A file can say so, signed. It is read and not kept.
        </p>
        <input
          ref={picker}
          type="file"
          hidden
          aria-label="File to check"
          onChange={({ target }) => {
            check(target.files?.[0]);
            target.value = "";
          }}
        />
        <Button onClick={() => picker.current?.click()} disabled={isLoading}>
          <FileSearch aria-hidden className="size-4" /> Choose a file
        </Button>
        <p className="mt-2 text-sm text-ink-faint">or drop one here</p>
      </div>
      {isLoading && <Spinner label={`Reading ${name}`} />}
      {error !== undefined && !isLoading && <ProblemNote problem={asProblem(error)} />}
      {data !== undefined && (
        <section aria-label={name} className="space-y-3">
          <h2 className="truncate text-lg font-semibold">{name}</h2>
          <ProvenanceView provenance={data} />
        </section>
      )}
    </div>
  );
}
