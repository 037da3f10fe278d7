import { fromPcm16, PCM_RATE_HZ } from "./pcm";

/** Time between "play now" and the first sample, so that the next piece is there before it is due. */
const LEAD_S = 0.08;

/** Plays pieces of sound one after the other as they come in. */
export class PcmPlayer {
  readonly #context: AudioContext;
  readonly #playing = new Set<AudioBufferSourceNode>();
  #endsAt = 0;
  #startedAt: number | null = null;
  #queuedS = 0;

  constructor() {
    this.#context = new AudioContext({ sampleRate: PCM_RATE_HZ });
    // A page that was not touched yet may not make a sound until it is.
    void this.#context.resume();
  }

  /** Seconds heard since the last `stop`, never more than were pushed. */
  get heardS(): number {
    if (this.#startedAt === null) return 0;
    return Math.max(0, Math.min(this.#queuedS, this.#context.currentTime - this.#startedAt));
  }

  get isSilent(): boolean {
    return this.#context.currentTime >= this.#endsAt;
  }

  push(pcm16: Uint8Array): void {
    const samples = fromPcm16(pcm16);
    if (samples.length === 0) return;
    const buffer = this.#context.createBuffer(1, samples.length, PCM_RATE_HZ);
    buffer.copyToChannel(samples, 0);
    const source = this.#context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.#context.destination);
    const at = Math.max(this.#endsAt, this.#context.currentTime + LEAD_S);
    this.#startedAt ??= at;
    this.#endsAt = at + buffer.duration;
    this.#queuedS += buffer.duration;
    this.#playing.add(source);
    source.onended = () => this.#playing.delete(source);
    source.start(at);
  }

  /** Resolves when all that was pushed has been heard. */
  async drained(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && !this.isSilent) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Silent at once; what follows plays anew. */
  stop(): void {
    this.#playing.forEach((source) => source.stop());
    this.#playing.clear();
    this.#endsAt = 0;
    this.#startedAt = null;
    this.#queuedS = 0;
  }

  /** May be called again. */
  close(): void {
    if (this.#context.state === "closed") return;
    this.stop();
    void this.#context.close();
  }
}
