// The waveform and the spectrogram, in the colours of the page.

import { levels } from "./spectrum.js";

const HIGHEST_HZ = 8000;
const RANGE_DB = 65;
const mel = hz => Math.log1p(hz / 700);
const hertz = value => 700 * Math.expm1(value);

function fitted(canvas) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * scale);
  canvas.height = Math.round(canvas.clientHeight * scale);
  return canvas.getContext("2d");
}

/** The value of a CSS variable of the page. */
export const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export function drawWave(canvas, samples) {
  const context = fitted(canvas), { width, height } = canvas;
  const loudest = samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0.05);
  context.fillStyle = colour("accent");
  for (let x = 0; x < width; x++) {
    const start = Math.floor((x * samples.length) / width);
    const end = Math.max(start + 1, Math.floor(((x + 1) * samples.length) / width));
    let low = 0, high = 0;
    for (let i = start; i < end && i < samples.length; i++) { low = Math.min(low, samples[i]); high = Math.max(high, samples[i]); }
    const top = (0.5 - (0.48 * high) / loudest) * height, bottom = (0.5 - (0.48 * low) / loudest) * height;
    context.fillRect(x, top, 1, Math.max(1, bottom - top));
  }
}

/** From 0 Hz at the bottom to 8 kHz at the top, on the mel scale; the darkest is what is loudest. */
export function drawSpectrogram(canvas, samples, rate) {
  const context = fitted(canvas), { width, height } = canvas;
  const columns = Array.from({ length: width }, (_, x) => levels(samples, ((x + 0.5) * samples.length) / width));
  const loudest = columns.reduce((most, column) => column.reduce((a, b) => Math.max(a, b), most), -60);
  const [paper, ink] = [rgb(colour("paper")), rgb(colour("heat"))];
  const image = context.createImageData(width, height);
  for (let y = 0; y < height; y++) {
    const bin = (hertz(mel(HIGHEST_HZ) * (1 - y / height)) / rate) * 512;
    for (let x = 0; x < width; x++) {
      const column = columns[x], low = Math.min(Math.floor(bin), column.length - 2), part = bin - low;
      const level = bin > column.length - 1 ? -Infinity : column[low] * (1 - part) + column[low + 1] * part;
      const share = Math.max(0, Math.min(1, 1 + (level - loudest) / RANGE_DB)) ** 1.15;
      for (let c = 0; c < 3; c++) image.data[4 * (y * width + x) + c] = paper[c] + (ink[c] - paper[c]) * share;
      image.data[4 * (y * width + x) + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}

const rgb = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
