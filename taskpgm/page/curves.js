/* Learning curves under the mixture, one small picture a task: the forecast, its spread, and the uniform mixture. */
const MOST_CURVES = 12;
function drawCurves(host) {
  const { weights } = data.mixture, n = names.length, grid = element("div", { class: "small" });
  const order = names.map((_, task) => task).sort((one, two) => weights[two] - weights[one]);
  const drawn = (count) => {
    while (grid.children.length > count) grid.lastChild.remove();
    for (let place = grid.children.length; place < count; place++) oneCurve(grid, order[place]);
  };
  host.append(grid);
  drawn(Math.min(n, MOST_CURVES));
  legend(host, [
    [shape("line", { class: "curve", x1: 1, x2: 21, y1: 6, y2: 6 }), "this mixture"],
    [shape("rect", { class: "band", x: 1, y: 0, width: 20, height: 12 }), "where 95 % of measured losses lie"],
    [shape("line", { class: "other", x1: 1, x2: 21, y1: 6, y2: 6 }), "uniform mixture"],
    [shape("circle", { class: "dot", cx: 11, cy: 6, r: 4 }), "the end of this budget"],
  ]);
  if (n <= MOST_CURVES) return;
  let all = false;
  const button = element("button", { type: "button", "aria-expanded": "false" }, `Show all ${n}`);
  button.addEventListener("click", () => {
    all = !all;
    drawn(all ? n : MOST_CURVES);
    button.textContent = all ? `Show the ${MOST_CURVES} largest weights only` : `Show all ${n}`;
    button.setAttribute("aria-expanded", String(all));
  });
  host.append(button);
}
function oneCurve(grid, task) {
  const { budgets, budget, unit, loss, interval, uniform, final, finalInterval } = data.curves, last = budgets.length - 1;
  const figure = element("figure", {}, element("h3", {}, shown(names[task])));
  const stage = element("div");
  figure.append(stage);
  grid.append(figure);
  const most = Math.max(...interval[task].map((ends) => ends[1]), ...uniform[task]);
  const told = (k) => [shown(names[task]), `after ${whole(budgets[k])} ${unit}: ${exact(loss[task][k])} nats`,
    `95 %: ${exact(interval[task][k][0])} to ${exact(interval[task][k][1])}`, `with uniform: ${exact(uniform[task][k])}`];
  responsive(stage, (width) => {
    const left = 34, right = width - 8, top = 8, bottom = 118;
    const svg = drawing(stage, `Forecast loss of ${shown(names[task])}.`, width, 140);
    const x = scale(0, budgets[last], left, right), y = scale(0, most, bottom, top);
    const line = (values) => "M" + values.map((value, k) => `${x(budgets[k]).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
    for (const value of ticks(0, most, 3)) {
      svg.append(shape("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }));
      svg.append(shape("text", { class: "soft", x: left - 5, y: y(value) + 4, "text-anchor": "end" }, digits(value, 2)));
    }
    const back = budgets.map((_, k) => `${x(budgets[k]).toFixed(1)} ${y(interval[task][k][0]).toFixed(1)}`).reverse();
    svg.append(shape("path", { class: "band", d: `${line(interval[task].map((ends) => ends[1]))}L${back.join("L")}Z` }));
    svg.append(shape("path", { class: "other", d: line(uniform[task]) }), shape("path", { class: "curve", d: line(loss[task]) }));
    const [low, high] = finalInterval[task];
    svg.append(shape("path", { class: "error", d: `M${x(budget)} ${y(low)}V${y(high)}` }));
    svg.append(shape("circle", { class: "dot", cx: x(budget), cy: y(final[task]), r: 4 }));
    svg.append(shape("text", { class: "soft", x: left, y: 134 }, "0"));
    svg.append(shape("text", { class: "soft", x: x(budget), y: 134, "text-anchor": "middle" }, whole(budget)));
    svg.append(shape("text", { class: "soft", x: right, y: 134, "text-anchor": "end" }, unit));
    const marks = budgets.map((value, k) => {
      const from = k ? (x(budgets[k - 1]) + x(value)) / 2 : left, to = k < last ? (x(value) + x(budgets[k + 1])) / 2 : right;
      return { node: shape("rect", { class: "hit", x: from, y: top, width: to - from, height: bottom - top }), lines: () => told(k), x: x(value), y: top + 20 };
    });
    svg.append(...marks.map((mark) => mark.node));
    attend(svg, marks);
  });
}
