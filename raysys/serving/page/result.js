// The answer: bars, and for segments a timeline.

const percent = value => `${(100 * value).toFixed(value >= 0.9995 ? 0 : 1)} %`;
const seconds = value => `${value.toFixed(1)} s`;
const element = id => document.getElementById(id);

function made(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

export const series = i => `var(--series-${(i % 8) + 1})`;

export function showBars({ probabilities, prediction }, classes) {
  const order = [...classes].sort((a, b) => (probabilities[b] ?? 0) - (probabilities[a] ?? 0));
  element("bars").replaceChildren(...order.map(name => {
    const fill = made("i");
    fill.style.background = series(classes.indexOf(name));
    requestAnimationFrame(() => { fill.style.width = `${100 * (probabilities[name] ?? 0)}%`; });
    return made("tr", { className: name === prediction ? "best" : "" },
      made("th", { scope: "row", textContent: name, title: name }),
      made("td", { ariaHidden: "true" }, made("div", { className: "bar" }, fill)),
      made("td", { textContent: name in probabilities ? percent(probabilities[name]) : "" }));
  }));
}

export function showAnswer(answer) {
  document.querySelector(".winner").hidden = false;
  element("prediction").textContent = answer.prediction;
  element("confidence").textContent = percent(answer.confidence);
  showBars(answer, answer.classes);
  element("note").textContent = answer.note ? `${answer.note}.` : "";
  element("note").hidden = !answer.note;
}

/** @param choose called with a segment that is chosen. */
export function showTimeline(answer, choose) {
  const spans = answer.timeline ?? [];
  element("timeline-section").hidden = !spans.length;
  element("timeline-end").textContent = seconds(answer.duration_s ?? 0);
  element("timeline").replaceChildren(...spans.map(span => segment(span, answer, choose)));
  element("legend").replaceChildren(...answer.classes.map((name, i) => {
    const box = made("i");
    box.style.background = series(i);
    return made("li", {}, box, name);
  }));
  element("spans").replaceChildren(...spans.map(span => made("tr", {},
    ...[seconds(span.start_s), seconds(span.end_s), span.prediction, percent(span.confidence)].map(
      textContent => made("td", { textContent })))));
}

function segment(span, answer, choose) {
  const fill = made("i"), i = answer.classes.indexOf(span.prediction), chance = 1 / answer.classes.length;
  fill.style.background = series(i);
  fill.style.opacity = 0.25 + (0.6 * (span.confidence - chance)) / (1 - chance);
  const button = made("button", { type: "button", title: span.prediction }, fill, made("span", { textContent: span.prediction }));
  button.setAttribute("aria-label",
    `${span.start_s.toFixed(1)} to ${seconds(span.end_s)}: ${span.prediction}, ${percent(span.confidence)}`);
  button.onclick = () => {
    document.querySelectorAll(".timeline [aria-current]").forEach(other => other.removeAttribute("aria-current"));
    button.setAttribute("aria-current", "true");
    choose(span);
  };
  const item = made("li", {}, button);
  item.style.left = `${(100 * span.start_s) / answer.duration_s}%`;
  item.style.width = `${(100 * (span.end_s - span.start_s)) / answer.duration_s}%`;
  return item;
}

/** A model card, of which only headings, tables and code are told apart; its text stays text. */
export function showCard(markdown) {
  const text = markdown.replace(/^---\n[\s\S]*?\n---\n/, "");
  element("card").replaceChildren(...text.split(/\n{2,}/).filter(part => part.trim()).map(part => {
    const heading = part.match(/^#+ (.*)/);
    if (heading && !part.includes("\n")) return made("h3", { textContent: heading[1] });
    return made(/^(\||```)/.test(part) ? "pre" : "p", { textContent: part.replace(/^#+ /, "") });
  }));
  element("card-section").hidden = !text.trim();
}
