import { expect, it } from "vitest";
import { piecesOf } from "./pieces";

it("leaves a short text whole", () => {
  expect(piecesOf(" Hello. ")).toEqual(["Hello."]);
  expect(piecesOf("  ")).toEqual([]);
});

it("cuts behind paragraphs, else sentences, else words, else anywhere", () => {
  expect(piecesOf("One two.\n\nThree four.", 14)).toEqual(["One two.", "Three four."]);
  expect(piecesOf("One two. Three four.", 14)).toEqual(["One two.", "Three four."]);
  expect(piecesOf("one two three", 9)).toEqual(["one two", "three"]);
  expect(piecesOf("aaaaaa", 4)).toEqual(["aaaa", "aa"]);
});

it("loses nothing", () => {
  const text = "Some words. And more of them! ".repeat(400);
  expect(piecesOf(text, 100).join(" ")).toBe(text.trim());
});
