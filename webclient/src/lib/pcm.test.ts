import { expect, it } from "vitest";
import { fromBase64, fromPcm16, SampleAligner, toBase64, toPcm16 } from "./pcm";

it("carries samples there and back", () => {
  const there = fromBase64(toBase64(toPcm16(new Float32Array([0, 0.5, -1, 3]))));
  const back = [...fromPcm16(there)].map((sample) => Math.round(sample * 100) / 100);
  expect(back).toEqual([0, 0.5, -1, 1]);
});

it("never cuts a sample", () => {
  const aligner = new SampleAligner();
  expect([...aligner.push(new Uint8Array([1, 2, 3]))]).toEqual([1, 2]);
  expect([...aligner.push(new Uint8Array([4]))]).toEqual([3, 4]);
  expect([...aligner.push(new Uint8Array([]))]).toEqual([]);
});
