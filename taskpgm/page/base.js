const data = JSON.parse(document.getElementById("data").textContent);
const names = data.names;

/* Text: names are data, never mark-up; isolated, so that one written from right to left does not turn its neighbours. */
const plain = (name) => name.replace(/\s+/gu, " ").trim().replace(/[\p{Cc}\p{Cs}]/gu, "\ufffd") || "\u2423";
const shown = (name) => "\u2068" + plain(name) + "\u2069";
function shorten(name, most) {
  const letters = Array.from(plain(name));
  return "\u2068" + (letters.length > most ? letters.slice(0, most - 1).join("") + "\u2026" : letters.join("")) + "\u2069";
}
/* A name in as much room as there is, by the width that its letters really have. */
const ruler = document.createElement("canvas").getContext("2d");
ruler.font = "12px " + getComputedStyle(document.body).fontFamily;
const widthOf = (text) => ruler.measureText(text).width;
function fitted(name, room) {
  let most = Array.from(plain(name)).length;
  while (most > 2 && widthOf(shorten(name, most)) > room) most = Math.min(most - 1, Math.ceil((most * room) / widthOf(shorten(name, most))));
  return shorten(name, most);
}
const percent = (value, places = 1) => (100 * value).toFixed(places) + " %";
const digits = (value, most = 4) => (value === null ? "unknown" : String(Number(value.toPrecision(most))).replace("-", "\u2212"));
const whole = (value) => Math.round(value).toLocaleString("en");
const exact = (value) => digits(value, 6);

function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}
function shape(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}
function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

/* Axes. */
const scale = (from, to, low, high) => (value) => low + ((value - from) / (to - from || 1)) * (high - low);
function ticks(from, to, count) {
  const rough = (to - from) / Math.max(1, count) || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const found = [];
  for (let value = Math.ceil(from / step - 1e-9) * step; value <= to + step * 1e-9; value += step) found.push(Math.abs(value) < step * 1e-9 ? 0 : value);
  return found;
}

/* The tooltip, and the same words for screen readers when the keyboard moves it. */
const tip = document.getElementById("tip");
const live = document.getElementById("live");
let followed = null;
/* where: a function that gives the place in the window. What the keyboard shows follows it while the page scrolls. */
function showTip(lines, where, aloud) {
  tip.replaceChildren(...lines.map((line, place) => element(place ? "span" : "b", {}, line)));
  tip.hidden = false;
  followed = aloud ? where : null;
  placeTip(where());
  if (aloud) live.textContent = lines.join(". ");
}
function placeTip([x, y]) {
  const box = tip.getBoundingClientRect();
  const width = document.documentElement.clientWidth;
  tip.style.left = Math.max(4, Math.min(x + 14, width - box.width - 4)) + "px";
  tip.style.top = (y + 18 + box.height > innerHeight ? Math.max(4, y - box.height - 12) : y + 18) + "px";
}
function hideTip() { tip.hidden = true; followed = null; }
addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
addEventListener("scroll", () => (followed ? placeTip(followed()) : hideTip()), { passive: true, capture: true });

let charts = 0;
/* An empty drawing in a host, as wide as the host: an image with a title, one stop of the keyboard. */
function drawing(host, title, width, height) {
  const id = "title-" + ++charts;
  const svg = shape("svg", { role: "img", "aria-labelledby": id, tabindex: 0, width, height, viewBox: `0 0 ${width} ${height}` });
  svg.append(shape("title", { id }, title + " Arrow keys go through the values."));
  const before = host.querySelector(":scope > svg");
  if (before) before.replaceWith(svg); else host.prepend(svg);
  return svg;
}

/* Marks: what can be pointed at, or reached with the arrow keys while the drawing has the focus.
   Each is {node, lines, x, y}, in the drawing's coordinates; quiet ones are for the pointer alone. */
function attend(svg, marks) {
  const stops = marks.filter((mark) => !mark.quiet);
  const found = new Map(marks.map((mark) => [mark.node, mark]));
  let active = null, place = 0;
  function activate(mark, where, aloud) {
    if (active) active.node.classList.remove("active");
    active = mark;
    mark.node.classList.add("active");
    showTip(mark.lines(), where, aloud);
  }
  function leave() { if (active) active.node.classList.remove("active"); active = null; hideTip(); }
  function visit(next) {
    if (!stops.length) return;
    place = Math.max(0, Math.min(stops.length - 1, next));
    const box = svg.getBoundingClientRect(), mark = stops[place];
    const y = box.top + mark.y;
    if (y < 60 || y > innerHeight - 60) scrollBy(0, y - innerHeight / 2);
    const where = () => { const now = svg.getBoundingClientRect(); return [now.left + mark.x, now.top + mark.y]; };
    activate(mark, where, true);
  }
  const point = (event) => {
    const mark = found.get(event.target);
    if (mark) activate(mark, () => [event.clientX, event.clientY], false); else leave();
  };
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) visit(place); });
  svg.addEventListener("blur", leave);
  svg.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -1e9, End: 1e9 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    visit(place + moves[event.key]);
  });
}

/* Draw now, and again whenever the host's width changes. */
function responsive(host, draw) {
  let width = 0;
  const again = () => {
    const now = Math.floor(host.clientWidth);
    if (now && now !== width) { width = now; draw(now); }
  };
  new ResizeObserver(again).observe(host);
  again();
  return () => { width = 0; again(); };
}

function legend(host, entries) {
  const list = element("ul", { class: "legend" });
  for (const [mark, text] of entries) {
    const sample = shape("svg", { width: 22, height: 12, "aria-hidden": "true" }, mark);
    list.append(element("li", {}, sample, text));
  }
  host.append(list);
}
const swatch = (fill) => shape("rect", { x: 3, y: 0, width: 16, height: 12, fill });

/* The largest rows first; a button shows the others. */
function foldable(host, total, most, draw) {
  let all = total <= most;
  const redraw = responsive(host, (width) => draw(width, all ? total : most));
  if (all) return;
  const button = element("button", { type: "button", "aria-expanded": "false" });
  const label = () => { button.textContent = all ? `Show the ${most} largest only` : `Show all ${total}`; };
  label();
  button.addEventListener("click", () => { all = !all; button.setAttribute("aria-expanded", String(all)); label(); redraw(); });
  host.append(button);
}
