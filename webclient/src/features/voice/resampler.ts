/** Turns a stream of samples of one rate into one of another, without a click between pieces. */
export class Resampler {
  readonly #step: number;
  /** Where the next sample lies, counted from the first of the next piece; -1 is the last one before. */
  #at = 0;
  #before = 0;

  constructor(fromHz: number, toHz: number) {
    this.#step = fromHz / toHz;
  }

  push(samples: Float32Array): Float32Array {
    const made: number[] = [];
    let at = this.#at;
    for (; at <= samples.length - 1; at += this.#step) {
      const left = Math.floor(at);
      const a = left < 0 ? this.#before : (samples[left] ?? 0);
      const b = samples[left + 1] ?? a;
      made.push(a + (b - a) * (at - left));
    }
    this.#before = samples.at(-1) ?? this.#before;
    this.#at = at - samples.length;
    return Float32Array.from(made);
  }
}

/** Loudness from 0 to 1; speech is around 0.05 to 0.2, so the root makes quiet voices visible. */
export function loudness(samples: Float32Array): number {
  if (samples.length === 0) return 0;
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  return Math.min(1, Math.sqrt(Math.sqrt(power)) * 1.6);
}
