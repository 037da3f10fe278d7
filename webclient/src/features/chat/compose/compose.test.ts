import { describe, expect, it } from "vitest";
import type { Asset } from "@/api/types";
import { problemOf } from "@/lib/problem";
import { acceptFor, kindOf, reduceAttachments, refusalOf, type AttachmentAction } from "./attachments-reducer";
import { screenAdvice } from "./grab-screen";
import { titleFor, toInputParts } from "./input-parts";
import { cameraAdvice } from "./use-camera";
import { microphoneAdvice } from "./use-recorder";
import { encodeWav } from "./wav";

const file = new File(["x"], "cat.jpg", { type: "image/jpeg" });
const chosen: AttachmentAction = {
  type: "chosen",
  chosen: { id: "1", name: "cat.jpg", kind: "image", previewUrl: "blob:1", file, words: "" },
};
const asset: Asset = {
  id: "asset_1",
  kind: "image",
  mime_type: "image/jpeg",
  filename: "cat.jpg",
  bytes: 1,
  width_px: 1,
  height_px: 1,
  duration_s: null,
  content_url: "/api/v1/assets/asset_1/content",
  created_at: "2026-01-01T00:00:00Z",
};
const after = (...actions: AttachmentAction[]) => actions.reduce(reduceAttachments, []);

describe("attachments", () => {
  it("go from uploading to ready", () => {
    expect(after(chosen, { type: "progressed", id: "1", fraction: 0.5 })[0]).toMatchObject({ fraction: 0.5 });
    expect(after(chosen, { type: "uploaded", id: "1", asset })[0]).toMatchObject({ status: "ready", asset });
  });

  it("show what was heard in them while they are uploaded and afterwards", () => {
    const heard = after(chosen, { type: "heard", id: "1", words: "Good morning" });
    expect(heard[0]).toMatchObject({ status: "uploading", words: "Good morning" });
    expect(reduceAttachments(heard, { type: "uploaded", id: "1", asset })[0]).toMatchObject({ words: "Good morning" });
    expect(reduceAttachments(heard, { type: "retried", id: "1" })[0]).toMatchObject({ words: "" });
  });

  it("ignore progress that is told after the end", () => {
    const ready = after(chosen, { type: "uploaded", id: "1", asset });
    expect(reduceAttachments(ready, { type: "progressed", id: "1", fraction: 0.9 })).toEqual(ready);
  });

  it("can be tried again after a failure", () => {
    const failed = after(chosen, { type: "failed", id: "1", problem: problemOf("network", "") });
    expect(reduceAttachments(failed, { type: "retried", id: "1" })[0]).toMatchObject({
      status: "uploading",
      fraction: 0,
    });
  });

  it("stand before the words of a message", () => {
    const parts = toInputParts("  What is it? ", after(chosen, { type: "uploaded", id: "1", asset }));
    expect(parts).toEqual([
      { type: "input_image", file_id: "asset_1", image_url: null, detail: "auto" },
      { type: "input_text", text: "What is it?" },
    ]);
  });

  it("are what the server found in their bytes", () => {
    const video: Asset = { ...asset, id: "asset_2", kind: "video", mime_type: "video/mp4" };
    const list = after(chosen, { type: "uploaded", id: "1", asset: video });
    expect(list[0]?.kind).toBe("video");
    expect(toInputParts("", list)).toEqual([
      { type: "input_file", file_id: "asset_2", filename: null, mime_type: "video/mp4", kind: "video" },
    ]);
  });

  it("can be on the server already, each once", () => {
    const adopted: AttachmentAction = { type: "adopted", id: "2", asset };
    expect(after(adopted, adopted)).toMatchObject([{ status: "ready", file: null, previewUrl: asset.content_url }]);
  });

  it("are refused with the reason and what is taken instead", () => {
    const empty = new File([], "cat.png", { type: "image/png" });
    expect(refusalOf([empty], ["image", "audio"])).toBe("cat.png is empty. This server takes pictures and recordings.");
    expect(refusalOf([file], ["audio"])).toBe("cat.jpg cannot be attached here. This server takes recordings.");
    expect(refusalOf([file], ["image"])).toBeNull();
    expect(acceptFor(["image", "document"])).toBe("image/*,application/pdf");
  });

  it.each([
    ["image/png", "a", "image"],
    ["", "memo.M4A", "audio"],
    ["video/webm", "clip.webm", "video"],
    ["", "HOLIDAY.MOV", "video"],
    ["application/pdf", "a", "document"],
    ["text/plain", "notes.txt", null],
  ])("of type %o named %o are %o", (type, name, kind) => {
    expect(kindOf(type, name)).toBe(kind);
  });
});

it("names a conversation after its first words", () => {
  expect(titleFor([{ type: "input_text", text: "Hello\n there" }])).toBe("Hello there");
  expect(titleFor([{ type: "input_text", text: "x".repeat(80) }])).toHaveLength(60);
  expect(titleFor([{ type: "input_audio", file_id: "a", input_audio: { data: "", format: "wav" } }])).toBe("A voice note");
});

it("writes a WAV header that tells rate and length", () => {
  const view = new DataView(encodeWav(new Float32Array([0, 1, -2]), 16_000));
  expect(view.byteLength).toBe(44 + 6);
  expect(view.getUint32(24, true)).toBe(16_000);
  expect(view.getInt16(46, true)).toBe(32_767);
  expect(view.getInt16(48, true)).toBe(-32_767);
});

it("says what to do when the camera or the screen cannot be had", () => {
  expect(cameraAdvice(new DOMException("", "NotFoundError"))).toContain("Plug one in");
  expect(screenAdvice(new DOMException("", "SecurityError"))).toContain("https");
  expect(screenAdvice(new DOMException("", "NotAllowedError"))).toBeNull();
});

it("says what to do when the microphone is denied", () => {
  expect(microphoneAdvice(new DOMException("", "NotAllowedError"))).toContain("Allow it");
  expect(microphoneAdvice(new TypeError("odd"))).toContain("Attach a recording");
});
