/** What OpenAI's audio formats `pcm` and `pcm16` are: 16-bit little-endian mono. */
export const PCM_RATE_HZ = 24_000;

/** Samples from -1 to 1 as 16-bit little-endian bytes. */
export function toPcm16(samples: Float32Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(samples.length * 2);
  const view = new DataView(bytes.buffer);
  samples.forEach((sample, i) => {
    const clipped = Math.max(-1, Math.min(1, sample));
    view.setInt16(i * 2, Math.round(clipped * 0x7fff), true);
  });
  return bytes;
}

/** 16-bit little-endian bytes as samples from -1 to 1; an odd last byte is left out. */
export function fromPcm16(bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const samples = new Float32Array(Math.floor(bytes.byteLength / 2));
  for (let i = 0; i < samples.length; i += 1) samples[i] = view.getInt16(i * 2, true) / 0x8000;
  return samples;
}

export function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}

/** Keeps an odd byte back, so that every piece ends with a whole sample. */
export class SampleAligner {
  #odd: number | null = null;

  push(bytes: Uint8Array): Uint8Array {
    const before = this.#odd === null ? [] : [this.#odd];
    const whole = new Uint8Array(before.length + bytes.length);
    whole.set(before);
    whole.set(bytes, before.length);
    const even = whole.length - (whole.length % 2);
    this.#odd = even === whole.length ? null : (whole[even] ?? null);
    return whole.subarray(0, even);
  }
}
