import type { Asset } from "@/api/types";

/** The type under which this page's own media are dragged; the value is the asset as JSON. */
export const ASSET_TYPE = "application/x-polymodal-asset";

export function startAssetDrag(transfer: DataTransfer, asset: Asset): void {
  transfer.setData(ASSET_TYPE, JSON.stringify(asset));
  transfer.setData("text/uri-list", new URL(asset.content_url, window.location.href).href);
  transfer.effectAllowed = "copy";
}

/** The medium that was dropped; null when something else was. */
export function droppedAsset(transfer: DataTransfer): Asset | null {
  const text = transfer.getData(ASSET_TYPE);
  return text === "" ? null : (JSON.parse(text) as Asset);
}
