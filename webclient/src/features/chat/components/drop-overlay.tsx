import { ImageDown } from "lucide-react";

/** Shown while files are held over the page. */
export function DropOverlay() {
  return (
    <div aria-hidden className="animate-fade pointer-events-none absolute inset-3 z-30 flex items-center justify-center rounded-3xl border-2 border-dashed border-accent bg-accent-wash/90">
      <p className="flex items-center gap-3 text-2xl font-semibold text-accent">
        <ImageDown className="size-8" /> Drop it here
      </p>
    </div>
  );
}
