/* global AudioWorkletProcessor, registerProcessor, sampleRate */
// Hands the microphone's samples to the page, in pieces of about 20 ms. A file of its own, because
// a browser loads worklets by address and the content security policy forbids made-up ones.
class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.size = Math.round(sampleRate / 50);
    this.piece = new Float32Array(this.size);
    this.filled = 0;
  }

  process([input]) {
    const samples = input[0];
    if (samples === undefined) return true;
    for (const sample of samples) {
      this.piece[this.filled] = sample;
      this.filled += 1;
      if (this.filled < this.size) continue;
      this.port.postMessage(this.piece, [this.piece.buffer]);
      this.piece = new Float32Array(this.size);
      this.filled = 0;
    }
    return true;
  }
}

registerProcessor("capture", Capture);
