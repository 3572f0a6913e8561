/* What a run decided on its way: weights stacked, each decision in force until the next, and the mean loss expected at the end. */
function drawDecisions(host) {
  const { steps, total, tasks, weights, followed, status, mean, spread } = data.decisions, last = steps.length - 1;
  const ends = steps.map((_, k) => (k < last ? steps[k + 1] : total)), wide = spread.map((value) => 2 * value);
  const twice = (row) => row.flatMap((value) => [value, value]);
  const lines = (k) => [
    `decided after step ${whole(steps[k])} of ${whole(total)}`, `${status[k]}${followed[k] ? "" : ", back to the prior"}`,
    `expected mean loss ${digits(mean[k])}, \u00b1 ${digits(wide[k], 2)}`, ...largestOf(tasks, weights, k),
  ];
  responsive(host, (width) => {
    const left = 50, right = width - 14, top = 24, middle = 290, low = 326, bottom = 430;
    const svg = drawing(host, "Weights that each decision shares out, and the mean loss expected at the end of the run.", width, bottom + 38);
    const x = scale(0, total, left, right), y = scale(0, 1, middle, top);
    const edges = steps.flatMap((step, k) => [x(step), x(ends[k])]);
    stack(svg, layersOf(tasks, weights).map(twice), fillsOf(tasks), edges, y);
    for (const value of [0, 0.5, 1]) svg.append(shape("text", { class: "soft", x: left - 6, y: y(value) + 4, "text-anchor": "end" }, `${100 * value} %`));
    if (x(steps[0]) - left > 44) svg.append(shape("text", { class: "soft", x: (left + x(steps[0])) / 2, y: (top + middle) / 2, "text-anchor": "middle" }, "start"));
    steps.forEach((step, k) => {
      if (!followed[k]) svg.append(shape("path", { class: "other", d: `M${x(step)} ${top - 5}H${x(ends[k])}` }));
    });
    const least = Math.min(...mean.map((value, k) => value - wide[k])), most = Math.max(...mean.map((value, k) => value + wide[k]));
    const loss = scale(Math.max(0, least), most, bottom, low), at = steps.map(x);
    for (const value of ticks(Math.max(0, least), most, 3)) {
      svg.append(shape("line", { class: "grid", x1: left, x2: right, y1: loss(value), y2: loss(value) }));
      svg.append(shape("text", { class: "soft", x: left - 6, y: loss(value) + 4, "text-anchor": "end" }, digits(value, 3)));
    }
    const corner = (values) => values.map((value, k) => `${at[k].toFixed(1)} ${loss(Math.max(0, value)).toFixed(1)}`);
    const above = corner(mean.map((value, k) => value + wide[k])), below = corner(mean.map((value, k) => value - wide[k]));
    svg.append(shape("path", { class: "band", d: `M${[...above, ...below.reverse()].join("L")}Z` }));
    svg.append(shape("path", { class: "curve", d: "M" + corner(mean).join("L") }));
    at.forEach((place, k) => svg.append(shape("circle", { class: "dot", cx: place, cy: loss(mean[k]), r: 3 })));
    svg.append(shape("text", { class: "soft label", x: left + 4, y: low - 8 }, width < 500 ? "mean loss expected at the end" : "mean loss expected at the end, nats per target token"));
    for (const value of ticks(0, total, width < 500 ? 3 : 8)) svg.append(shape("text", { class: "soft", x: x(value), y: bottom + 16, "text-anchor": value === total ? "end" : "middle" }, whole(value)));
    svg.append(shape("text", { class: "soft", x: (left + right) / 2, y: bottom + 33, "text-anchor": "middle" }, "step"));
    const marks = steps.map((step, k) => {
      const node = shape("rect", { class: "hit", x: x(step), y: top, width: Math.max(0.5, x(ends[k]) - x(step)), height: bottom - top });
      svg.append(node);
      return { node, lines: () => lines(k), x: x(step), y: top + 20 };
    });
    attend(svg, marks);
  });
  stackLegend(host, tasks);
}

/* One small picture a task: its training losses as they were known, and what each decision expected at the end. */
function drawExpected(host) {
  const { latest, expected, spread } = data.expected, { steps, total } = data.decisions;
  const change = (task) => latest[task][0] - expected[task][steps.length - 1];
  const order = names.map((_, task) => task).sort((one, two) => change(two) - change(one));
  smallCharts(host, order, "largest changes", (stage, task) => {
    const wide = spread[task].map((value) => 2 * value), most = Math.max(...latest[task], ...expected[task].map((value, k) => value + wide[k]));
    const told = (k) => [shown(names[task]), `after step ${whole(steps[k])}: training loss ${exact(latest[task][k])} nats`,
      `expected at the end: ${exact(expected[task][k])}, \u00b1 ${digits(wide[k], 2)}`];
    responsive(stage, (width) => {
      const svg = drawing(stage, `Losses of ${shown(names[task])}, known and expected.`, width, 140);
      const { x, y, line } = smallAxes(svg, width, total, most, "steps");
      const low = expected[task].map((value, k) => Math.max(0, value - wide[k])), high = expected[task].map((value, k) => value + wide[k]);
      svg.append(shape("path", { class: "band", d: `${line(steps, high)}L${line([...steps].reverse(), [...low].reverse()).slice(1)}Z` }));
      svg.append(shape("path", { class: "other", d: line(steps, expected[task]) }), shape("path", { class: "curve", d: line(steps, latest[task]) }));
      attend(svg, smallMarks(svg, steps, total, x, told));
    });
  });
  legend(host, [
    [shape("line", { class: "curve", x1: 1, x2: 21, y1: 6, y2: 6 }), "training loss when it was decided"],
    [shape("line", { class: "other", x1: 1, x2: 21, y1: 6, y2: 6 }), "expected at the end of the run"],
    [shape("rect", { class: "band", x: 1, y: 0, width: 20, height: 12 }), "two deviations of what is believed"],
  ]);
}
