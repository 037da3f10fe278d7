import { isRecord } from "@/lib/problem";

/** A picture or speech that came with an answer. `words`: what it was made from. */
export type MadeMedium = { itemId: string; kind: "image" | "audio"; assetId: string; words: string };

/** Reads an output item; null for one that made no medium, or has not yet. */
export function madeMedium(item: unknown): MadeMedium | null {
  if (!isRecord(item) || typeof item.asset_id !== "string") return null;
  const itemId = typeof item.id === "string" ? item.id : item.asset_id;
  switch (item.type) {
    case "image_generation_call":
      return { itemId, kind: "image", assetId: item.asset_id, words: wordsOf(item.revised_prompt) };
    case "custom_tool_call":
      return { itemId, kind: "audio", assetId: item.asset_id, words: wordsOf(item.input) };
    default:
      return null;
  }
}

function wordsOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** How a picture that is being made looks so far. `url` is a data URL. */
export type Preview = { itemId: string; url: string };

/** The newest preview of each picture. */
export function withPreview(list: readonly Preview[], preview: Preview): Preview[] {
  return [...list.filter((known) => known.itemId !== preview.itemId), preview];
}

/** Each medium once, however often it was told. */
export function withMade(list: readonly MadeMedium[], made: readonly MadeMedium[]): MadeMedium[] {
  const fresh = made.filter((one) => list.every((known) => known.itemId !== one.itemId));
  return [...list, ...fresh];
}

/** What an answer shall be besides text. */
export type Wish = "picture" | "speech";

type ToolChoice = { type: "image_generation" } | { type: "custom"; name: "speech" };
type ServerTool = ToolChoice | { type: "image_generation"; partial_images: number };

const CHOICES: Record<Wish, ToolChoice> = {
  picture: { type: "image_generation" },
  speech: { type: "custom", name: "speech" },
};

const TOOLS: Record<Wish, ServerTool> = {
  picture: { type: "image_generation", partial_images: 3 },
  speech: CHOICES.speech,
};

export type ToolFields = { tools?: ServerTool[]; tool_choice?: ToolChoice | "required" };

/** The fields of a request that make the wishes come true; none without any. */
export function toolsFor(
  wishes: readonly Wish[],
): ToolFields {
  const [first] = wishes;
  if (first === undefined) return {};
  const tools = wishes.map((wish) => TOOLS[wish]);
  return { tools, tool_choice: wishes.length === 1 ? CHOICES[first] : "required" };
}
