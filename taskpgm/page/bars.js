/* Horizontal bars, one row for each task: the mixture, and the parts of the energy. */
const MOST_BARS = 30, ROW = 22;
function rowLabels(svg, order, left) {
  order.forEach((task, row) => {
    svg.append(shape("text", { x: left - 8, y: 34 + row * ROW + 15, "text-anchor": "end" }, fitted(names[task], left - 12)));
  });
}
function axisAcross(svg, at, from, to, bottom, format, count = 5) {
  for (const value of ticks(from, to, count)) {
    svg.append(shape("line", { class: "grid", x1: at(value), x2: at(value), y1: 28, y2: bottom }));
    svg.append(shape("text", { class: "soft", x: at(value), y: 22, "text-anchor": "middle" }, format(value)));
  }
}
const hit = (row, width) => shape("rect", { class: "hit", x: 0, y: 34 + row * ROW, width, height: ROW });
const leftOf = (width) => Math.min(170, Math.floor(0.32 * width));

function drawMixture(host) {
  const { weights, interval, bySize, undecided } = data.mixture, n = names.length;
  const order = weights.map((_, task) => task).sort((one, two) => weights[two] - weights[one]);
  const ends = (task) => (interval ? interval[task] : [weights[task], weights[task]]);
  const lines = (task) => [
    shown(names[task]), `weight ${percent(weights[task], 2)}, ${(weights[task] * n).toFixed(2)} times uniform`,
    ...(interval ? [`95 %: ${percent(ends(task)[0])} to ${percent(ends(task)[1])}`] : []),
    ...(undecided.includes(task) ? ["the evidence leaves open whether more or less than uniform"] : []),
    ...(bySize ? [`by size ${percent(bySize[task], 2)}`] : []),
  ];
  foldable(host, n, MOST_BARS, (width, count) => {
    const part = order.slice(0, count), left = leftOf(width), bottom = 34 + count * ROW;
    const most = Math.max(1 / n, ...part.map((task) => Math.max(ends(task)[1], bySize ? bySize[task] : 0)));
    const at = scale(0, most, left, width - 62);
    const svg = drawing(host, `Weights of ${count} tasks, largest first, against the uniform weight.`, width, bottom + 8);
    axisAcross(svg, at, 0, most, bottom, (value) => digits(100 * value, 3) + " %", width < 500 ? 3 : 6);
    rowLabels(svg, part, left);
    svg.append(shape("text", { class: "soft", x: width - 4, y: 22, "text-anchor": "end" }, "weight"));
    const marks = [];
    part.forEach((task, row) => {
      const y = 34 + row * ROW, [low, high] = ends(task);
      svg.append(shape("rect", { class: "bar", x: left, y: y + 4, width: Math.max(1, at(weights[task]) - left), height: ROW - 8 }));
      if (interval) svg.append(shape("path", { class: "error", d: `M${at(low)} ${y + 7}v8m0 -4H${at(high)}m0 -4v8` }));
      if (bySize) svg.append(shape("circle", { class: "size", cx: at(bySize[task]), cy: y + ROW / 2, r: 3.5 }));
      svg.append(shape("text", { x: width - 4, y: y + 15, "text-anchor": "end" }, percent(weights[task])));
      const node = hit(row, width);
      marks.push({ node, lines: () => lines(task), x: at(weights[task]), y: y + 6 });
    });
    svg.append(shape("line", { class: "even", x1: at(1 / n), x2: at(1 / n), y1: 28, y2: bottom }), ...marks.map((mark) => mark.node));
    attend(svg, marks);
  });
  legend(host, [
    [swatch("var(--bar)"), "weight"],
    ...(interval ? [[shape("path", { class: "error", d: "M3 2v8m0 -4H19m0 -4v8" }), "95 % interval"]] : []),
    [shape("line", { class: "even", x1: 11, x2: 11, y1: 0, y2: 12 }), `uniform, ${percent(1 / n)}`],
    ...(bySize ? [[shape("circle", { class: "size", cx: 11, cy: 6, r: 3.5 }), "in proportion to size"]] : []),
  ]);
}

function drawEnergy(host) {
  const parts = Object.entries(data.energy.parts), n = names.length, saved = data.energy.kind === "coverage";
  const total = (task, sign) => parts.reduce((sum, [, values]) => sum + Math.max(0, sign * values[task]), 0);
  const order = names.map((_, task) => task).sort((one, two) => total(two, 1) + total(two, -1) - total(one, 1) - total(one, -1));
  const unit = saved ? " nats" : "", { losses } = data.energy, remaining = (task) => (losses ? losses[task] : 0);
  foldable(host, n, MOST_BARS, (width, count) => {
    const part = order.slice(0, count), left = leftOf(width), bottom = 34 + count * ROW;
    const low = -Math.max(...part.map((task) => total(task, -1))), high = Math.max(1e-12, ...part.map((task) => Math.max(total(task, 1), remaining(task))));
    const at = scale(low, high, left, width - 20);
    const title = saved ? "What each task's examples take off the mean loss." : "Each task's share of the energy: utility and redundancy.";
    const svg = drawing(host, title, width, bottom + 8), marks = [];
    axisAcross(svg, at, low, high, bottom, (value) => digits(value, 3), width < 500 ? 4 : 6);
    rowLabels(svg, part, left);
    part.forEach((task, row) => {
      const y = 34 + row * ROW, reached = { "1": 0, "-1": 0 };
      parts.forEach(([, values], place) => {
        const sign = values[task] < 0 ? -1 : 1, start = reached[sign], end = start + values[task];
        reached[sign] = end;
        const x = Math.min(at(start), at(end));
        svg.append(shape("rect", { x, y: y + 4, width: Math.abs(at(end) - at(start)), height: ROW - 8, fill: `var(--part${place})` }));
      });
      if (losses) svg.append(shape("circle", { class: "size", cx: at(losses[task]), cy: y + ROW / 2, r: 3.5 }));
      const lines = () => [shown(names[task]), ...parts.map(([name, values]) => `${name}: ${exact(values[task])}${unit}`),
        ...(losses ? [`loss that is left: ${exact(losses[task])} nats of the mean`] : [])];
      marks.push({ node: hit(row, width), lines, x: at(0) + 20, y: y + 6 });
    });
    svg.append(shape("line", { class: "axis", x1: at(0), x2: at(0), y1: 28, y2: bottom }), ...marks.map((mark) => mark.node));
    attend(svg, marks);
  });
  const entries = parts.map(([name], place) => [swatch(`var(--part${place})`), name + unit.replace(" ", ", ")]);
  if (losses) entries.push([shape("circle", { class: "size", cx: 11, cy: 6, r: 3.5 }), "its loss that is left"]);
  legend(host, entries);
}
