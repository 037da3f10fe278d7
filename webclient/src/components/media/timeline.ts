import type { Segment, Shot } from "@/api/types";

/** The part of a shot that is told. */
export type ShotWords = Pick<Shot, "start_s" | "end_s" | "description"> & {
  objects: { name: string }[];
  text_lines: { text: string }[];
};

/** One moment of a recording or a video: something seen or something said. */
export type Moment = { startS: number; endS: number; sense: "seen" | "heard"; text: string };

/** What was seen and heard, in the order in which it plays. */
export function timelineOf(shots: readonly ShotWords[], segments: readonly Segment[]): Moment[] {
  const seen = shots.map(
    (shot): Moment => ({ startS: shot.start_s, endS: shot.end_s, sense: "seen", text: shotInWords(shot) }),
  );
  const heard = segments.map(
    (segment): Moment => ({ startS: segment.start_s, endS: segment.end_s, sense: "heard", text: segment.text.trim() }),
  );
  return [...seen, ...heard].sort((a, b) => a.startS - b.startS || (a.sense === "seen" ? -1 : 1));
}

function shotInWords({ description, objects, text_lines }: ShotWords): string {
  const names = [...new Set(objects.map((object) => object.name))];
  const subject = description === "" ? names.join(", ") : description;
  const written = text_lines.map((line) => line.text).join(" ");
  const words = subject === "" ? "A shot" : subject;
  return written === "" ? words : `${words.replace(/\.$/, "")}. It says “${written}”`;
}

/** The moments that play at `timeS`: one that is seen and one that is heard at most. */
export function isPlaying(moment: Moment, timeS: number): boolean {
  return timeS >= moment.startS && timeS < moment.endS;
}

/** Speech as WebVTT, for the browser's own captions. */
export function toVtt(segments: readonly Segment[]): string {
  const cues = segments.map(
    ({ start_s, end_s, text }) =>
      `${vttTime(start_s)} --> ${vttTime(Math.max(end_s, start_s + 0.1))}\n${text.trim().replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(/\s*\n\s*/g, " ")}`,
  );
  return `WEBVTT\n\n${cues.join("\n\n")}\n`;
}

function vttTime(seconds: number): string {
  const ms = Math.round(seconds * 1000);
  const pad = (n: number, width: number) => String(n).padStart(width, "0");
  return `${pad(Math.floor(ms / 3_600_000), 2)}:${pad(Math.floor(ms / 60_000) % 60, 2)}:${pad(Math.floor(ms / 1000) % 60, 2)}.${pad(ms % 1000, 3)}`;
}
