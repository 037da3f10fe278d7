/** What speech recognisers are trained on; a higher rate would only make the file larger. */
export const VOICE_RATE_HZ = 16_000;

const HEADER_BYTES = 44;

/** Mono samples from -1 to 1 as a 16-bit WAV file. */
export function encodeWav(samples: Float32Array, rateHz: number): ArrayBuffer {
  const dataBytes = samples.length * 2;
  const buffer = new ArrayBuffer(HEADER_BYTES + dataBytes);
  const view = new DataView(buffer);
  const ascii = (at: number, text: string) => {
    for (let i = 0; i < text.length; i += 1) view.setUint8(at + i, text.charCodeAt(i));
  };
  ascii(0, "RIFF");
  view.setUint32(4, HEADER_BYTES - 8 + dataBytes, true);
  ascii(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rateHz, true);
  view.setUint32(28, rateHz * 2, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  ascii(36, "data");
  view.setUint32(40, dataBytes, true);
  samples.forEach((sample, i) => {
    const clipped = Math.max(-1, Math.min(1, sample));
    view.setInt16(HEADER_BYTES + i * 2, Math.round(clipped * 0x7fff), true);
  });
  return buffer;
}

/** Turns whatever this browser records (WebM, MP4) into WAV, which every server reads. */
export async function toVoiceWav(recorded: Blob): Promise<{ file: File; seconds: number }> {
  const decoder = new OfflineAudioContext(1, 1, VOICE_RATE_HZ);
  const decoded = await decoder.decodeAudioData(await recorded.arrayBuffer());
  const length = Math.max(1, Math.ceil(decoded.duration * VOICE_RATE_HZ));
  const mixer = new OfflineAudioContext(1, length, VOICE_RATE_HZ);
  const source = mixer.createBufferSource();
  source.buffer = decoded;
  source.connect(mixer.destination);
  source.start();
  const mono = await mixer.startRendering();
  const wav = encodeWav(mono.getChannelData(0), VOICE_RATE_HZ);
  return { file: new File([wav], "voice-note.wav", { type: "audio/wav" }), seconds: decoded.duration };
}
