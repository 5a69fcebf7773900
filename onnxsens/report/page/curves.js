const CROWDED = 40; // weights in one drawing, from which on it has no bars

// Curves of single weights. A point: level, drop, half of its interval, samples.
function points(weight, metric, technique = data.technique) {
  const found = weight.lines.filter((line) => line[0] === metric);
  const line = found.find((each) => each[1] === technique);
  if (!line) return [];
  const [, , levels, drops, errors, samples] = line;
  return levels.map((level, k) => [level, drops[k], errors[k], Array.isArray(samples) ? samples[k] : samples]);
}

// The nearest drops, by squares, that never fall: isotonic regression, all points alike, from a drop of 0 where it is dense.
function monotone(measured) {
  const blocks = [];
  for (const [, drop] of [[0, 0], ...measured]) {
    let block = [drop, 1];
    while (blocks.length && blocks[blocks.length - 1][0] >= block[0]) {
      const [mean, size] = blocks.pop();
      block = [(mean * size + block[0] * block[1]) / (size + block[1]), size + block[1]];
    }
    blocks.push(block);
  }
  const flat = blocks.flatMap(([mean, size]) => Array(size).fill(Math.max(0, mean)));
  return measured.map(([level, , error, samples], k) => [level, flat[k + 1], error, samples]);
}

const shownPoints = (weight, metric) => (state.points === "monotone" ? monotone(points(weight, metric)) : points(weight, metric));

function guess(weight, metric) {
  if (metric !== data.search || !weight.predicted) return null;
  const [grid, drops] = weight.predicted;
  return data.grids[grid].map((level, k) => [level, drops[k]]);
}

function between(line, level) {
  for (let k = 1; k < line.length; k++) {
    const [low, start] = line[k - 1], [high, end] = line[k];
    if (low <= level && level <= high && high > low) return start + ((level - low) / (high - low)) * (end - start);
  }
  return null;
}

// Measured there, or predicted, or between two points; null where nothing is known.
function dropAt(weight, metric, level) {
  const measured = shownPoints(weight, metric);
  const near = measured.find((point) => Math.abs(point[0] - level) < 5e-4);
  if (near) return near[1];
  const predicted = guess(weight, metric);
  return predicted ? between(predicted, level) : between([[0, 0], ...measured], level);
}

function range(metric) {
  let high = 0, low = 0, least = Infinity;
  for (const weight of weights) {
    for (const [, drop, error] of points(weight, metric)) {
      high = Math.max(high, drop + error);
      low = Math.min(low, drop - error);
      if (drop > 0) least = Math.min(least, drop);
    }
    const there = weight.level ? dropAt(weight, metric, weight.level) : null;
    if (there > 0) [high, least] = [Math.max(high, there), Math.min(least, there)];
  }
  const limit = data.metrics[metric]?.limit;
  if (limit) high = Math.max(high, limit * 1.15);
  high = high || 1e-3;
  if (state.axis === "log") low = Math.max(Math.min(least, high / 10) / 3, high * 1e-5);
  else low = low < 0 ? low : 0;
  return [low, high * (state.axis === "log" ? 1.3 : 1.05)];
}

// Drops that differ a hundredfold are told apart on a logarithmic axis only.
function axisFor(drops) {
  const above = drops.filter((drop) => drop > 0);
  return above.length > 0.9 * drops.length && Math.max(...above) > 100 * Math.min(...above) ? "log" : "linear";
}

// A line, without what is above or below the drawing.
function path(line, x, y, low, high) {
  let d = "", pen = false;
  const write = (level, drop) => {
    d += `${pen ? "L" : "M"}${px(x(level))},${px(y(drop))}`;
    pen = true;
  };
  line.forEach(([level, drop], k) => {
    const inside = drop >= low && drop <= high;
    if (k) {
      const [before, start] = line[k - 1], edges = [low, high].filter((edge) => (start - edge) * (drop - edge) < 0);
      if (drop < start) edges.reverse();
      for (const edge of edges) {
        const share = (edge - start) / (drop - start);
        if (pen && (start < low || start > high)) pen = false;
        write(before + share * (level - before), edge);
      }
    }
    if (inside) {
      if (!pen || !k) pen = false;
      write(level, drop);
    } else pen = false;
  });
  return d;
}

