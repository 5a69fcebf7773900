// What is set up once, and what is drawn again when something is chosen or the window changes.
function copies(code) {
  const button = el("button", { type: "button" }, "Copy");
  button.setAttribute("aria-label", "Copy the command");
  async function put() {
    try {
      await navigator.clipboard.writeText(code.textContent);
      return true;
    } catch {
      // Not allowed from some files: by selecting it, as it was done before.
      getSelection().selectAllChildren(code);
      return document.execCommand("copy");
    }
  }
  button.addEventListener("click", async () => {
    const done = await put();
    button.textContent = done ? "Copied" : "Selected";
    say(done ? "The command is copied." : "The command is selected; copy it with your keyboard.");
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  code.closest(".command").append(button);
}

const measured = Boolean($("overlay"));

function drawMeasured() {
  if (!measured || !data.metrics.length) return;
  drawOverlay();
  drawSmall();
  drawHeat();
}

function drawAll() {
  drawPlan();
  drawMeasured();
  drawChoices();
  drawScatter();
  drawFront();
  drawBudget();
}

function choose(change) {
  Object.assign(state, change);
  filterTable();
  drawAll();
  const left = weights.filter(matches).length;
  $("found").textContent = left === weights.length ? `${count(left)} weights` : `${count(left)} of ${count(weights.length)} weights`;
}

if (weights.length) {
  $("finder").hidden = false;
  data.operators.forEach((name, number) => $("operator").append(el("option", { value: number }, name)));
  $("operator").closest("label").hidden = data.operators.length < 2;
  let waiting;
  $("query").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => choose({ query: $("query").value.trim().toLowerCase() }), weights.length > 100 ? 150 : 0);
  });
  $("operator").addEventListener("change", () => choose({ operator: $("operator").value }));
  sortable($("weights"));
}
if (measured && data.metrics.length) {
  const drops = weights.flatMap((weight) => [...points(weight, 0).map((point) => point[1]), ...(weight.level ? [dropAt(weight, 0, weight.level) ?? 1] : [])]);
  state.axis = axisFor(drops);
  document.querySelector(`[name=axis][value=${state.axis}]`).checked = true;
  $("controls").hidden = false;
  data.metrics.forEach(({ name }, number) => $("metric").append(el("option", { value: number }, name)));
  $("metric").addEventListener("change", () => choose({ metric: Number($("metric").value) }));
  for (const radio of document.querySelectorAll("#controls input[type=radio]"))
    radio.addEventListener("change", () => choose({ [radio.name]: radio.value }));
  for (const box of document.querySelectorAll("#controls input[type=checkbox]"))
    box.addEventListener("change", () => choose({ [box.id]: box.checked }));
  $("more").addEventListener("click", () => {
    state.most += 120;
    drawSmall();
  });
  roveSmall();
}
for (const code of document.querySelectorAll(".command code")) copies(code);
setUpFront();
choose({});

let width = document.documentElement.clientWidth, resizing;
addEventListener("resize", () => {
  if (document.documentElement.clientWidth === width) return;
  width = document.documentElement.clientWidth;
  clearTimeout(resizing);
  resizing = setTimeout(drawAll, 100);
});
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const each of closed) each.open = true;
});
addEventListener("afterprint", () => {
  for (const each of closed) each.open = false;
});
