// Names get onto the page as text alone; nothing is parsed as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const weights = data.weights;
const state = { metric: 0, points: "raw", axis: "linear", predicted: true, picks: true, query: "", operator: "", most: innerWidth < 640 ? 12 : 60, frontMetric: 0, frontAxis: "linear" };
const MARGIN = { left: 52, right: 14, top: 10, bottom: 34 };
const CHARACTER = 6.7; // pixels of a letter of 11 pixels, fixed width

const $ = (id) => document.getElementById(id);

function el(kind, attributes = {}, ...inside) {
  const made = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

function s(parent, kind, attributes = {}, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.appendChild(made);
  return made;
}

function canvas(box, width, height) {
  const svg = s(null, "svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", focusable: "false" });
  box.replaceChildren(svg);
  return svg;
}

const widthOf = (box) => Math.max(260, box.clientWidth || box.parentElement.clientWidth || 700);
const COLOURS = 8;
const levelWord = () => (data.kind === "sparsity" ? "sparsity" : "saved share of 32 bits");
const px = (value) => Math.round(value * 10) / 10;
const percent = (share) => `${(share * 100).toFixed(1)} %`;
const count = (value) => String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");

function num(value, digits = 4) {
  if (value === null || value === undefined) return "-";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e6) return value.toExponential(Math.max(0, digits - 2)).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(digits)));
}

function large(value) {
  for (const [unit, step] of [[" G", 1e9], [" M", 1e6], [" k", 1e3]]) if (value >= step) return Number((value / step).toPrecision(3)) + unit;
  return String(Number(value.toPrecision(3)));
}

// A name in so much room: its end is kept, because names of one model begin alike.
function short(name, room) {
  const most = Math.floor(room / CHARACTER);
  if (name.length <= most) return name;
  if (most < 4) return "";
  if (most < 16) return "\u2026" + name.slice(name.length - most + 1);
  const tail = Math.ceil((most - 1) * 0.6);
  return name.slice(0, most - 1 - tail) + "\u2026" + name.slice(name.length - tail);
}

function ticks(low, high, wanted) {
  const rough = (high - low) / wanted, size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * size).find((each) => each >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-6; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

function decades(low, high, most) {
  const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9), found = [];
  const step = Math.max(1, Math.ceil((last - first + 1) / most));
  for (let k = last; k >= first; k -= step) found.unshift(Number((10 ** k).toPrecision(6)));
  return found.length ? found : [low, high];
}

// From a value to a place; what lies outside is at the edge.
function scale(low, high, from, to, log = false) {
  const at = log ? (value) => Math.log(Math.max(value, low)) : (value) => value;
  const first = at(low), span = at(high) - first || 1;
  return (value) => from + Math.min(1, Math.max(0, (at(value) - first) / span)) * (to - from);
}

