import { Paintbrush } from "lucide-react";
import { useId, useState } from "react";
import type { Asset } from "@/api/types";
import { Button } from "@/components/ui/button";
import { SelectField } from "@/components/ui/select-field";
import { TextField } from "@/components/ui/text-field";
import { randomSeed } from "../paint/painter";
import type { Recipe } from "../studio-slice";
import { SourceField } from "./source-field";

const SIZES = ["256x256", "512x512", "1024x1024"] as const;
type Size = (typeof SIZES)[number];
const COUNTS = ["1", "2", "3", "4"] as const;
const MAX_SEED = 2_147_483_647;

type PictureFormProps = {
  source: Asset | null;
  onSource: (source: Asset | null) => void;
  /** One recipe for each picture that is wanted. */
  onPaint: (recipes: Recipe[]) => void;
};

export function PictureForm({ source, onSource, onPaint }: PictureFormProps) {
  const promptId = useId();
  const [prompt, setPrompt] = useState("");
  const [size, setSize] = useState<Size>("512x512");
  const [count, setCount] = useState<(typeof COUNTS)[number]>("1");
  const [seed, setSeed] = useState("");

  const submit = () => {
    if (prompt.trim() === "") return;
    const first = seed === "" ? randomSeed() : Number(seed);
    onPaint(
      Array.from({ length: Number(count) }, (_, index) => ({
        prompt: prompt.trim(),
        size,
        // The first has the seed that was asked for; the others follow from it.
        seed: (first + index) % (MAX_SEED + 1),
        source,
      })),
    );
  };

  return (
    <form
      aria-label="A new picture"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
      className="space-y-4"
    >
      <div>
        <label htmlFor={promptId} className="mb-1.5 block text-sm font-medium">
          What to draw
        </label>
        <textarea
          id={promptId}
          rows={2}
          required
          value={prompt}
          placeholder="a red apple"
          onChange={(event) => setPrompt(event.target.value)}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
            event.preventDefault();
            submit();
          }}
          className="field-sizing-content max-h-48 min-h-16 w-full resize-none rounded-xl border border-line-strong bg-surface px-3.5 py-2.5 text-base placeholder:text-ink-faint"
        />
      </div>
      <SourceField source={source} onChange={onSource} />
      <div className="grid grid-cols-2 gap-3">
        <SelectField label="Size" value={size} onChange={setSize} options={SIZES.map((value) => ({ value, label: value.replace("x", " × ") }))} />
        <SelectField label="How many" value={count} onChange={setCount} options={COUNTS.map((value) => ({ value, label: value }))} />
        <div className="col-span-2">
          <TextField
            label="Seed"
            type="number"
            min={0}
            max={MAX_SEED}
            step={1}
            value={seed}
            placeholder="any"
            onChange={(event) => setSeed(event.target.value)}
          />
        </div>
      </div>
      <Button type="submit" variant="primary" disabled={prompt.trim() === ""}>
        <Paintbrush aria-hidden className="size-4" /> Draw
      </Button>
    </form>
  );
}
