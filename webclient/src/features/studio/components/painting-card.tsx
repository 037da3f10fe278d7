import { MessageSquarePlus, MoreHorizontal, Paintbrush, RefreshCw, ScanSearch, Square, SquareDashedMousePointer, Trash2, Download } from "lucide-react";
import type { Asset } from "@/api/types";
import { Button, IconButton } from "@/components/ui/button";
import { Menu, MenuItem } from "@/components/ui/menu";
import { ProblemNote } from "@/components/ui/problem-note";
import { startAssetDrag } from "@/lib/asset-drag";
import type { Painting } from "../studio-slice";

type PaintingCardProps = {
  painting: Painting;
  onStop: () => void;
  onRemove: () => void;
  onUse: (asset: Asset) => void;
  onVary: (asset: Asset) => void;
  onEdit: (asset: Asset) => void;
  onSource: (asset: Asset) => void;
  onProvenance: (asset: Asset) => void;
};

/** One picture: how it looks while it is made, and what can be done with it then. */
export function PaintingCard({ painting, onStop, onRemove, ...actions }: PaintingCardProps) {
  const { recipe, preview } = painting;
  const asset = painting.status === "done" ? painting.asset : null;
  return (
    <li className="flex flex-col overflow-hidden rounded-2xl border border-line bg-surface">
      <div className="relative aspect-square bg-sunken">
        {asset === null && preview !== null && (
          <img src={preview} alt={`Not finished: ${recipe.prompt}`} className="size-full object-contain" />
        )}
        {asset !== null && (
          <a
            href={asset.content_url}
            target="_blank"
            rel="noreferrer"
            onDragStart={({ dataTransfer }) => startAssetDrag(dataTransfer, asset)}
            className="block size-full -outline-offset-2"
          >
            <img src={asset.content_url} alt={recipe.prompt} className="size-full object-contain" />
          </a>
        )}
        {painting.status === "painting" && (
          <p role="status" className="absolute inset-x-2 bottom-2 flex items-center gap-2 rounded-lg bg-surface/95 px-2.5 py-1.5 text-sm text-ink">
            <Paintbrush aria-hidden className="animate-breathe size-4 text-see" />
            {preview === null ? "Beginning" : "Drawing"}
          </p>
        )}
      </div>
      <div className="flex flex-1 flex-col gap-2 p-3">
        <p className="line-clamp-2 text-sm wrap-anywhere">{recipe.prompt}</p>
        <p className="text-xs text-ink-faint tabular-nums">
          Seed {recipe.seed}, {recipe.size.replace("x", " × ")}
        </p>
        {painting.status === "failed" && <ProblemNote problem={painting.problem} />}
        {painting.status === "stopped" && (
          <p role="status" className="text-sm text-ink-soft">
            You stopped this picture.
          </p>
        )}
        <div className="mt-auto flex items-center gap-1.5 pt-1">
          {painting.status === "painting" && (
            <Button size="sm" onClick={onStop}>
              <Square aria-hidden className="size-3 fill-current" /> Stop
            </Button>
          )}
          {asset !== null && <Actions asset={asset} {...actions} />}
          {painting.status !== "painting" && (
            <IconButton label={`Put away: ${recipe.prompt}`} size="iconSm" onClick={onRemove} className="ml-auto">
              <Trash2 aria-hidden className="size-4" />
            </IconButton>
          )}
        </div>
      </div>
    </li>
  );
}

type ActionsProps = { asset: Asset } & Pick<PaintingCardProps, "onUse" | "onVary" | "onEdit" | "onSource" | "onProvenance">;

function Actions({ asset, onUse, onVary, onEdit, onSource, onProvenance }: ActionsProps) {
  return (
    <>
      <Button size="sm" onClick={() => onUse(asset)}>
        <MessageSquarePlus aria-hidden className="size-4" /> Use in chat
      </Button>
      <Menu
        trigger={
          <IconButton label="More for this picture" size="iconSm">
            <MoreHorizontal aria-hidden className="size-4" />
          </IconButton>
        }
      >
        <MenuItem onSelect={() => onVary(asset)}>
          <RefreshCw aria-hidden className="size-4" /> Variations
        </MenuItem>
        <MenuItem onSelect={() => onEdit(asset)}>
          <SquareDashedMousePointer aria-hidden className="size-4" /> Edit a part
        </MenuItem>
        <MenuItem onSelect={() => onSource(asset)}>
          <Paintbrush aria-hidden className="size-4" /> Start from this
        </MenuItem>
        <MenuItem onSelect={() => onProvenance(asset)}>
          <ScanSearch aria-hidden className="size-4" /> How it was made
        </MenuItem>
        <MenuItem onSelect={() => save(asset)}>
          <Download aria-hidden className="size-4" /> Save
        </MenuItem>
      </Menu>
    </>
  );
}

function save(asset: Asset): void {
  const link = document.createElement("a");
  link.href = asset.content_url;
  link.download = asset.filename === "" ? `${asset.id}.${asset.mime_type.split("/")[1] ?? "png"}` : asset.filename;
  link.click();
}
