import { ImageUp, X } from "lucide-react";
import { useRef, useState } from "react";
import { useStore } from "react-redux";
import type { Asset } from "@/api/types";
import { Button, IconButton } from "@/components/ui/button";
import { cx } from "@/components/ui/cx";
import type { SessionRoot } from "@/lib/base-api";
import { adviceFor, type Problem } from "@/lib/problem";
import { selectCsrfToken } from "@/lib/session-slice";
import { upload } from "@/lib/upload";
import { useDropZone } from "@/lib/use-drop-zone";

type SourceFieldProps = { source: Asset | null; onChange: (source: Asset | null) => void };

/** The picture to start from: a file, or one made here, by button or by drag. */
export function SourceField({ source, onChange }: SourceFieldProps) {
  const store = useStore<SessionRoot>();
  const picker = useRef<HTMLInputElement>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [uploading, setUploading] = useState(false);
  const take = (file: File | undefined) => {
    if (file === undefined) return;
    setProblem(null);
    setUploading(true);
    upload(file, selectCsrfToken(store.getState()), {
      onProgress: () => undefined,
      onDone: (asset) => {
        setUploading(false);
        onChange(asset);
      },
      onFailed: (refusal) => {
        setUploading(false);
        setProblem(refusal);
      },
    });
  };

  const drop = useDropZone(
    (files) => take(files[0]),
    (asset) => {
      if (asset.kind === "image") onChange(asset);
    },
  );

  return (
    <div
      {...drop.handlers}
      className={cx("rounded-xl border border-dashed p-3", drop.over ? "border-accent bg-accent-wash" : "border-line-strong")}
    >
      <input
        ref={picker}
        type="file"
        accept="image/*"
        hidden
        aria-label="Picture to start from"
        onChange={({ target }) => {
          take(target.files?.[0]);
          target.value = "";
        }}
      />
      {source === null ? (
        <div className="flex flex-wrap items-center gap-x-3 gap-y-2">
          <Button size="sm" onClick={() => picker.current?.click()} disabled={uploading}>
            <ImageUp aria-hidden className="size-4" /> {uploading ? "Uploading…" : "Start from a picture"}
          </Button>
          <p className="text-sm text-ink-soft">Optional. Or drop one here.</p>
        </div>
      ) : (
        <div className="flex items-center gap-3">
          <img src={source.content_url} alt="" className="size-14 rounded-lg bg-sunken object-cover" />
          <p className="min-w-0 flex-1 truncate text-sm">
            <span className="sr-only">Starts from </span>
            {source.filename === "" ? "A picture made here" : source.filename}
          </p>
          <IconButton label="Start from nothing" size="iconSm" onClick={() => onChange(null)}>
            <X aria-hidden className="size-4" />
          </IconButton>
        </div>
      )}
      {problem !== null && (
        <p role="alert" className="mt-2 text-sm text-danger">
          {adviceFor(problem).title}. {problem.message}
        </p>
      )}
    </div>
  );
}
