// Power spectra by a fast Fourier transform.

const SIZE = 512;
const WINDOW = Float32Array.from({ length: SIZE }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE));

/** In place, radix 2: the length of both parts is a power of 2. */
export function transform(real, imaginary) {
  const n = real.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  for (let half = 1; half < n; half *= 2) {
    for (let k = 0; k < half; k++) {
      const cos = Math.cos((-Math.PI * k) / half), sin = Math.sin((-Math.PI * k) / half);
      for (let i = k; i < n; i += 2 * half) {
        const j = i + half;
        const x = real[j] * cos - imaginary[j] * sin, y = real[j] * sin + imaginary[j] * cos;
        real[j] = real[i] - x; imaginary[j] = imaginary[i] - y;
        real[i] += x; imaginary[i] += y;
      }
    }
  }
}

/** Level in dB of each frequency from 0 to rate / 2, of the samples around `centre`. */
export function levels(samples, centre) {
  const real = new Float32Array(SIZE), imaginary = new Float32Array(SIZE);
  const start = Math.round(centre) - SIZE / 2;
  for (let i = 0; i < SIZE; i++) real[i] = (samples[start + i] ?? 0) * WINDOW[i];
  transform(real, imaginary);
  return Float32Array.from({ length: SIZE / 2 }, (_, k) => 10 * Math.log10(real[k] ** 2 + imaginary[k] ** 2 + 1e-10));
}
