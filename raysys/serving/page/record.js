// The microphone, as samples: they are sent as WAV, which every server reads, and not as the browser's own format.

export class Recording {
  #stream; #context; #recorder; #blocks = []; #samples = 0; #peaks = [];

  /** Starts at once. Throws what getUserMedia does: no microphone, or no permission. */
  static async start(onBlock) {
    const recording = new Recording();
    recording.#stream = await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
    recording.#context = new AudioContext();
    await recording.#context.audioWorklet.addModule("/page/recorder-worklet.js");
    const source = recording.#context.createMediaStreamSource(recording.#stream);
    recording.#recorder = new AudioWorkletNode(recording.#context, "recorder", { numberOfOutputs: 0 });
    recording.#recorder.port.onmessage = ({ data }) => {
      recording.#blocks.push(data);
      recording.#samples += data.length;
      const peak = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      recording.#peaks.push(peak, -peak);
      onBlock(recording);
    };
    source.connect(recording.#recorder);
    return recording;
  }

  get seconds() { return this.#samples / this.#context.sampleRate; }

  get rate() { return this.#context.sampleRate; }

  /** The outline of its last seconds, as samples that can be drawn. */
  outline() { return Float32Array.from(this.#peaks.slice(-2400)); }

  /** The samples so far, in [-1, 1]. */
  samples() {
    const all = new Float32Array(this.#samples);
    let at = 0;
    for (const block of this.#blocks) { all.set(block, at); at += block.length; }
    return all;
  }

  async stop() {
    this.#recorder.port.onmessage = null;
    this.#stream.getTracks().forEach(track => track.stop());
    await this.#context.close();
  }
}

/** A WAV file of 16-bit samples, one channel. */
export function encodeWav(samples, rate) {
  const bytes = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, word) => [...word].forEach((letter, i) => bytes.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"); bytes.setUint32(4, 36 + 2 * samples.length, true); text(8, "WAVEfmt ");
  bytes.setUint32(16, 16, true); bytes.setUint16(20, 1, true); bytes.setUint16(22, 1, true);
  bytes.setUint32(24, rate, true); bytes.setUint32(28, 2 * rate, true);
  bytes.setUint16(32, 2, true); bytes.setUint16(34, 16, true);
  text(36, "data"); bytes.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, i) => {
    bytes.setInt16(44 + 2 * i, Math.round(Math.max(-1, Math.min(1, value)) * 32767), true);
  });
  return new Blob([bytes], { type: "audio/wav" });
}