// Symbols that are told apart without their colour.
const SHAPES = [
  (x, y, r) => `M${x - r},${y}a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0z`,
  (x, y, r) => `M${x - r},${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
  (x, y, r) => `M${x},${y - 1.3 * r}l${1.25 * r},${2.2 * r}h${-2.5 * r}z`,
  (x, y, r) => `M${x},${y - 1.4 * r}l${1.4 * r},${1.4 * r}l${-1.4 * r},${1.4 * r}l${-1.4 * r},${-1.4 * r}z`,
  (x, y, r) => `M${x},${y + 1.3 * r}l${1.25 * r},${-2.2 * r}h${-2.5 * r}z`,
  (x, y, r) => `M${x - r / 2},${y - 1.3 * r}h${r}v${0.8 * r}h${0.8 * r}v${r}h${-0.8 * r}v${0.8 * r}h${-r}v${-0.8 * r}h${-0.8 * r}v${-r}h${0.8 * r}z`,
  (x, y, r) => `M${x - 1.3 * r},${y}l${0.65 * r},${-1.1 * r}h${1.3 * r}l${0.65 * r},${1.1 * r}l${-0.65 * r},${1.1 * r}h${-1.3 * r}z`,
  (x, y, r) => `M${x - 1.4 * r},${y - r}h${2.8 * r}l${-1.4 * r},${2 * r}z`,
];
const STAR = (x, y, r) => "M" + Array.from({ length: 10 }, (_, k) => {
  const reach = k % 2 ? r * 0.45 : r, turn = Math.PI * (k / 5 - 0.5);
  return `${px(x + reach * Math.cos(turn))},${px(y + reach * Math.sin(turn))}`;
}).join("L") + "z";
const shape = (number) => SHAPES[number % SHAPES.length];
const colour = (weight) => (weight.op === undefined ? 0 : Math.min(weight.op, 7));

function legend(place, rows) {
  place.replaceChildren(...rows.map(([draw, text]) => {
    const svg = s(null, "svg", { width: 22, height: 12, viewBox: "0 0 22 12", "aria-hidden": "true" });
    draw(svg);
    return el("span", {}, svg, text);
  }));
}
const swatch = (attributes) => (svg) => s(svg, "rect", { x: 5, y: 0.5, width: 11, height: 11, rx: 2, ...attributes });
const stroke = (attributes) => (svg) => s(svg, "line", { x1: 1, x2: 21, y1: 6, y2: 6, ...attributes });
const symbol = (draw, attributes) => (svg) => s(svg, "path", { d: draw(11, 6, 4), ...attributes });
// The clearest colours go to the operators with most parameters; what is left shares the last one.
function operators() {
  const own = data.operators.length <= COLOURS ? data.operators : data.operators.slice(0, COLOURS - 1), rest = data.operators.slice(own.length);
  return [
    ...own.map((name, number) => [swatch({ class: `f${number}` }), name]),
    ...(rest.length ? [[swatch({ class: `f${COLOURS - 1}` }), rest.length > 4 ? `${rest.length} other operators` : rest.join(", ")]] : []),
  ];
}

const matches = (weight) =>
  (!state.query || weight.name.toLowerCase().includes(state.query) || (weight.source || "").toLowerCase().includes(state.query)) &&
  (state.operator === "" || String(weight.op) === state.operator);

function say(text) {
  $("say").textContent = text;
}

let lit = null;
function light(number) {
  if (number === lit) return;
  for (const each of document.querySelectorAll(".lit")) each.classList.remove("lit");
  lit = number;
  if (number === undefined || number === null) return;
  for (const each of document.querySelectorAll(`[data-w="${number}"]`)) each.classList.add("lit");
}

function hint(lines, x, y) {
  const tip = $("tip");
  tip.replaceChildren(...lines.map((line) => el("div", {}, line)));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 14, window.innerWidth - width - 4))}px`;
  tip.style.top = `${y - height - 12 > 4 ? y - height - 12 : Math.min(y + 18, window.innerHeight - height - 4)}px`;
}

function unhint() {
  $("tip").hidden = true;
  light(null);
}

