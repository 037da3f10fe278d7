import { useState } from "react";
import { useDispatch, useSelector } from "react-redux";
import type { Asset } from "@/api/types";
import { randomSeed, usePainter } from "../paint/painter";
import { paintingRemoved, type Painting, type Recipe, type StudioRoot } from "../studio-slice";
import { EditDialog } from "./edit-dialog";
import { PaintingCard } from "./painting-card";
import { PictureForm } from "./picture-form";
import { ProvenanceDialog } from "./provenance-dialog";

const VARIATIONS = 2;

type Editing = { asset: Asset; recipe: Recipe };

export function PicturesTab({ onUse }: { onUse: (asset: Asset) => void }) {
  const dispatch = useDispatch();
  const painter = usePainter();
  const paintings = useSelector((root: StudioRoot) => root.studio.paintings);
  const [source, setSource] = useState<Asset | null>(null);
  const [editing, setEditing] = useState<Editing | null>(null);
  const [inspected, setInspected] = useState<Asset | null>(null);

  const vary = ({ recipe }: Painting, asset: Asset) => {
    for (let i = 0; i < VARIATIONS; i += 1) painter.paint({ ...recipe, seed: randomSeed(), source: asset });
  };

  return (
    <div className="grid gap-8 lg:grid-cols-[20rem_1fr]">
      <PictureForm source={source} onSource={setSource} onPaint={(recipes) => recipes.forEach((recipe) => painter.paint(recipe))} />
      <section aria-label="Results">
        {paintings.length === 0 ? (
          <p className="rounded-2xl border border-dashed border-line-strong px-6 py-12 text-center text-ink-soft">
            Pictures appear here, step by step, while they are drawn.
          </p>
        ) : (
          <ul className="grid grid-cols-[repeat(auto-fill,minmax(13.5rem,1fr))] gap-4">
            {paintings.map((painting) => (
              <PaintingCard
                key={painting.id}
                painting={painting}
                onStop={() => painter.stop(painting.id)}
                onRemove={() => dispatch(paintingRemoved(painting.id))}
                onUse={onUse}
                onVary={(asset) => vary(painting, asset)}
                onEdit={(asset) => setEditing({ asset, recipe: painting.recipe })}
                onSource={setSource}
                onProvenance={setInspected}
              />
            ))}
          </ul>
        )}
      </section>
      {editing !== null && (
        <EditDialog
          asset={editing.asset}
          prompt={editing.recipe.prompt}
          onClose={() => setEditing(null)}
          onEdit={(prompt, mask) => {
            painter.paint({ ...editing.recipe, prompt, seed: randomSeed(), source: editing.asset }, mask);
            setEditing(null);
          }}
        />
      )}
      {inspected !== null && <ProvenanceDialog asset={inspected} onClose={() => setInspected(null)} />}
    </div>
  );
}
