import type { Conversation } from "@/api/types";

export type AgeGroup = { label: string; conversations: Conversation[] };

const DAY_MS = 86_400_000;

/** Splits a newest-first list by the day it was last touched. Empty groups are left out. */
export function groupByAge(conversations: readonly Conversation[], now: Date): AgeGroup[] {
  const today = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime();
  const groups: AgeGroup[] = [];
  for (const conversation of conversations) {
    const label = ageLabel(new Date(conversation.updated_at).getTime(), today);
    const last = groups.at(-1);
    if (last?.label === label) last.conversations.push(conversation);
    else groups.push({ label, conversations: [conversation] });
  }
  return groups;
}

function ageLabel(updated: number, today: number): string {
  if (updated >= today) return "Today";
  if (updated >= today - DAY_MS) return "Yesterday";
  if (updated >= today - 7 * DAY_MS) return "This week";
  return "Earlier";
}
