// Rows of coloured cells: one path for each colour, however many cells there are.
const BINS = 9;

function heat(box, { rows, columns, bin, label, lines, about, text, over, head = 18, cell: wish, upright = false }) {
  const available = widthOf(box), names = Math.min(190, Math.max(60, available * 0.24)), row = rows.length > 120 ? 13 : 17;
  const wide = Math.max(wish || 14, Math.floor((available - names - 10) / columns.length));
  const width = names + wide * columns.length + 8, height = head + row * rows.length + 6, svg = canvas(box, width, height);
  const cells = Array.from({ length: BINS }, () => ""), items = [], texts = [];
  rows.forEach((number, place) => {
    const y = head + place * row;
    s(svg, "text", { class: "mono", x: names - 6, y: y + row - (row > 15 ? 5 : 3), "text-anchor": "end", "data-w": number }, short(weights[number].name, names - 8));
    columns.forEach((column, k) => {
      const shade = bin(number, column), x = names + k * wide;
      if (shade !== null) cells[shade] += `M${x},${y}h${wide - 1}v${row - 1}h${-(wide - 1)}z`;
      if (text && shade !== null) texts.push([x + (wide - 1) / 2, y + row - 5, text(number, column), shade]);
      items.push({ x: x + wide / 2, y: y + row / 2, width: wide, height: row, w: number, lines: () => lines(number, column) });
    });
  });
  cells.forEach((d, shade) => d && s(svg, "path", { class: `cell h${shade}`, d }));
  for (const [x, y, words, shade] of texts) s(svg, "text", { class: shade > 4 ? "t1" : "t0", x, y, "text-anchor": "middle" }, words);
  columns.forEach((column, k) => {
    const words = label(column, k), x = names + k * wide + (wide - 1) / 2;
    if (!words) return;
    if (upright) s(svg, "text", { transform: `translate(${x + 4} ${head - 6}) rotate(-90)`, "text-anchor": "start" }, short(words, (head - 8) * 1.12));
    else s(svg, "text", { x, y: head - 6, "text-anchor": "middle" }, words);
  });
  if (over) over(svg, { at: (share) => names + share * wide * columns.length, top: (place) => head + place * row, row });
  explore(box, svg, items, about, { step: () => columns.length, box: true, reach: Math.max(wide, row) });
}

function scaleKey(place, bounds, rest) {
  const width = 26, svg = s(null, "svg", { width: width * BINS + 48, height: 28, viewBox: `0 0 ${width * BINS + 48} 28`, "aria-hidden": "true" });
  for (let k = 0; k < BINS; k++) s(svg, "rect", { class: `h${k}`, x: 20 + k * width, y: 1, width: width - 1, height: 11 });
  for (const [k, words] of bounds) s(svg, "text", { x: 20 + k * width, y: 25, "text-anchor": "middle" }, words);
  const rows = el("span", {}, svg);
  legend(place, rest);
  place.prepend(rows);
}

function drawHeat() {
  const box = $("map");
  if (!box) return;
  const metric = state.metric, rows = weights.map((_, number) => number).filter((number) => matches(weights[number]));
  const levels = Array.from({ length: 20 }, (_, k) => Math.round(5 * (k + 1)) / 100);
  let high = 0;
  for (const weight of weights) for (const [, drop] of points(weight, metric)) high = Math.max(high, drop);
  high = high || 1e-3;
  const decadesDown = 4, bounds = (k) => high * 10 ** (-decadesDown * (1 - k / (BINS - 1)));
  const bin = (drop) => {
    for (let k = 0; k < BINS - 1; k++) if (drop < bounds(k)) return k;
    return BINS - 1;
  };
  heat(box, {
    rows, columns: levels, about: `Heat map, ${dropLabel(metric)} by weight and ${levelWord()}.`,
    bin: (number, level) => {
      const drop = dropAt(weights[number], metric, level);
      return drop === null ? null : bin(Math.max(drop, 0));
    },
    label: (level, k) => ((k + 1) % 4 === 0 ? `${Math.round(level * 100)} %` : ""),
    lines: (number, level) => {
      const weight = weights[number], drop = dropAt(weight, metric, level);
      const measured = points(weight, metric).some((point) => Math.abs(point[0] - level) < 5e-4);
      return [weight.name, `${percent(level)}: ${drop === null ? "unknown" : `drop ${num(drop, 3)}${unit(metric)}, ${measured ? "measured" : guess(weight, metric) ? "predicted" : "between measured points"}`}`];
    },
    over: (svg, { at, top, row }) => {
      const shift = 0.5 / 20; // a cell stands around its level
      rows.forEach((number, place) => {
        const weight = weights[number], y = top(place);
        if (weight.level > 0) {
          const x = px(at(Math.max(0, weight.level - shift)));
          s(svg, "line", { class: "under", x1: x, x2: x, y1: y + 2, y2: y + row - 3 });
          s(svg, "line", { class: "ours", x1: x, x2: x, y1: y + 2, y2: y + row - 3 });
        }
        const dots = points(weight, metric).map(([level]) => SHAPES[0](px(at(Math.max(0, level - shift))), y + row / 2 - 0.5, 2)).join("");
        if (dots) s(svg, "path", { class: "seen", d: dots });
      });
    },
  });
  scaleKey($("map-key"), [[1, num(bounds(0), 1)], [3, num(bounds(2), 1)], [5, num(bounds(4), 1)], [7, num(bounds(6), 1)], [9, num(high, 2)]], [
    [symbol(SHAPES[0], { class: "seen" }), "measured"],
    ...(weights.some((weight) => weight.level !== undefined) ? [[(svg) => s(svg, "line", { class: "ours", x1: 11, x2: 11, y1: 1, y2: 11 }), "the plan"]] : []),
  ]);
}

function drawChoices() {
  const box = $("choices");
  if (!box || !data.pickers.length) return;
  const rows = weights.map((_, number) => number).filter((number) => matches(weights[number]) && weights[number].picks);
  const columns = [...data.pickers.keys(), -1];
  const level = (number, picker) => (picker < 0 ? weights[number].level : weights[number].picks[picker]);
  const name = (picker) => (picker < 0 ? "the plan" : data.pickers[picker].name);
  heat(box, {
    rows, columns, head: 96, cell: 30, upright: true, about: "What each picker would do to each weight.",
    bin: (number, picker) => (level(number, picker) === null ? null : Math.min(BINS - 1, Math.floor(level(number, picker) * BINS))),
    label: name,
    text: rows.length <= 120 ? (number, picker) => String(Math.round(level(number, picker) * 100)) : null,
    lines: (number, picker) => [weights[number].name, `${name(picker)}: ${level(number, picker) === null ? "nothing" : percent(level(number, picker))}`],
  });
  scaleKey($("choices-key"), [[0, "0 %"], [4.5, "50 %"], [9, "100 %"]], [[() => {}, `${data.kind}, % of each weight`]]);
}
