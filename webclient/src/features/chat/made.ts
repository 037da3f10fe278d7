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

/** Each medium once, however often it was told. */
export function withMade(list: readonly MadeMedium[], made: readonly MadeMedium[]): MadeMedium[] {
  const fresh = made.filter((one) => list.every((known) => known.itemId !== one.itemId));
  return [...list, ...fresh];
}

/** What an answer shall be besides text. */
export type Wish = "picture" | "speech";

type ServerTool = { type: "image_generation" } | { type: "custom"; name: "speech" };

const TOOLS: Record<Wish, ServerTool> = {
  picture: { type: "image_generation" },
  speech: { type: "custom", name: "speech" },
};

export type ToolFields = { tools?: ServerTool[]; tool_choice?: ServerTool | "required" };

/** The fields of a request that make the wishes come true; none without any. */
export function toolsFor(
  wishes: readonly Wish[],
): ToolFields {
  const tools = wishes.map((wish) => TOOLS[wish]);
  const [only] = tools;
  if (only === undefined) return {};
  return { tools, tool_choice: tools.length === 1 ? only : "required" };
}
