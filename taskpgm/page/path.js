/* The trade-off path: weights stacked over beta, and how many effective tasks there are. */
function drawPath(host) {
  const { betas, tasks, weights, effective, utility, beta } = data.path, last = betas.length - 1;
  const lines = (k) => [
    `beta ${digits(betas[k])}`, `${digits(effective[k], 3)} effective tasks, mean utility ${digits(utility[k])}`,
    ...largestOf(tasks, weights, k),
  ];
  responsive(host, (width) => {
    const left = 50, right = width - 14, top = 24, middle = 290, low = 320, bottom = 410;
    const svg = drawing(host, "Mixtures from diversity alone, on the left, to utility alone, on the right.", width, bottom + 38), marks = [];
    const x = scale(Math.log(betas[0]), Math.log(betas[last]), left, right), at = betas.map((value) => x(Math.log(value)));
    const y = scale(0, 1, middle, top), most = Math.max(...effective), count = scale(0, most, bottom, low);
    stack(svg, layersOf(tasks, weights), fillsOf(tasks), at, y);
    for (const value of [0, 0.5, 1]) svg.append(shape("text", { class: "soft", x: left - 6, y: y(value) + 4, "text-anchor": "end" }, `${100 * value} %`));
    for (const value of ticks(0, most, 3)) {
      svg.append(shape("line", { class: "grid", x1: left, x2: right, y1: count(value), y2: count(value) }));
      svg.append(shape("text", { class: "soft", x: left - 6, y: count(value) + 4, "text-anchor": "end" }, digits(value, 3)));
    }
    svg.append(shape("path", { class: "curve", d: "M" + effective.map((value, k) => `${at[k].toFixed(1)} ${count(value).toFixed(1)}`).join("L") }));
    const powers = ticks(Math.ceil(Math.log10(betas[0])), Math.floor(Math.log10(betas[last])), width < 500 ? 3 : 8).filter(Number.isInteger);
    for (const power of powers) svg.append(shape("text", { class: "soft", x: x(power * Math.LN10), y: bottom + 16, "text-anchor": "middle" }, digits(10 ** power)));
    svg.append(shape("text", { class: "soft", x: (left + right) / 2, y: bottom + 33, "text-anchor": "middle" }, "beta, the weight of the utility"));
    if (beta > 0) {
      const chosen = Math.max(left, Math.min(right, x(Math.log(beta))));
      svg.append(shape("line", { class: "even", x1: chosen, x2: chosen, y1: top - 4, y2: bottom }));
      svg.append(shape("text", { class: "even", x: chosen, y: 14, "text-anchor": chosen > right - 40 ? "end" : chosen < left + 40 ? "start" : "middle" }, "chosen"));
    }
    svg.append(shape("text", { class: "soft label", x: left + 4, y: low - 8 }, "effective tasks"));
    betas.forEach((_, k) => {
      const from = k ? (at[k - 1] + at[k]) / 2 : left, to = k < last ? (at[k] + at[k + 1]) / 2 : right;
      const node = shape("rect", { class: "hit", x: from, y: top, width: Math.max(0.5, to - from), height: bottom - top });
      svg.append(node);
      marks.push({ node, lines: () => lines(k), x: at[k], y: top + 20 });
    });
    attend(svg, marks);
  });
  stackLegend(host, tasks);
}
