import { describe, expect, it } from "vitest";
import type { ConversationItem } from "@/api/types";
import type { LiveTurn } from "./chat-slice";
import { WAITING } from "./stream-reducer";
import { buildThread } from "./thread";

const asked = (id: string, response_id: string | null, text: string): ConversationItem => ({
  type: "message",
  id,
  role: "user",
  content: [{ type: "input_text", text }],
  response_id,
});
const answered = (id: string, response_id: string | null, text: string): ConversationItem => ({
  type: "message",
  id,
  role: "assistant",
  status: "completed",
  content: [{ type: "output_text", text }],
  response_id,
});
const live = (clientId: string, responseId: string | null): LiveTurn => ({
  clientId,
  conversationId: "conv_1",
  responseId,
  question: [{ type: "input_text", text: "now" }],
  wishes: [],
  stopping: false,
  answer: WAITING,
});

describe("a thread", () => {
  it("pairs questions with their answers", () => {
    const items = [asked("1", "r1", "a"), answered("2", "r1", "A"), asked("3", "r2", "b")];
    expect(buildThread(items, []).map((turn) => [turn.responseId, turn.answer.kind])).toEqual([
      ["r1", "stored"],
      ["r2", "absent"],
    ]);
  });

  it("shows a turn once, stored and live, under the key it began with", () => {
    const items = [asked("1", "r1", "a"), answered("2", "r1", "A")];
    const turns = buildThread(items, [live("c1", "r1")]);
    expect(turns).toHaveLength(1);
    expect(turns[0]).toMatchObject({ key: "c1", answer: { kind: "live" } });
  });

  it("puts a question that is not stored yet at the end", () => {
    const turns = buildThread([asked("1", "r1", "a"), answered("2", "r1", "A")], [live("c2", null)]);
    expect(turns.map((turn) => turn.key)).toEqual(["r1", "c2"]);
  });

  it("takes the question of a resumed answer from what is stored", () => {
    const resumed = { ...live("c1", "r1"), question: null };
    expect(buildThread([asked("1", "r1", "a")], [resumed])[0]?.question).toEqual([
      { type: "input_text", text: "a" },
    ]);
  });

  it("pairs items that belong to no response", () => {
    const turns = buildThread([asked("1", null, "a"), answered("2", null, "A"), asked("3", null, "b")], []);
    expect(turns.map((turn) => turn.answer.kind)).toEqual(["stored", "absent"]);
  });
});