// Numbers of a drawing, by pointer and by arrow keys. An item: x, y, lines of text, and the weight w that it is of.
const explored = new WeakMap();
function explore(box, svg, items, about, { step = () => 1, across = false, box: frame = false, reach = 40 } = {}) {
  const before = explored.get(box);
  if (before) before.abort();
  const control = new AbortController(), listen = { signal: control.signal };
  explored.set(box, control);
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", items.length ? `${about} Arrow keys read the numbers.` : about);
  if (!items.length) return;
  if (!box.hasAttribute("tabindex")) box.tabIndex = 0;
  const ring = frame ? s(svg, "rect", { class: "cursor", visibility: "hidden" }) : s(svg, "circle", { class: "ring", r: 6.5, visibility: "hidden" });
  let at = -1;

  function show(number, loud) {
    at = number;
    const item = items[at], place = svg.getBoundingClientRect(), size = place.width / svg.viewBox.baseVal.width;
    for (const [name, value] of Object.entries(frame ? { x: item.x - item.width / 2, y: item.y - item.height / 2, width: item.width, height: item.height } : { cx: item.x, cy: item.y }))
      ring.setAttribute(name, px(value));
    ring.setAttribute("visibility", "visible");
    const lines = item.lines();
    if (loud) {
      const inside = box.getBoundingClientRect(), x = place.left + item.x * size, y = place.top + item.y * size;
      if (x < inside.left + 20 || x > inside.right - 20) box.scrollLeft += x - inside.left - inside.width / 2;
      if (y < inside.top + 20 || y > inside.bottom - 20) box.scrollTop += y - inside.top - inside.height / 2;
      say(lines.join("; "));
    }
    const now = svg.getBoundingClientRect();
    hint(lines, now.left + item.x * size, now.top + item.y * size);
    light(item.w);
  }
  function hide() {
    ring.setAttribute("visibility", "hidden");
    unhint();
  }
  box.addEventListener("pointermove", (event) => {
    const place = svg.getBoundingClientRect(), size = place.width / svg.viewBox.baseVal.width;
    const x = (event.clientX - place.left) / size, y = (event.clientY - place.top) / size;
    let best = -1, nearest = reach * reach;
    items.forEach((item, number) => {
      const away = (item.x - x) ** 2 + (across ? 0 : (item.y - y) ** 2);
      if (away < nearest) [best, nearest] = [number, away];
    });
    if (best >= 0) show(best, false);
    else hide();
  }, listen);
  box.addEventListener("pointerleave", hide, listen);
  box.addEventListener("blur", hide, listen);
  box.addEventListener("keydown", (event) => {
    const row = step();
    const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: row, ArrowUp: -row, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") return hide();
    if (!(event.key in moves) || event.target !== box) return;
    event.preventDefault();
    show(at < 0 ? 0 : Math.max(0, Math.min(items.length - 1, at + moves[event.key])), true);
  }, listen);
}

// A label of an axis in so much room: without its unit, if need be, which the numbers that are read out have.
function label(text, room) {
  return text.length * CHARACTER <= room ? text : short(text.replace(/, [^,]*$/, ""), room);
}

// Every how many-th number is written, from the last one on, so that none lies on another.
function every(xs, x, xText) {
  const wide = Math.max(...xs.map((value) => xText(value).length)) * CHARACTER;
  for (let k = 1; k < xs.length; k++) if (Math.abs(x(xs[xs.length - 1]) - x(xs[xs.length - 1 - k])) >= 1.5 * wide - 2) return k;
  return xs.length;
}

// Lines of a grid with their numbers, and what the axes are.
function axes(svg, { x, y, left, right, top, bottom, xs, ys, xText, yText, xLabel, yLabel, small = false }) {
  for (const value of ys) {
    s(svg, "line", { class: "grid", x1: left, x2: right, y1: px(y(value)), y2: px(y(value)) });
    s(svg, "text", { x: left - 7, y: px(y(value)) + 4, "text-anchor": "end" }, yText(value));
  }
  const { width, height } = svg.viewBox.baseVal, step = every(xs, x, xText);
  for (const [number, value] of xs.entries()) {
    const anchor = number === 0 && small ? "start" : number === xs.length - 1 ? "end" : "middle";
    s(svg, "line", { class: "grid", x1: px(x(value)), x2: px(x(value)), y1: top, y2: bottom });
    if ((xs.length - 1 - number) % step === 0) s(svg, "text", { x: px(x(value)) + (anchor === "end" ? 6 : 0), y: bottom + 14, "text-anchor": anchor }, xText(value));
  }
  s(svg, "line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom });
  if (xLabel) s(svg, "text", { x: (left + right) / 2, y: bottom + 29, "text-anchor": "middle" }, label(xLabel, 2 * Math.min((left + right) / 2, width - (left + right) / 2)));
  if (yLabel) s(svg, "text", { transform: `translate(11 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, label(yLabel, 2 * Math.min((top + bottom) / 2, height - (top + bottom) / 2)));
}
