import { expect, it } from "vitest";
import { madeMedium, toolsFor, withMade, type MadeMedium } from "./made";

const picture: MadeMedium = { itemId: "ig_1", kind: "image", assetId: "asset_1", words: "a red apple" };

it("finds pictures and speech among output items", () => {
  const item = { id: "ig_1", type: "image_generation_call", asset_id: "asset_1", revised_prompt: "a red apple" };
  expect(madeMedium(item)).toEqual(picture);
  expect(madeMedium({ id: "ct_1", type: "custom_tool_call", asset_id: "asset_2", input: "Hello" })).toMatchObject({
    kind: "audio",
    words: "Hello",
  });
  expect(madeMedium({ ...item, asset_id: undefined })).toBeNull();
  expect(madeMedium({ type: "message", asset_id: "asset_1" })).toBeNull();
});

it("shows each once", () => {
  expect(withMade([picture], [picture, { ...picture, itemId: "ig_2" }])).toHaveLength(2);
});

it("asks for what is wished for, and for nothing else", () => {
  expect(toolsFor([])).toEqual({});
  expect(toolsFor(["picture"])).toEqual({
    tools: [{ type: "image_generation", partial_images: 3 }],
    tool_choice: { type: "image_generation" },
  });
  expect(toolsFor(["picture", "speech"])).toMatchObject({ tool_choice: "required" });
});
