import { Eraser, RectangleHorizontal } from "lucide-react";
import { useRef, useState } from "react";
import type { Asset } from "@/api/types";
import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import { TextField } from "@/components/ui/text-field";
import { maskOf, maskRectangle, type Rectangle } from "../paint/mask";

type EditDialogProps = {
  asset: Asset;
  prompt: string;
  onEdit: (prompt: string, mask: Blob) => void;
  onClose: () => void;
};

const SIDES: readonly { name: keyof Rectangle; label: string }[] = [
  { name: "left", label: "From the left, %" },
  { name: "top", label: "From the top, %" },
  { name: "width", label: "Width, %" },
  { name: "height", label: "Height, %" },
];
const MARK = "rgb(12 95 82 / 0.55)";

/** Marks the part of a picture that may change: with a brush, or as a rectangle by numbers. */
export function EditDialog({ asset, prompt: before, onEdit, onClose }: EditDialogProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [prompt, setPrompt] = useState(before);
  const [brushPct, setBrushPct] = useState(12);
  const [rectangle, setRectangle] = useState<Rectangle>({ left: 25, top: 25, width: 50, height: 50 });
  const [marked, setMarked] = useState(false);
  const widthPx = asset.width_px ?? 512;
  const heightPx = asset.height_px ?? 512;

  const draw = (act: (context: CanvasRenderingContext2D) => void) => {
    const context = canvas.current?.getContext("2d");
    if (context == null) return;
    context.fillStyle = MARK;
    act(context);
    setMarked(true);
  };

  const dab = (clientX: number, clientY: number) => {
    const box = canvas.current?.getBoundingClientRect();
    if (box === undefined) return;
    const x = ((clientX - box.left) / box.width) * widthPx;
    const y = ((clientY - box.top) / box.height) * heightPx;
    draw((context) => {
      context.beginPath();
      context.arc(x, y, (brushPct / 200) * widthPx, 0, 2 * Math.PI);
      context.fill();
    });
  };

  const erase = () => {
    canvas.current?.getContext("2d")?.clearRect(0, 0, widthPx, heightPx);
    setMarked(false);
  };

  const submit = async () => {
    if (canvas.current !== null && marked && prompt.trim() !== "") {
      onEdit(prompt.trim(), await maskOf(canvas.current));
    }
  };

  return (
    <Dialog open onOpenChange={onClose} width="md" title="Edit a part" description="Mark what may change, with the brush or as a rectangle, and say what should be there.">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
        className="space-y-4"
      >
        <div className="relative mx-auto w-full max-w-sm overflow-hidden rounded-xl border border-line bg-sunken" style={{ aspectRatio: `${widthPx} / ${heightPx}` }}>
          <img src={asset.content_url} alt={before} className="size-full" />
          <canvas
            ref={canvas}
            width={widthPx}
            height={heightPx}
            aria-hidden
            onPointerDown={(event) => {
              event.currentTarget.setPointerCapture(event.pointerId);
              dab(event.clientX, event.clientY);
            }}
            onPointerMove={(event) => event.buttons > 0 && dab(event.clientX, event.clientY)}
            className="absolute inset-0 size-full cursor-crosshair touch-none"
          />
        </div>
        <div className="flex flex-wrap items-center gap-3">
          <label className="flex flex-1 items-center gap-3 text-sm font-medium">
            Brush
            <input type="range" min={3} max={40} value={brushPct} onChange={(event) => setBrushPct(Number(event.target.value))} className="min-w-24 flex-1 accent-(--accent)" />
          </label>
          <Button size="sm" onClick={erase} disabled={!marked}>
            <Eraser aria-hidden className="size-4" /> Clear
          </Button>
        </div>
        <fieldset>
          <legend className="mb-2 text-sm font-medium">A rectangle by numbers</legend>
          <div className="grid grid-cols-2 gap-3 sm:grid-cols-4">
            {SIDES.map(({ name, label }) => (
              <TextField
                key={name}
                label={label}
                type="number"
                min={0}
                max={100}
                value={rectangle[name]}
                onChange={(event) => setRectangle({ ...rectangle, [name]: Number(event.target.value) })}
              />
            ))}
          </div>
          <Button
            size="sm"
            className="mt-3"
            onClick={() => draw((context) => context.fillRect(...maskRectangle(rectangle, widthPx, heightPx)))}
          >
            <RectangleHorizontal aria-hidden className="size-4" /> Mark this rectangle
          </Button>
          <p role="status" className="sr-only">
            {marked ? "A part is marked" : "Nothing is marked"}
          </p>
        </fieldset>
        <TextField label="What should be there" required value={prompt} onChange={(event) => setPrompt(event.target.value)} />
        <Button type="submit" variant="primary" disabled={!marked || prompt.trim() === ""}>
          Draw the marked part anew
        </Button>
      </form>
    </Dialog>
  );
}
