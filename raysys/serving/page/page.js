// From a recording or a file to what the server says of it.

import { drawSpectrogram, drawWave } from "./draw.js";
import { encodeWav, Recording } from "./record.js";
import { showAnswer, showBars, showCard, showTimeline } from "./result.js";

const element = id => document.getElementById(id);
const MANY_S = 12;
const TRAINED_ON = { audio: "voices alone", text: "texts alone", both: "voices and what they say" };

let token = "", model, recording, sound, asked = 0;

/** @param how "failed", or "unseen" for what the page shows in larger letters */
function say(text, how = "") {
  element("status").textContent = text;
  element("status").className = `status ${how}`;
}

async function ask(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  const found = await answer.json().catch(() => ({}));
  if (answer.ok) return found;
  const { message = `The server answered ${answer.status}.`, how = "" } = found.error ?? {};
  throw Object.assign(new Error(`${message} ${how}`.trim()), { status: answer.status });
}

async function begin() {
  try {
    model = await ask("/v1/model");
  } catch (error) {
    element("token-form").hidden = error.status !== 401;
    element("work").hidden = error.status === 401;
    if (error.status === 401) element("token").focus();
    else say(error.message, "failed");
    if (token) element("token").setCustomValidity("The server does not know this token.");
    if (token) element("token").reportValidity();
    return;
  }
  element("token-form").hidden = true;
  element("work").hidden = false;
  element("model").hidden = false;
  element("origin").textContent = model.origin;
  element("trained").textContent = `This model was trained on ${TRAINED_ON[model.modalities]}, for ${model.classes.length} classes (${model.classes.join(", ")}). It`;
  element("longest").textContent = `${model.limits.max_seconds / 60 >= 2 ? `${Math.round(model.limits.max_seconds / 60)} minutes` : `${model.limits.max_seconds} s`}`;
  element("transcript-field").hidden = model.modalities === "audio";
  element("segments").querySelectorAll("option").forEach(option => {
    option.hidden = option.disabled = option.value !== "" && !model.segments.includes(option.value);
  });
  showBars({ probabilities: {}, prediction: "" }, model.classes);
  showCard(model.card);
}

async function predict() {
  if (!sound) return;
  const turn = ++asked, form = new FormData(), transcript = element("transcript").value.trim();
  const segments = element("segments").value || (sound.seconds > MANY_S ? "fixed" : "none");
  form.append("audio", sound.file, sound.file.name ?? "recording.wav");
  if (transcript && segments === "none") form.append("transcript", transcript);
  if (segments !== "none") form.append("segments", segments);
  say("The model is listening …");
  element("predict").disabled = true;
  try {
    const answer = await ask("/v1/predict", { method: "POST", body: form });
    if (turn !== asked) return;
    const alone = transcript && segments !== "none" ? " The text was left out: it is of the whole recording." : "";
    say(`${answer.prediction}, with a probability of ${(100 * answer.confidence).toFixed(0)} %.${alone}`, alone ? "" : "unseen");
    showAnswer(answer);
    showTimeline(answer, span => { showBars(span, answer.classes); play(span); });
  } catch (error) {
    if (turn === asked) say(error.message, "failed");
  } finally {
    element("predict").disabled = false;
  }
}

function play(span) {
  const player = element("player");
  player.currentTime = span.start_s;
  player.play().catch(() => {});
  player.ontimeupdate = () => { if (player.currentTime >= span.end_s) { player.pause(); player.ontimeupdate = null; } };
}

function draw() {
  if (!sound) return;
  element("empty").hidden = Boolean(sound.samples);
  element("empty").textContent = "The browser cannot draw this format; the server may read it.";
  if (!sound.samples) return;
  drawWave(element("wave"), sound.samples);
  drawSpectrogram(element("spectrogram"), sound.samples, sound.rate);
  element("wave").setAttribute("aria-label", `Waveform of ${sound.seconds.toFixed(1)} s`);
  element("spectrogram").setAttribute("aria-label", `Spectrogram of ${sound.seconds.toFixed(1)} s, from 0 to 8 kHz`);
  element("end").textContent = `${sound.seconds.toFixed(1)} s`;
}

async function take(file, samples, rate) {
  sound = { file, samples, rate, seconds: samples ? samples.length / rate : 0 };
  const player = element("player");
  URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(file);
  player.hidden = false;
  draw();
  await predict();
}

async function takeFile(file) {
  if (!file) return;
  if (file.size > model.limits.max_megabytes * 1e6) {
    say(`${file.name} has ${(file.size / 1e6).toFixed(1)} MB, and this server reads up to ${model.limits.max_megabytes}.`, "failed");
    return;
  }
  // The server may read what the browser does not; then there is no picture.
  const context = new OfflineAudioContext(1, 1, 16000);
  const decoded = await file.arrayBuffer().then(bytes => context.decodeAudioData(bytes)).catch(() => null);
  await take(file, decoded?.getChannelData(0), decoded?.sampleRate);
}

async function record() {
  const { max_seconds, max_megabytes } = model.limits;
  if (!navigator.mediaDevices) {
    say("The browser gives pages a microphone over HTTPS or on localhost only. Choose a file instead.", "failed");
    return;
  }
  try {
    recording = await Recording.start(({ seconds, rate }) => {
      const text = `Stop (${seconds.toFixed(1)} s)`;
      if (text === element("record-text").textContent) return;
      element("record-text").textContent = text;
      if (recording) drawWave(element("wave"), recording.outline());
      if (seconds >= Math.min(max_seconds, (max_megabytes * 1e6 - 5000) / (2 * rate)) - 0.5) stop();
    });
  } catch (error) {
    const denied = error.name === "NotAllowedError";
    say(denied ? "The browser was not allowed to use the microphone." : `No microphone can be used (${error.message}).`, "failed");
    return;
  }
  sound = undefined;
  element("empty").hidden = true;
  for (const id of ["wave", "spectrogram"]) element(id).width = element(id).width;
  element("end").textContent = "";
  element("record").setAttribute("aria-pressed", "true");
  say("Recording. Press again to stop.");
}

async function stop() {
  const done = recording;
  if (!done) return;
  recording = undefined;
  await done.stop();
  element("record").setAttribute("aria-pressed", "false");
  element("record-text").textContent = "Record again";
  const samples = done.samples();
  if (samples.length) await take(encodeWav(samples, done.rate), samples, done.rate);
  else say("The microphone gave no sound.", "failed");
}

element("host").textContent = location.host;
element("record").onclick = () => (recording ? stop() : record());
element("file").onchange = event => takeFile(event.target.files[0]).finally(() => { event.target.value = ""; });
element("predict").onclick = predict;
element("segments").onchange = () => { if (sound) predict(); };
element("transcript").onkeydown = event => { if (event.key === "Enter" && sound) predict(); };
element("token").oninput = event => event.target.setCustomValidity("");
element("token-form").onsubmit = event => { event.preventDefault(); token = element("token").value.trim(); begin(); };
for (const name of ["dragover", "dragleave", "drop"]) {
  element("drop").addEventListener(name, event => {
    event.preventDefault();
    element("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") takeFile(event.dataTransfer.files[0]);
  });
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
new ResizeObserver(draw).observe(element("sound"));
begin();
