"use strict";
(() => {
  // Names get onto the page as text alone; nothing is parsed as HTML.
  const data = JSON.parse(document.getElementById("data").textContent);
  const place = document.getElementById("curves");
  const choice = document.getElementById("metric");
  if (!place) return;
  const WIDTH = 260, HEIGHT = 130, LEFT = 40, BOTTOM = 16, TOP = 8, RIGHT = 8;

  function add(parent, kind, attributes, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    parent.appendChild(made);
    return made;
  }

  function chart(weight, metric, low, high) {
    const x = (share) => LEFT + share * (WIDTH - LEFT - RIGHT);
    const y = (drop) => TOP + (high - Math.min(Math.max(drop, low), high)) / (high - low) * (HEIGHT - TOP - BOTTOM);
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute("role", "img");
    for (const drop of [low, (low + high) / 2, high]) {
      add(svg, "line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y(drop), y2: y(drop) });
      add(svg, "text", { x: LEFT - 4, y: y(drop) + 3, "text-anchor": "end" }, Number(drop.toPrecision(2)));
    }
    for (const share of [0, 0.5, 1]) {
      add(svg, "text", { x: x(share), y: HEIGHT - 4, "text-anchor": share === 0 ? "start" : share === 1 ? "end" : "middle" }, `${share * 100} %`);
    }
    if (weight.planned !== null) {
      add(svg, "line", { class: "planned", x1: x(weight.planned), x2: x(weight.planned), y1: TOP, y2: HEIGHT - BOTTOM });
    }
    weight.lines.filter((line) => line.metric === metric).forEach((line, number) => {
      const group = add(svg, "g", { class: number ? "second" : "first" });
      add(group, "title", {}, line.technique);
      const path = [[0, 0], ...line.points].map(([share, drop], at) => `${at ? "L" : "M"}${x(share).toFixed(1)} ${y(drop).toFixed(1)}`);
      add(group, "path", { class: "curve", d: path.join("") });
      for (const [share, drop, least, most, samples] of line.points) {
        add(group, "line", { class: "error", x1: x(share), x2: x(share), y1: y(least), y2: y(most) });
        const dot = add(group, "circle", { class: "dot", cx: x(share), cy: y(drop), r: 2 });
        add(dot, "title", {}, `${(share * 100).toFixed(1)} %: drop ${Number(drop.toPrecision(3))} on ${samples} samples`);
      }
    });
    return svg;
  }

  function draw(metric) {
    const drops = data.weights.flatMap((weight) => weight.lines)
      .filter((line) => line.metric === metric).flatMap((line) => line.points.map((point) => point[1]));
    const high = Math.max(1e-9, ...drops.slice(0, 50000)), low = Math.min(0, ...drops.slice(0, 50000));
    place.replaceChildren(...data.weights.map((weight) => {
      const figure = document.createElement("figure");
      const caption = document.createElement("figcaption");
      caption.textContent = weight.name;
      figure.append(caption, chart(weight, metric, low, high));
      return figure;
    }));
  }

  data.metrics.forEach((name, number) => {
    const option = document.createElement("option");
    option.value = number;
    option.textContent = name;
    choice.append(option);
  });
  choice.addEventListener("change", () => draw(Number(choice.value)));
  if (data.metrics.length) draw(0);
})();
