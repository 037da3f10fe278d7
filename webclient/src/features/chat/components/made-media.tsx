import { MessageSquarePlus } from "lucide-react";
import { MediaPlayer } from "@/components/media/media-player";
import { Button } from "@/components/ui/button";
import { startAssetDrag } from "@/lib/asset-drag";
import { useGetAssetQuery } from "@/lib/assets-api";
import { useAdopt } from "../adopt-context";
import type { Preview, MadeMedium } from "../made";

const NO_TIMES: [] = [];

/** Pictures and speech that came with an answer; each can go into the next message. */
export function MadeMedia({ made }: { made: readonly MadeMedium[] }) {
  if (made.length === 0) return null;
  return (
    <ul aria-label="Made for you" className="flex flex-wrap gap-4">
      {made.map((one) => (
        <Made key={one.itemId} made={one} />
      ))}
    </ul>
  );
}

/** Pictures that are still being drawn. Their progress is told in words beside them. */
export function Previews({ previews }: { previews: readonly Preview[] }) {
  if (previews.length === 0) return null;
  return (
    <ul aria-label="Being drawn" className="flex flex-wrap gap-4">
      {previews.map(({ itemId, url }) => (
        <li key={itemId} className="w-full max-w-xs">
          <img src={url} alt="Unfinished, as it looks now" className="w-full rounded-2xl border border-line bg-sunken" />
        </li>
      ))}
    </ul>
  );
}

function Made({ made: { kind, assetId, words } }: { made: MadeMedium }) {
  const adopt = useAdopt();
  const { data: asset } = useGetAssetQuery(assetId);
  const url = `/api/v1/assets/${assetId}/content`;
  return (
    <li className="w-full max-w-xs space-y-1.5">
      {kind === "image" ? (
        <a
          href={url}
          target="_blank"
          rel="noreferrer"
          onDragStart={({ dataTransfer }) => asset !== undefined && startAssetDrag(dataTransfer, asset)}
          className="block rounded-2xl"
        >
          <img src={url} alt={words === "" ? "A picture made here" : words} className="w-full rounded-2xl border border-line bg-sunken" />
        </a>
      ) : (
        <figure className="space-y-1">
          <MediaPlayer kind="audio" url={url} label="The answer, spoken" segments={NO_TIMES} language="" moments={NO_TIMES} />
          {words !== "" && <figcaption className="text-sm text-ink-soft italic">“{words}”</figcaption>}
        </figure>
      )}
      {asset !== undefined && (
        <Button size="sm" variant="ghost" onClick={() => adopt(asset)} className="-ml-2.5">
          <MessageSquarePlus aria-hidden className="size-4" /> Use in my message
        </Button>
      )}
    </li>
  );
}