function drawCurve(group, weight, number, { x, y, low, high, small }) {
  const metric = state.metric, hue = colour(weight), measured = shownPoints(weight, metric);
  const predicted = state.predicted ? guess(weight, metric) : null;
  if (small)
    weight.lines.filter((line) => line[0] === metric && line[1] !== data.technique).forEach((line) =>
      s(group, "path", { class: "chance", d: path(line[2].map((level, k) => [level, line[3][k]]), x, y, low, high) }));
  // One point and a prediction through it: a straight line to it would say what nobody knows.
  const line = state.axis === "log" ? measured : [[0, 0], ...measured];
  if (measured.length > 1 || !predicted) s(group, "path", { class: `curve s${hue}`, d: path(line, x, y, low, high) });
  if (predicted) s(group, "path", { class: `guess s${hue}`, d: path(predicted, x, y, low, high) });
  const items = [], crowded = !small && weights.length > CROWDED;
  for (const [level, drop, error, samples] of measured) {
    const where = [px(x(level)), px(y(drop))];
    if (error > 0 && !crowded) s(group, "line", { class: `error s${hue}`, x1: where[0], x2: where[0], y1: px(y(drop - error)), y2: px(y(drop + error)) });
    s(group, "path", { class: `f${hue}`, d: shape(small ? 0 : weight.op ?? 0)(where[0], where[1], small ? 2.6 : crowded ? 2 : 3) });
    items.push({
      x: where[0], y: where[1], w: number,
      lines: () => [
        weight.name,
        `${percent(level)} ${data.kind === "sparsity" ? "sparse" : "saved"}: drop ${num(drop)} \u00b1 ${num(error, 2)}${unit(metric)}`,
        `measured on ${count(samples)} samples${state.points === "monotone" ? ", made monotone" : ""}`,
      ],
    });
  }
  return items;
}

const unit = (metric) => (data.metrics[metric]?.unit ? ` ${data.metrics[metric].unit}` : "");
const dropLabel = (metric) => `drop of ${data.metrics[metric].name}${data.metrics[metric].unit ? `, ${data.metrics[metric].unit}` : ""}`;
const levelLabel = () => (data.kind === "sparsity" ? "sparsity of the weight" : "saved share of 32 bits");

function frameOf(svg, metric, low, high, place, small) {
  const log = state.axis === "log";
  const x = scale(0, 1, place.left, place.right), y = scale(low, high, place.bottom, place.top, log);
  axes(svg, {
    x, y, ...place, small,
    xs: small ? [0, 0.5, 1] : [0, 0.2, 0.4, 0.6, 0.8, 1],
    ys: log ? decades(low, high, small ? 4 : 7) : ticks(low, high, small ? 3 : 5),
    xText: (value) => `${Math.round(value * 100)} %`, yText: (value) => num(value, 2),
    xLabel: small ? "" : levelLabel(), yLabel: small ? "" : dropLabel(metric),
  });
  const limit = data.metrics[metric].limit;
  if (limit && limit <= high) s(svg, "line", { class: "limit", x1: place.left, x2: place.right, y1: px(y(limit)), y2: px(y(limit)) });
  return { x, y, low, high, small };
}

