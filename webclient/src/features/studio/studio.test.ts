import { describe, expect, it } from "vitest";
import type { Asset } from "@/api/types";
import { parseImageEvent } from "./paint/image-events";
import { maskRectangle } from "./paint/mask";
import {
  paintingDone,
  paintingFailed,
  paintingPreviewed,
  paintingRemoved,
  paintingStarted,
  paintingStopped,
  studioSlice,
} from "./studio-slice";
import { problemOf } from "@/lib/problem";

const told = (body: object) => ({ type: "message", id: "", data: JSON.stringify(body) });
const recipe = { prompt: "a red apple", size: "512x512", seed: 7, source: null };
const asset: Asset = {
  id: "asset_1",
  kind: "image",
  mime_type: "image/png",
  filename: "",
  bytes: 1,
  width_px: 512,
  height_px: 512,
  duration_s: null,
  content_url: "/api/v1/assets/asset_1/content",
  created_at: "2026-01-01T00:00:00Z",
};
const after = (...actions: Parameters<typeof studioSlice.reducer>[1][]) =>
  actions.reduce(studioSlice.reducer, studioSlice.getInitialState()).paintings;

describe("a picture's stream", () => {
  it("tells how it looks, and at last which asset it is", () => {
    expect(
      parseImageEvent(told({ type: "image_generation.partial_image", b64_json: "AAAA", output_format: "png" })),
    ).toEqual({ kind: "preview", preview: "data:image/png;base64,AAAA" });
    expect(parseImageEvent(told({ type: "image_edit.completed", b64_json: "", asset_id: "asset_1" }))).toEqual({
      kind: "done",
      assetId: "asset_1",
    });
  });

  it("tells why there is none", () => {
    expect(parseImageEvent(told({ type: "error", error: { message: "no", code: "overloaded" } }))).toMatchObject({
      kind: "failed",
      problem: { code: "overloaded" },
    });
    expect(parseImageEvent(told({ type: "image_generation.completed" }))?.kind).toBe("failed");
  });

  it("may say what is not known here", () => {
    expect(parseImageEvent(told({ type: "new" }))).toBeNull();
    expect(parseImageEvent({ type: "message", id: "", data: "[DONE]" })).toBeNull();
  });
});

describe("paintings", () => {
  const started = paintingStarted({ id: "1", recipe });
  const done = paintingDone({ id: "1", asset });

  it("are shown while they are made", () => {
    expect(after(started, paintingPreviewed({ id: "1", preview: "data:," }))).toMatchObject([
      { status: "painting", preview: "data:," },
    ]);
    expect(after(started, done)).toMatchObject([{ status: "done", asset: { id: "asset_1" } }]);
  });

  it("end once", () => {
    const lost = paintingFailed({ id: "1", problem: problemOf("network", "") });
    expect(after(started, done, lost)).toMatchObject([{ status: "done" }]);
    expect(after(started, paintingStopped("1"), done)).toMatchObject([{ status: "stopped" }]);
  });

  it("stand newest first, until they are put away", () => {
    const two = after(started, paintingStarted({ id: "2", recipe }));
    expect(two.map((one) => one.id)).toEqual(["2", "1"]);
    expect(after(started, paintingRemoved("1"))).toEqual([]);
  });
});

it("measures a rectangle of the mask in pixels of the picture", () => {
  expect(maskRectangle({ left: 10, top: 20, width: 50, height: 100 }, 200, 100)).toEqual([20, 20, 100, 80]);
});
