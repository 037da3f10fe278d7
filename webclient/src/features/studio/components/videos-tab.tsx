import { Clapperboard } from "lucide-react";
import { useId, useState, type ReactNode } from "react";
import type { Asset } from "@/api/types";
import { Button } from "@/components/ui/button";
import { ProblemNote } from "@/components/ui/problem-note";
import { SelectField } from "@/components/ui/select-field";
import { asProblem } from "@/lib/problem";
import { useCreateVideoMutation } from "../api/studio-api";
import { SourceField } from "./source-field";

const SECONDS = ["2", "4", "8", "12"] as const;
const SIZES = ["256x256", "512x512", "720x1280", "1280x720"] as const;

/** Clips from words or from a picture; making one is a job that outlives this page. */
export function VideosTab({ jobs }: { jobs: ReactNode }) {
  const promptId = useId();
  const [create, { error, isLoading }] = useCreateVideoMutation();
  const [prompt, setPrompt] = useState("");
  const [seconds, setSeconds] = useState<(typeof SECONDS)[number]>("2");
  const [size, setSize] = useState<(typeof SIZES)[number]>("512x512");
  const [source, setSource] = useState<Asset | null>(null);

  const submit = async () => {
    const form = new FormData();
    form.append("prompt", prompt.trim());
    form.append("seconds", seconds);
    form.append("size", size);
    if (source !== null) {
      const picture = await fetch(source.content_url);
      form.append("input_reference", await picture.blob(), "source.png");
    }
    await create(form);
  };

  return (
    <div className="grid gap-8 lg:grid-cols-[20rem_1fr]">
      <form
        aria-label="A new clip"
        onSubmit={(event) => {
          event.preventDefault();
          if (prompt.trim() !== "") void submit();
        }}
        className="space-y-4"
      >
        <div>
          <label htmlFor={promptId} className="mb-1.5 block text-sm font-medium">
            What to show
          </label>
          <textarea
            id={promptId}
            rows={2}
            required
            value={prompt}
            placeholder="a red apple"
            onChange={(event) => setPrompt(event.target.value)}
            className="field-sizing-content max-h-48 min-h-16 w-full resize-none rounded-xl border border-line-strong bg-surface px-3.5 py-2.5 text-base placeholder:text-ink-faint"
          />
        </div>
        <SourceField source={source} onChange={setSource} />
        <div className="grid grid-cols-2 gap-3">
          <SelectField label="Seconds" value={seconds} onChange={setSeconds} options={SECONDS.map((value) => ({ value, label: value }))} />
          <SelectField label="Size" value={size} onChange={setSize} options={SIZES.map((value) => ({ value, label: value.replace("x", " × ") }))} />
        </div>
        <Button type="submit" variant="primary" disabled={isLoading || prompt.trim() === ""}>
          <Clapperboard aria-hidden className="size-4" /> Make a clip
        </Button>
        {error !== undefined && <ProblemNote problem={asProblem(error)} />}
      </form>
      <section aria-label="Clips">{jobs}</section>
    </div>
  );
}
