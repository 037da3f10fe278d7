import type { AssistantItem, ConversationItem, InputPart } from "@/api/types";
import type { LiveTurn } from "./chat-slice";
import { madeMedium, type MadeMedium } from "./made";

/** Where a turn's answer comes from. */
export type ThreadAnswer =
  | { kind: "live"; turn: LiveTurn }
  | { kind: "stored"; text: string; made: MadeMedium[]; complete: boolean }
  | { kind: "absent" };

export type ThreadTurn = {
  /** Stable while an answer turns from live to stored, so that nothing is drawn anew. */
  key: string;
  responseId: string | null;
  question: InputPart[];
  answer: ThreadAnswer;
};

/** Joins what the server has stored with what is happening now: each turn once, in order. */
export function buildThread(
  items: readonly ConversationItem[],
  live: readonly LiveTurn[],
): ThreadTurn[] {
  const stored = storedTurns(items);
  const byResponse = new Map(live.map((turn) => [turn.responseId, turn]));
  const joined = stored.map((turn) => {
    const now = turn.responseId === null ? undefined : byResponse.get(turn.responseId);
    return now === undefined ? turn : join(turn, now);
  });
  const seen = new Set(stored.map((turn) => turn.responseId));
  const fresh = live
    .filter((turn) => turn.responseId === null || !seen.has(turn.responseId))
    .map((turn): ThreadTurn => ({
      key: turn.clientId,
      responseId: turn.responseId,
      question: turn.question ?? [],
      answer: { kind: "live", turn },
    }));
  return [...joined, ...fresh];
}

function join(stored: ThreadTurn, turn: LiveTurn): ThreadTurn {
  return {
    key: turn.clientId,
    responseId: stored.responseId,
    question: turn.question ?? stored.question,
    answer: { kind: "live", turn },
  };
}

function storedTurns(items: readonly ConversationItem[]): ThreadTurn[] {
  const turns: ThreadTurn[] = [];
  for (const item of items) {
    const last = turns.at(-1);
    const continues = last?.responseId === item.response_id;
    if (item.type !== "message") {
      const made = madeMedium(item);
      if (made === null || !continues) continue;
      if (last.answer.kind === "stored") last.answer.made.push(made);
      else last.answer = { kind: "stored", text: "", made: [made], complete: true };
    } else if (item.role === "assistant") {
      const answer = storedAnswer(item);
      if (continues && last.responseId !== null && last.answer.kind === "stored") {
        // Written before and after a tool was called.
        const text = [last.answer.text, answer.text].filter((one) => one !== "").join("\n\n");
        last.answer = { ...answer, text, made: last.answer.made };
      } else if (continues && last.answer.kind === "absent") last.answer = answer;
      else turns.push({ key: item.response_id ?? item.id, responseId: item.response_id, question: [], answer });
    } else if (item.role === "user") {
      if (continues && last.responseId !== null && last.answer.kind === "absent") {
        last.question.push(...item.content);
      } else {
        turns.push({
          key: item.response_id ?? item.id,
          responseId: item.response_id,
          question: [...item.content],
          answer: { kind: "absent" },
        });
      }
    }
  }
  return turns;
}

function storedAnswer(item: AssistantItem): ThreadAnswer & { kind: "stored" } {
  const text = item.content
    .map((part) => (part.type === "refusal" ? part.refusal : part.text))
    .join("");
  return { kind: "stored", text, made: [], complete: item.status === "completed" };
}
