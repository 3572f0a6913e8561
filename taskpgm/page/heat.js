/* The heat map of any matrix of tasks, on a canvas: hundreds of tasks are tens of thousands of cells. */
const valueOf = (matrix, i, j) => (matrix.symmetric && j > i ? matrix.rows[j][i] : matrix.rows[i][j]);
const inner = (values, i, j) => (j > i ? values[j][i] : values[i][j]);
function cellLines(matrix, i, j) {
  const value = exact(valueOf(matrix, i, j));
  const parts = { row: shown(names[i]), column: shown(names[j]), value };
  const lines = [matrix.sentence.replace(/\{(row|column|value)\}/gu, (_, key) => parts[key])];
  if (matrix.low && i !== j) {
    const high = inner(matrix.high, i, j);
    lines.push(`certainly ${exact(inner(matrix.low, i, j))} ${high === null ? "or more" : "to " + exact(high)}`);
  }
  return lines;
}
function extent(matrix) {
  let low = Infinity, high = -Infinity;
  for (let i = 0; i < names.length; i++) for (let j = 0; j < names.length; j++) {
    const value = i === j ? null : valueOf(matrix, i, j);
    if (value !== null) { low = Math.min(low, value); high = Math.max(high, value); }
  }
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}
function channels(text) {
  const hex = text.replace("#", "");
  return [0, 2, 4].map((place) => parseInt(hex.slice(place, place + 2), 16));
}

