import { expect, it } from "vitest";
import { isPlaying, timelineOf, toVtt, type ShotWords } from "./timeline";

const shot = (start_s: number, end_s: number, description: string): ShotWords => ({
  start_s,
  end_s,
  description,
  objects: [{ name: "dog" }],
  text_lines: [],
});

it("puts what is seen and said in the order in which it plays", () => {
  const moments = timelineOf(
    [shot(0, 4, "A meadow."), shot(4, 9, "")],
    [{ start_s: 4, end_s: 6, text: " Look, a dog! " }],
  );
  expect(moments.map((one) => [one.startS, one.sense, one.text])).toEqual([
    [0, "seen", "A meadow."],
    [4, "seen", "dog"],
    [4, "heard", "Look, a dog!"],
  ]);
});

it("tells written words of a shot", () => {
  const [moment] = timelineOf([{ ...shot(0, 1, "A sign"), text_lines: [{ text: "EXIT" }] }], []);
  expect(moment?.text).toBe("A sign. It says “EXIT”");
});

it("knows what plays", () => {
  const [moment] = timelineOf([shot(2, 4, "x")], []);
  expect(moment && [1.9, 2, 3.9, 4].map((timeS) => isPlaying(moment, timeS))).toEqual([false, true, true, false]);
});

it("writes captions that a player reads", () => {
  const vtt = toVtt([{ start_s: 3661.5, end_s: 3663, text: " a < b\n& c " }]);
  expect(vtt).toBe("WEBVTT\n\n01:01:01.500 --> 01:01:03.000\na &lt; b &amp; c\n");
});