function drawOverlay() {
  const box = $("overlay"), metric = state.metric, [low, high] = range(metric);
  const width = widthOf(box), height = width < 500 ? 280 : 360, svg = canvas(box, width, height);
  const place = { left: 58, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  const frame = frameOf(svg, metric, low, high, place, false), items = [];
  weights.forEach((weight, number) => {
    const group = s(svg, "g", { "data-w": number, class: `${matches(weight) ? "" : "dim"}${weights.length > CROWDED ? " crowd" : ""}` });
    const found = drawCurve(group, weight, number, frame);
    const predicted = guess(weight, metric);
    if (weight.level !== undefined) {
      const drop = dropAt(weight, metric, weight.level);
      if (drop !== null && drop <= high) {
        const where = [px(frame.x(weight.level)), px(frame.y(drop))];
        s(group, "path", { class: `pick s${colour(weight)}`, d: SHAPES[3](...where, 3.2) });
        found.push({
          x: where[0], y: where[1], w: number,
          lines: () => [weight.name, `the plan takes ${percent(weight.level)}`, `${predicted ? "predicted" : "about"} drop by itself ${num(drop, 3)}${unit(metric)}`],
        });
      }
    }
    if (matches(weight)) items.push(...found);
  });
  explore(box, svg, items, `Curves of all weights, ${dropLabel(metric)}.`);
  legend($("overlay-key"), [
    ...data.operators.map((name, number) => [symbol(shape(number), { class: `f${Math.min(number, 7)}` }), name]),
    [stroke({ class: "curve s7" }), "measured"],
    ...(metric === data.search ? [[stroke({ class: "guess s7" }), "predicted"]] : []),
    ...(weights.some((weight) => weight.level !== undefined) ? [[symbol(SHAPES[3], { class: "pick s7" }), "the plan"]] : []),
    ...(data.metrics[metric].limit ? [[stroke({ class: "limit" }), "limit of the goal, for the whole plan"]] : []),
  ]);
}

function drawSmall() {
  const place = $("small"), metric = state.metric, [low, high] = range(metric);
  const wanted = weights.map((weight, number) => [weight, number]).filter(([weight]) => matches(weight));
  const drawn = wanted.slice(0, wanted.length < 1.25 * state.most ? wanted.length : state.most);
  place.replaceChildren(...drawn.map(([weight, number], order) => {
    const box = el("div", { tabindex: order ? -1 : 0 });
    const small = weight.level === undefined ? [] : [el("small", {}, percent(weight.level))];
    const figure = el("figure", { "data-w": number }, el("figcaption", {}, el("span", {}, weight.name), ...small), box);
    const width = 262, height = 138, svg = canvas(box, width, height);
    const frame = frameOf(svg, metric, low, high, { left: 46, right: width - 10, top: 8, bottom: height - 20 }, true);
    const items = drawCurve(svg, weight, number, frame);
    if (weight.level !== undefined) {
      const x = px(frame.x(weight.level));
      s(svg, "line", { class: "plan", x1: x, x2: x, y1: 8, y2: height - 20 });
    }
    if (state.picks && weight.picks)
      weight.picks.forEach((level, picker) => {
        if (level === null) return;
        const drop = dropAt(weight, metric, level), x = frame.x(level), y = frame.y(drop === null ? high : drop);
        s(svg, "path", { class: "pick", d: shape(picker)(px(x), px(y), 3) });
        items.push({ x, y, w: number, lines: () => [weight.name, `${data.pickers[picker].name}: ${percent(level)}`, drop === null ? "drop there unknown" : `drop by itself about ${num(drop, 3)}${unit(metric)}`] });
      });
    items.sort((a, b) => a.x - b.x);
    explore(box, svg, items, `${weight.name}: drop by ${levelWord()}.`, { step: () => 1, reach: 24 });
    if (!items.length) box.removeAttribute("tabindex");
    return figure;
  }));
  legend($("small-key"), [
    ...(weights.some((weight) => weight.level !== undefined) ? [[(svg) => s(svg, "line", { class: "plan", x1: 11, x2: 11, y1: 0, y2: 12 }), "the plan"]] : []),
    ...(state.picks ? data.pickers.map(({ name }, number) => [symbol(shape(number), { class: "pick" }), name]) : []),
    ...(data.techniques.length > 1 ? [[stroke({ class: "chance" }), data.techniques.filter((_, number) => number !== data.technique).join(", ")]] : []),
  ]);
  const left = wanted.length - drawn.length, more = $("more");
  more.hidden = left <= 0;
  more.textContent = left > 120 ? `Draw 120 more of ${left}` : `Draw the other ${left}`;
}

// One stop for the tab key; up and down go from drawing to drawing, left and right from point to point.
function roveSmall() {
  $("small").addEventListener("keydown", (event) => {
    const away = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!away) return;
    event.preventDefault();
    event.stopPropagation();
    const boxes = [...$("small").querySelectorAll("[tabindex]")], next = boxes[boxes.indexOf(document.activeElement) + away];
    if (!next) return;
    for (const box of boxes) box.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }, true);
}