const LARGEST = 860;
function drawHeat(host) {
  const order = data.order, n = names.length, stage = element("div");
  const canvas = element("canvas", { role: "img", tabindex: 0 }), painted = document.createElement("canvas");
  const choice = element("select", { id: "matrix" }, ...data.matrices.map((matrix, place) => element("option", { value: place }, matrix.title)));
  const ends = [element("span"), element("span")];
  stage.append(canvas);
  host.append(element("div", { class: "controls" }, element("label", { for: "matrix" }, "Show"), choice), stage,
    element("div", { class: "scale" }, ends[0], element("i"), ends[1]));
  let matrix = data.matrices[0], cell = 1, margin = 0, active = null, width = 0;
  const context = canvas.getContext("2d");
  function paint() {
    const labels = width / n >= 13, ratio = devicePixelRatio || 1;
    margin = labels ? labelRoom() : 0;
    cell = Math.min(36, (Math.min(width, LARGEST) - margin - 2) / n);
    const side = margin + cell * n + 2;
    canvas.width = canvas.height = Math.ceil(side * ratio);
    canvas.style.width = canvas.style.height = side + "px";
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const [low, high] = extent(matrix), from = channels(colour("low")), to = channels(colour("high"));
    order.forEach((i, row) => order.forEach((j, column) => {
      const value = valueOf(matrix, i, j);
      const part = value === null ? 0 : Math.max(0, Math.min(1, (value - low) / (high - low)));
      context.fillStyle = `rgb(${from.map((start, k) => Math.round(start + part * (to[k] - start))).join(",")})`;
      context.fillRect(margin + column * cell, margin + row * cell, cell + 0.5, cell + 0.5);
    }));
    if (labels) paintLabels();
    painted.width = canvas.width;
    painted.height = canvas.height;
    painted.getContext("2d").drawImage(canvas, 0, 0);
    if (active) frame(active);
    ends[0].textContent = exact(low);
    ends[1].textContent = exact(high);
    canvas.setAttribute("aria-label", `Heat map. ${matrix.title}. ${n} tasks, like ones side by side. Arrow keys go through the cells.`);
  }
  const labelRoom = () => Math.min(0.3 * width, 10 + Math.max(...names.map((name) => widthOf(fitted(name, 130)))));
  function paintLabels() {
    context.fillStyle = colour("text");
    context.font = ruler.font;
    context.textBaseline = "middle";
    order.forEach((task, place) => {
      const middle = margin + (place + 0.5) * cell, text = fitted(names[task], margin - 8);
      context.textAlign = "right";
      context.fillText(text, margin - 5, middle);
      context.save();
      context.translate(middle, margin - 5);
      context.rotate(-Math.PI / 2);
      context.textAlign = "left";
      context.fillText(text, 0, 0);
      context.restore();
    });
  }
  function again() {
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(painted, 0, 0);
    context.setTransform(devicePixelRatio || 1, 0, 0, devicePixelRatio || 1, 0, 0);
    if (active) frame(active);
  }
  function frame([row, column]) {
    context.strokeStyle = colour("mark");
    context.lineWidth = 2;
    const size = Math.max(cell, 5), shift = (size - cell) / 2;
    context.strokeRect(margin + column * cell - shift, margin + row * cell - shift, size, size);
  }
  function show(row, column, where, aloud) {
    active = [row, column];
    again();
    showTip(cellLines(matrix, order[row], order[column]), where, aloud);
  }
  function leave() { if (active) { active = null; again(); } hideTip(); }
  function point(event) {
    const box = canvas.getBoundingClientRect();
    const row = Math.floor((event.clientY - box.top - margin) / cell), column = Math.floor((event.clientX - box.left - margin) / cell);
    if (row < 0 || column < 0 || row >= n || column >= n) { leave(); return; }
    if (!active || active[0] !== row || active[1] !== column || tip.hidden) show(row, column, () => [event.clientX, event.clientY], false);
  }
  let place = [0, 0];
  function visit(row, column) {
    place = [Math.max(0, Math.min(n - 1, row)), Math.max(0, Math.min(n - 1, column))];
    const where = () => {
      const box = canvas.getBoundingClientRect();
      return [box.left + margin + (place[1] + 1) * cell, box.top + margin + place[0] * cell];
    };
    const y = where()[1];
    if (y < 60 || y > innerHeight - 60) scrollBy(0, y - innerHeight / 2);
    show(...place, where, true);
  }
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointerleave", leave);
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("focus", () => { if (canvas.matches(":focus-visible")) visit(...place); });
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0], Home: [0, -n], End: [0, n] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    visit(place[0] + move[0], place[1] + move[1]);
  });
  choice.addEventListener("change", () => { matrix = data.matrices[choice.value]; paint(); rows.refresh(matrix); });
  const rows = oneTask(host, matrix);
  responsive(stage, (now) => { width = now; paint(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
}

/* The same matrix as a table, a task at a time. */
function oneTask(host, first) {
  let matrix = first;
  const choice = element("select", { id: "one-task" }, ...names.map((name, task) => element("option", { value: task }, shown(name))));
  const column = (text, kind) => element("th", { scope: "col", class: kind }, element("button", { type: "button" }, text));
  const caption = element("caption"), body = element("tbody");
  const table = element("table", { class: "sortable", id: "table-one-task" }, caption,
    element("thead", {}, element("tr", {}, column("task", ""), column("as row", "number"), column("as column", "number"))), body);
  function fill() {
    const task = Number(choice.value);
    caption.textContent = `${matrix.title}: ${shown(names[task])} and every task`;
    const cell = (value) => element("td", { class: "number", "data-value": value === null ? "" : value }, exact(value));
    body.replaceChildren(...data.order.map((other) => element("tr", {}, element("th", { scope: "row" }, element("bdi", {}, plain(names[other]))),
      cell(valueOf(matrix, task, other)), cell(valueOf(matrix, other, task)))));
    table.querySelectorAll("th[aria-sort]").forEach((heading) => heading.removeAttribute("aria-sort"));
  }
  const box = element("details", {}, element("summary", {}, "All values of one task as a table"),
    element("div", { class: "controls" }, element("label", { for: "one-task" }, "Task"), choice),
    element("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": "Values of one task" }, table));
  host.append(box);
  sortable(table);
  choice.addEventListener("change", fill);
  fill();
  return { refresh(next) { matrix = next; fill(); } };
}
