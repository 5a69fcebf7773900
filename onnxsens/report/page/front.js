// Whole plans: what the curves add up to against what was measured, and the front with its slider.
function summed(levels) {
  let total = 0;
  for (const [number, weight] of weights.entries()) {
    const level = levels[number];
    if (!level) continue;
    const drop = dropAt(weight, data.search, level);
    if (drop === null) return null;
    total += Math.max(drop, 0);
  }
  return total;
}

function drawScatter() {
  const box = $("scatter");
  if (!box) return;
  const figure = box.parentElement, metric = data.search, found = [];
  if (metric !== null) {
    data.wholes.forEach((whole, picker) => {
      const said = summed(weights.map((weight) => weight.picks?.[picker] ?? 0)), drop = whole.drops[metric];
      if (said > 0 && drop > 0) found.push({ said, drop, kind: whole.chosen ? "chosen" : "picker", lines: [`${whole.name}, ${percent(whole.level)}`] });
    });
    for (const point of data.front?.points ?? []) {
      const said = summed(point.levels), drop = point.drops[metric];
      if (said > 0 && drop > 0) found.push({ said, drop, kind: "front", lines: [`front at ${percent(point.level)}, ${point.picker}`] });
    }
    weights.forEach((weight, number) => {
      for (const [level, said, drop] of weight.foretold ?? [])
        if (said > 0 && drop > 0) found.push({ said, drop, kind: "single", w: number, lines: [weight.name, `${percent(level)}, from its other points`] });
    });
  }
  figure.hidden = found.length < 2;
  if (figure.hidden) return;
  const values = found.flatMap((each) => [each.said, each.drop]);
  const high = Math.max(...values) * 1.5, low = Math.max(Math.min(...values) / 1.5, high * 1e-7);
  const width = Math.min(widthOf(box), 760), height = Math.min(440, Math.max(300, width * 0.62)), svg = canvas(box, width, height);
  const place = { left: 64, right: width - 14, top: 10, bottom: height - 36 };
  const x = scale(low, high, place.left, place.right, true), y = scale(low, high, place.bottom, place.top, true);
  const lines = decades(low, high, 6);
  axes(svg, { x, y, ...place, xs: lines, ys: lines, xText: (value) => num(value, 1), yText: (value) => num(value, 1), xLabel: `predicted ${dropLabel(metric)}`, yLabel: `measured ${dropLabel(metric)}` });
  s(svg, "line", { class: "diagonal", x1: place.left, y1: place.bottom, x2: place.right, y2: place.top });
  const looks = { single: ["beaten", SHAPES[0], 3], front: ["on", SHAPES[0], 4], picker: ["pick", SHAPES[3], 4], chosen: ["star", STAR, 9] };
  const items = [];
  for (const kind of Object.keys(looks))
    for (const each of found.filter((one) => one.kind === kind)) {
      const [look, draw, size] = looks[kind], where = [px(x(each.said)), px(y(each.drop))];
      s(svg, "path", { class: look, d: draw(...where, size) });
      items.push({ x: where[0], y: where[1], w: each.w, lines: () => [...each.lines, `predicted ${num(each.said, 3)}, measured ${num(each.drop, 3)}${unit(metric)}`] });
    }
  items.sort((a, b) => a.x - b.x);
  explore(box, svg, items, "Predicted against measured drops.");
  const has = (kind) => found.some((each) => each.kind === kind);
  legend($("scatter-key"), [
    ...(has("single") ? [[symbol(SHAPES[0], { class: "beaten" }), "a point of one weight, predicted from its others"]] : []),
    ...(has("front") ? [[symbol(SHAPES[0], { class: "on" }), "a plan of the front"]] : []),
    ...(has("picker") ? [[symbol(SHAPES[3], { class: "pick" }), "a picker's plan"]] : []),
    ...(has("chosen") ? [[symbol((a, b) => STAR(a, b, 6), { class: "star" }), "the chosen plan"]] : []),
    [stroke({ class: "diagonal" }), "as predicted"],
  ]);
}

let budget = null;
function frontMetric() {
  const front = data.front, known = (metric) => front.points.some((point) => point.drops[metric] !== null && point.drops[metric] !== undefined);
  return known(state.frontMetric) ? state.frontMetric : front.metric;
}

