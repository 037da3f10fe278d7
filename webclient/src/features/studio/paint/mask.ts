/** Per cent of the picture. */
export type Rectangle = { left: number; top: number; width: number; height: number };

/** A rectangle in pixels, as `[x, y, width, height]`, cut to the picture. */
export function maskRectangle(rectangle: Rectangle, widthPx: number, heightPx: number): [number, number, number, number] {
  const x = (rectangle.left / 100) * widthPx;
  const y = (rectangle.top / 100) * heightPx;
  return [
    x,
    y,
    Math.min((rectangle.width / 100) * widthPx, widthPx - x),
    Math.min((rectangle.height / 100) * heightPx, heightPx - y),
  ];
}

/** OpenAI's mask: opaque, and transparent where something was marked on `marks`. */
export async function maskOf(marks: HTMLCanvasElement): Promise<Blob> {
  const canvas = document.createElement("canvas");
  canvas.width = marks.width;
  canvas.height = marks.height;
  const context = canvas.getContext("2d");
  if (context !== null) {
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.globalCompositeOperation = "destination-out";
    // Marks are drawn half-transparent; four times over leaves nothing of what lies below.
    for (let i = 0; i < 4; i += 1) context.drawImage(marks, 0, 0);
  }
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob === null ? reject(new Error("no mask")) : resolve(blob)), "image/png"),
  );
}
