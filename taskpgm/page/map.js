/* The map of tasks: distance means difference, area means weight, lines are the strongest couplings. */
function drawMap(host) {
  const { points, edges, coupling } = data.map, { weights } = data.mixture, n = names.length;
  const thick = 4 * Math.min(1, Math.sqrt(20 / n));
  const strongest = Math.max(1e-12, ...edges.map((edge) => edge[2]));
  const partners = names.map(() => []);
  edges.forEach(([i, j, value]) => { partners[i].push([value, j]); partners[j].push([value, i]); });
  const lines = (task) => [
    shown(names[task]), `weight ${percent(weights[task], 2)}`,
    ...partners[task].sort((one, two) => two[0] - one[0]).slice(0, 3).map(([value, other]) => `${coupling} with ${shown(names[other])}: ${exact(value)}`),
  ];
  const box = element("input", { type: "checkbox", id: "couplings" });
  box.checked = true;
  let redraw = () => {};
  box.addEventListener("change", () => redraw());
  host.append(element("div", { class: "controls" }, box, element("label", { for: "couplings" }, `draw the strongest couplings (${coupling})`)));
  const stage = element("div");
  host.append(stage);
  redraw = responsive(stage, (width) => {
    const height = Math.max(300, Math.min(580, Math.round(0.55 * width)));
    const svg = drawing(stage, `Map of ${n} tasks by how differently their experts behave.`, width, height);
    const place = fit(points, width, height), radius = weights.map((weight) => 2.5 + Math.min(16, 22 * Math.sqrt(weight)));
    const marks = [];
    if (box.checked) for (const [i, j, value] of edges) {
      const [[x1, y1], [x2, y2]] = [place[i], place[j]], part = value / strongest;
      const node = shape("line", { class: "edge", x1, y1, x2, y2, "stroke-width": (0.75 + thick * part).toFixed(2), "stroke-opacity": (0.3 + 0.5 * part).toFixed(2) });
      svg.append(node);
      marks.push({ node, quiet: true, lines: () => [`${shown(names[i])} and ${shown(names[j])}`, `${coupling} ${exact(value)}`] });
    }
    const order = names.map((_, task) => task).sort((one, two) => weights[two] - weights[one]);
    const texts = labels(order, place, radius, width, height);
    for (const task of order) {
      const [cx, cy] = place[task], node = shape("circle", { class: "node", cx, cy, r: radius[task] });
      svg.append(node);
      marks.push({ node, lines: () => lines(task), x: cx, y: cy });
    }
    svg.append(...texts);
    attend(svg, marks);
  });
}
/* The same length in both directions, centred. */
function fit(points, width, height) {
  const range = (axis) => [Math.min(...points.map((point) => point[axis])), Math.max(...points.map((point) => point[axis]))];
  const [left, right] = range(0), [low, high] = range(1), margin = width < 500 ? 36 : 60;
  const size = Math.min((width - 2 * margin) / (right - left || 1), (height - 2 * margin) / (high - low || 1));
  return points.map(([x, y]) => [width / 2 + (x - (left + right) / 2) * size, height / 2 - (y - (low + high) / 2) * size]);
}
/* Names of the largest tasks first, wherever one fits without covering another name or a task. */
function labels(order, place, radius, width, height) {
  const taken = order.map((task) => { const [x, y] = place[task], r = radius[task]; return [x - r, y - r, x + r, y + r]; }), texts = [];
  for (const task of order) {
    const text = fitted(names[task], 130), long = widthOf(text) + 4, [x, y] = place[task], r = radius[task] + 3;
    const tries = [[x + r, y + 4, "start"], [x - r, y + 4, "end"], [x, y - r, "middle"], [x, y + r + 10, "middle"]];
    for (const [tx, ty, anchor] of tries) {
      const start = anchor === "start" ? tx : anchor === "end" ? tx - long : tx - long / 2, box = [start, ty - 11, start + long, ty + 3];
      const clear = taken.every((other) => box[2] < other[0] || box[0] > other[2] || box[3] < other[1] || box[1] > other[3]);
      if (clear && box[0] >= 0 && box[2] <= width && box[1] >= 0 && box[3] <= height) {
        taken.push(box);
        texts.push(shape("text", { class: "label", x: tx, y: ty, "text-anchor": anchor, "pointer-events": "none" }, text));
        break;
      }
    }
  }
  return texts;
}