function drawFront() {
  const box = $("pareto");
  if (!box || !data.front) return;
  const { points: all } = data.front, metric = frontMetric(), log = state.frontAxis === "log";
  const known = all.filter((point) => point.drops[metric] !== null), chosen = data.wholes.find((whole) => whole.chosen);
  const own = chosen && chosen.drops[metric] !== null ? chosen : null, limit = data.metrics[metric].limit;
  const values = [...known.map((point) => point.drops[metric]), ...(own ? [own.drops[metric]] : []), ...(limit ? [limit * 1.2] : [])];
  // Where there is a limit, the front is of interest near it, and what is far above is at the edge.
  const most = Math.max(1e-9, ...values), near = limit && !log ? Math.max(4 * limit, own ? 2 * own.drops[metric] : 0) : most;
  const cut = near < most, high = cut ? near : most * (log ? 1.5 : 1.06), above = values.filter((value) => value > 0);
  const low = log ? Math.max(Math.min(...above, high) / 1.5, high * 1e-7) : Math.min(0, ...values);
  const width = widthOf(box), height = width < 500 ? 250 : 320, svg = canvas(box, width, height);
  const place = { left: 64, right: width - 16, top: 10, bottom: height - 36 };
  const x = scale(0, 1, place.left, place.right), y = scale(low, high, place.bottom, place.top, log);
  axes(svg, {
    x, y, ...place, xs: [0, 0.2, 0.4, 0.6, 0.8, 1], ys: log ? decades(low, high, 6) : ticks(low, high, 5),
    xText: (value) => `${Math.round(value * 100)} %`, yText: (value) => num(value, 2),
    xLabel: data.kind === "sparsity" ? "sparsity of the whole plan" : "saved share of 32 bits", yLabel: dropLabel(metric),
  });
  if (limit) s(svg, "line", { class: "limit", x1: place.left, x2: place.right, y1: px(y(limit)), y2: px(y(limit)) });
  s(svg, "path", { class: "front", d: path(known.filter((point) => point.on).map((point) => [point.level, point.drops[metric]]), x, y, low, high) });
  const items = [];
  for (const point of known) {
    const where = [px(x(point.level)), px(y(point.drops[metric]))];
    s(svg, "path", { class: point.on ? "on" : "beaten", d: SHAPES[point.drops[metric] > high ? 2 : 0](...where, 4) });
    items.push({ x: where[0], y: where[1], lines: () => [`${percent(point.level)}, ${point.picker}`, ...dropsOf(point), point.on ? "on the front" : "beaten"] });
  }
  if (own) {
    const where = [px(x(own.level)), px(y(own.drops[metric]))];
    s(svg, "path", { class: "star", d: STAR(...where, 9) });
    items.push({ x: where[0], y: where[1], lines: () => ["this run's plan, search split", `${percent(own.level)}`, ...dropsOf(own)] });
  }
  if (budget && budget.drops[metric] !== null) s(svg, "circle", { class: "now", cx: px(x(budget.level)), cy: px(y(budget.drops[metric])), r: 8 });
  items.sort((a, b) => a.x - b.x);
  explore(box, svg, items, `Pareto front, ${dropLabel(metric)} by ${levelWord()}.`);
  legend($("pareto-key"), [
    [symbol(SHAPES[0], { class: "on" }), "on the front"],
    ...(known.some((point) => !point.on) ? [[symbol(SHAPES[0], { class: "beaten" }), "beaten by a sparser one that loses less"]] : []),
    ...(cut ? [[symbol(SHAPES[2], { class: "on" }), `above ${num(high, 2)}`]] : []),
    ...(own ? [[symbol((a, b) => STAR(a, b, 6), { class: "star" }), "this run's plan"]] : []),
    [(svg2) => s(svg2, "circle", { class: "now", cx: 11, cy: 6, r: 4.5 }), "shown below"],
    ...(limit ? [[stroke({ class: "limit" }), "limit of the goal"]] : []),
  ]);
}

const dropsOf = (point) => data.metrics.map((metric, number) => [metric, point.drops[number]]).filter(([, drop]) => drop !== null && drop !== undefined)
  .map(([{ name, unit: of }, drop]) => `${name} drop ${num(drop, 4)}${of ? ` ${of}` : ""}`);

function drawBudget() {
  if (!budget) return;
  bars($("budget-bars"), budget.levels, `The plan at this ${levelWord()}, a bar for each weight.`, weights.map((weight) => weight.level));
  legend($("budget-key"), [...operators(), [stroke({ class: "before" }), "this run's plan"]]);
}

function setUpFront() {
  if (!data.front) return;
  const limited = data.metrics.findIndex((metric, number) => metric.limit !== null && data.front.points.some((point) => point.drops[number] !== null));
  state.frontMetric = limited < 0 ? data.front.metric : limited;
  data.metrics.forEach(({ name }, number) => $("front-metric").append(el("option", { value: number }, name)));
  $("front-metric").value = frontMetric();
  $("front-controls").hidden = false;
  $("front-metric").addEventListener("change", () => {
    state.frontMetric = Number($("front-metric").value);
    drawFront();
  });
  for (const radio of document.querySelectorAll("[name=front-axis]"))
    radio.addEventListener("change", () => {
      state.frontAxis = radio.value;
      drawFront();
    });
  setUpSlider();
}

function setUpSlider() {
  const usable = data.front.points.filter((point) => point.on), input = $("budget");
  if (!usable.length) return;
  $("slider").hidden = false;
  input.max = usable.length - 1;
  const wanted = data.wholes.find((whole) => whole.chosen)?.level ?? 0.5;
  const nearest = usable.reduce((best, point, k) => (Math.abs(point.level - wanted) < Math.abs(usable[best].level - wanted) ? k : best), 0);
  input.value = nearest;
  function show() {
    budget = usable[Number(input.value)];
    const said = `${percent(budget.level)} ${data.kind === "sparsity" ? "sparse" : "saved"} \u00b7 ${dropsOf(budget).join(" \u00b7 ")} \u00b7 ${budget.picker}, on ${count(budget.samples)} search samples`;
    $("budget-text").textContent = said;
    input.setAttribute("aria-valuetext", said);
    if (data.front.command) {
      $("budget-made").hidden = false;
      $("budget-command").textContent = `${data.front.command[0]} ${Number(budget.level.toFixed(4))} ${data.front.command[1]}`;
    }
    drawFront();
    drawBudget();
  }
  input.addEventListener("input", show);
  show();
}
