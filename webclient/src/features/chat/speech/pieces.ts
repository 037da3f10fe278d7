/** The longest input of OpenAI's speech API, in characters. */
export const MAX_SPEECH_CHARS = 4096;

/** Cuts a text into pieces that can be spoken, at paragraphs, else sentences, else words. */
export function piecesOf(text: string, maxChars: number = MAX_SPEECH_CHARS): string[] {
  const pieces: string[] = [];
  let rest = text.trim();
  while (rest.length > maxChars) {
    const end = cutAt(rest.slice(0, maxChars));
    pieces.push(rest.slice(0, end).trim());
    rest = rest.slice(end).trim();
  }
  return rest === "" ? pieces : [...pieces, rest];
}

function cutAt(head: string): number {
  const half = head.length / 2;
  const ends = [head.lastIndexOf("\n\n"), head.search(/[.!?…]\s[^.!?…]*$/) + 1, head.lastIndexOf(" ")];
  return ends.find((end) => end > half) ?? head.length;
}
