// A bar for each weight in graph order: parameters above, level below.
function bars(box, levels, about, before) {
  const sparse = data.kind === "sparsity";
  const available = widthOf(box), left = 58, right = 10, top = 12, high = 150, gap = 22, low = 96;
  const slot = Math.max(7, (available - left - right) / weights.length), width = px(left + slot * weights.length + right);
  const flat = slot >= 64 || weights.every((weight) => weight.name.length * CHARACTER < slot - 4);
  const upright = !flat && slot >= 14, room = upright ? 112 : 18;
  const middle = top + high, second = middle + gap, end = second + low, height = end + room + 26;
  const svg = canvas(box, width, height);
  const most = Math.max(1, ...weights.map((weight) => weight.size || 0));
  const y = scale(0, most, middle, top), z = scale(0, 1, end, second);
  for (const value of ticks(0, most, 4)) {
    s(svg, "line", { class: "grid", x1: left, x2: width - right, y1: px(y(value)), y2: px(y(value)) });
    s(svg, "text", { x: left - 5, y: px(y(value)) + 4, "text-anchor": "end" }, large(value));
  }
  for (const value of [0, 0.5, 1]) {
    s(svg, "line", { class: "grid", x1: left, x2: width - right, y1: px(z(value)), y2: px(z(value)) });
    s(svg, "text", { x: left - 5, y: px(z(value)) + 4, "text-anchor": "end" }, `${value * 100} %`);
  }
  s(svg, "text", { transform: `translate(11 ${(top + middle) / 2}) rotate(-90)`, "text-anchor": "middle" }, "parameters");
  s(svg, "text", { transform: `translate(11 ${(second + end) / 2}) rotate(-90)`, "text-anchor": "middle" }, sparse ? "sparsity" : "saved");
  const every = Math.ceil(30 / slot), thick = px(Math.min(slot * 0.78, 46)), items = [];
  weights.forEach((weight, number) => {
    const level = levels[number] || 0, x = left + slot * (number + 0.5), from = px(x - thick / 2), hue = colour(weight);
    const group = s(svg, "g", { "data-w": number, class: matches(weight) ? "" : "dim" });
    const all = Math.max(1, middle - y(weight.size || 0)), kept = all * (1 - level);
    s(group, "rect", { class: `gone f${hue} s${hue}`, x: from, y: px(middle - all), width: thick, height: px(all) });
    s(group, "rect", { class: `kept f${hue}`, x: from, y: px(middle - kept), width: thick, height: px(kept) });
    s(group, "rect", { class: `kept f${hue}`, x: from, y: px(z(level)), width: thick, height: px(end - z(level)) });
    if (before) {
      const mark = px(z(before[number] || 0));
      s(group, "line", { class: "before", x1: px(from - 1.5), x2: px(from + thick + 1.5), y1: mark, y2: mark });
    }
    if (flat) s(svg, "text", { class: "mono", x: px(x), y: end + 15, "text-anchor": "middle" }, short(weight.name, slot - 6));
    else if (upright) s(svg, "text", { class: "mono", transform: `translate(${px(x + 4)} ${end + 7}) rotate(-90)`, "text-anchor": "end" }, short(weight.name, room - 8));
    else if (number % every === 0) s(svg, "text", { x: px(x), y: end + 14, "text-anchor": "middle" }, number + 1);
    items.push({
      x, y: z(level), w: number,
      lines: () => [
        weight.name,
        ...(weight.source ? [weight.source] : []),
        `${data.operators[weight.op] ?? ""}, ${count(weight.size || 0)} parameters`,
        `${percent(level)} ${sparse ? "sparse" : "saved"}${before ? `; ${percent(before[number] || 0)} in this run's plan` : ""}`,
      ],
    });
  });
  s(svg, "line", { class: "axis", x1: left, x2: width - right, y1: middle, y2: middle });
  s(svg, "line", { class: "axis", x1: left, x2: width - right, y1: end, y2: end });
  s(svg, "text", { x: px(Math.min(width, available) / 2), y: height - 5, "text-anchor": "middle" }, flat || upright ? "weights in graph order" : "number of the weight, in graph order");
  explore(box, svg, items, about, { across: true, reach: slot });
}

function drawPlan() {
  const box = $("bars");
  if (!box) return;
  bars(box, weights.map((weight) => weight.level), "The plan, a bar for each weight.");
  const lost = data.kind === "sparsity" ? "zeroed" : "saved";
  legend($("bars-key"), [...operators(), [swatch({ class: "filled" }), "kept"], [swatch({ class: "hollow", width: 10, height: 10, y: 1 }), lost]]);
}

// The table: headers that sort, rows that a filter leaves out.
function sortable(table) {
  const body = table.tBodies[0], rows = [...body.rows];
  const keys = {
    order: (number) => number,
    name: (number) => weights[number].name.toLowerCase(),
    source: (number) => (weights[number].source || "").toLowerCase(),
    op: (number) => data.operators[weights[number].op] || "",
    size: (number) => weights[number].size || 0,
    level: (number) => weights[number].level || 0,
    zeros: (number) => weights[number].zeros || 0,
    half: (number) => dropAt(weights[number], data.search ?? 0, 0.5) ?? -1,
    alone: (number) => alone(weights[number]),
  };
  for (const head of table.tHead.querySelectorAll("th[data-key]")) {
    const button = el("button", { type: "button" }, head.textContent);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending", key = keys[head.dataset.key];
      for (const other of table.tHead.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const ordered = rows.map((row) => [key(Number(row.dataset.w)), Number(row.dataset.w), row]);
      ordered.sort(([a, i], [b, j]) => (a < b ? -1 : a > b ? 1 : 0) * (falling ? -1 : 1) || i - j);
      body.append(...ordered.map(([, , row]) => row));
    });
  }
  for (const row of rows) {
    row.addEventListener("pointerenter", () => light(Number(row.dataset.w)));
    row.addEventListener("pointerleave", () => light(null));
  }
}

// What a weight loses by itself where the plan has it; without a plan, how much of it was measured.
function alone(weight) {
  if (weight.level === undefined) return points(weight, data.search ?? 0).length;
  if (!weight.level) return 0;
  return dropAt(weight, data.search ?? 0, weight.level) ?? -1;
}

function filterTable() {
  const table = $("weights");
  for (const row of table.tBodies[0].rows) row.hidden = !matches(weights[Number(row.dataset.w)]);
}
