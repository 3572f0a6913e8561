/* Small pictures, one a task, the first of an order: their frame, their axes, and what can be pointed at. */
const MOST_CURVES = 12;
function smallCharts(host, order, what, draw) {
  const n = order.length, grid = element("div", { class: "small" });
  const drawn = (count) => {
    while (grid.children.length > count) grid.lastChild.remove();
    for (let place = grid.children.length; place < count; place++) {
      const stage = element("div");
      grid.append(element("figure", {}, element("h3", {}, shown(names[order[place]])), stage));
      draw(stage, order[place]);
    }
  };
  host.append(grid);
  drawn(Math.min(n, MOST_CURVES));
  if (n <= MOST_CURVES) return;
  let all = false;
  const button = element("button", { type: "button", "aria-expanded": "false" }, `Show all ${n}`);
  button.addEventListener("click", () => {
    all = !all;
    drawn(all ? n : MOST_CURVES);
    button.textContent = all ? `Show the ${MOST_CURVES} ${what} only` : `Show all ${n}`;
    button.setAttribute("aria-expanded", String(all));
  });
  host.append(button);
}
const SMALL = { left: 34, top: 8, bottom: 118, text: 134 };
function smallAxes(svg, width, last, most, unit) {
  const { left, top, bottom, text } = SMALL, right = width - 8;
  const x = scale(0, last, left, right), y = scale(0, most, bottom, top);
  for (const value of ticks(0, most, 3)) {
    svg.append(shape("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }));
    svg.append(shape("text", { class: "soft", x: left - 5, y: y(value) + 4, "text-anchor": "end" }, digits(value, 2)));
  }
  svg.append(shape("text", { class: "soft", x: left, y: text }, "0"));
  svg.append(shape("text", { class: "soft", x: right, y: text, "text-anchor": "end" }, unit));
  const line = (places, values) => "M" + values.map((value, k) => `${x(places[k]).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
  return { x, y, line };
}
function smallMarks(svg, places, end, x, told) {
  const { left, top, bottom } = SMALL, last = places.length - 1;
  const marks = places.map((value, k) => {
    const from = k ? (x(places[k - 1]) + x(value)) / 2 : left, to = k < last ? (x(value) + x(places[k + 1])) / 2 : x(end);
    return { node: shape("rect", { class: "hit", x: from, y: top, width: Math.max(0.5, to - from), height: bottom - top }), lines: () => told(k), x: x(value), y: top + 20 };
  });
  svg.append(...marks.map((mark) => mark.node));
  return marks;
}

/* Learning curves under the mixture: the forecast, its spread, and the uniform mixture. */
function drawCurves(host) {
  const { weights } = data.mixture, { budgets, budget, unit, loss, interval, uniform, final, finalInterval } = data.curves;
  const order = names.map((_, task) => task).sort((one, two) => weights[two] - weights[one]), end = budgets[budgets.length - 1];
  smallCharts(host, order, "largest weights", (stage, task) => {
    const most = Math.max(...interval[task].map((ends) => ends[1]), ...uniform[task]);
    const told = (k) => [shown(names[task]), `after ${whole(budgets[k])} ${unit}: ${exact(loss[task][k])} nats`,
      `95 %: ${exact(interval[task][k][0])} to ${exact(interval[task][k][1])}`, `with uniform: ${exact(uniform[task][k])}`];
    responsive(stage, (width) => {
      const svg = drawing(stage, `Forecast loss of ${shown(names[task])}.`, width, 140);
      const { x, y, line } = smallAxes(svg, width, end, most, unit), back = [...budgets].reverse();
      const low = interval[task].map((ends) => ends[0]).reverse(), high = interval[task].map((ends) => ends[1]);
      svg.append(shape("path", { class: "band", d: `${line(budgets, high)}L${line(back, low).slice(1)}Z` }));
      svg.append(shape("path", { class: "other", d: line(budgets, uniform[task]) }), shape("path", { class: "curve", d: line(budgets, loss[task]) }));
      svg.append(shape("path", { class: "error", d: `M${x(budget)} ${y(finalInterval[task][0])}V${y(finalInterval[task][1])}` }));
      svg.append(shape("circle", { class: "dot", cx: x(budget), cy: y(final[task]), r: 4 }));
      svg.append(shape("text", { class: "soft", x: x(budget), y: SMALL.text, "text-anchor": "middle" }, whole(budget)));
      attend(svg, smallMarks(svg, budgets, end, x, told));
    });
  });
  legend(host, [
    [shape("line", { class: "curve", x1: 1, x2: 21, y1: 6, y2: 6 }), "this mixture"],
    [shape("rect", { class: "band", x: 1, y: 0, width: 20, height: 12 }), "where 95 % of measured losses lie"],
    [shape("line", { class: "other", x1: 1, x2: 21, y1: 6, y2: 6 }), "uniform mixture"],
    [shape("circle", { class: "dot", cx: 11, cy: 6, r: 4 }), "the end of this budget"],
  ]);
}
