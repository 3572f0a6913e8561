/* What runs on each mixture did, minus the reference: means and 95 % intervals, one panel a budget and measure. */
const MEASURES = { losses: "held-out loss, nats per target token: left is better", exact: "exact answers: right is better", harness: "lm_eval score: right is better" };
function drawEvaluation(host) {
  for (const group of data.evaluation) {
    const panel = element("div"), title = `${group.steps} steps: ${MEASURES[group.measure] || group.measure}`;
    host.append(element("h3", {}, title), panel);
    const ends = group.rows.flatMap((row) => [row.mean, ...(row.interval || [])]);
    const least = Math.min(0, ...ends), most = Math.max(0, ...ends);
    responsive(panel, (width) => {
      const left = Math.min(230, Math.floor(0.42 * width)), bottom = 34 + group.rows.length * ROW;
      const svg = drawing(panel, `${title}, minus ${shown(group.reference)}.`, width, bottom + 8), at = scale(least, most, left + 10, width - 16), marks = [];
      axisAcross(svg, at, least, most, bottom, (value) => digits(value, 3), width < 500 ? 3 : 6);
      svg.append(shape("line", { class: "axis", x1: at(0), x2: at(0), y1: 28, y2: bottom }));
      group.rows.forEach((row, place) => {
        const y = 34 + place * ROW, middle = y + ROW / 2, name = `${row.mixture}, ${row.view}`;
        svg.append(shape("text", { x: left, y: y + 15, "text-anchor": "end" }, fitted(name, left - 4)));
        if (row.interval) svg.append(shape("path", { class: "error", d: `M${at(row.interval[0])} ${middle - 4}v8m0 -4H${at(row.interval[1])}m0 -4v8` }));
        svg.append(shape("circle", { class: row.sure ? "sure" : "dot", cx: at(row.mean), cy: middle, r: 4.5 }));
        const node = hit(place, width);
        const lines = () => [shown(name), `${exact(row.mean)} against ${shown(group.reference)}`,
          row.interval ? `95 %: ${exact(row.interval[0])} to ${exact(row.interval[1])}` : "no interval", ...(row.sure ? ["beyond doubt after correction"] : [])];
        marks.push({ node, lines, x: at(row.mean), y: y + 6 });
      });
      svg.append(...marks.map((mark) => mark.node));
      attend(svg, marks);
    });
  }
  legend(host, [
    [shape("circle", { class: "sure", cx: 11, cy: 6, r: 4.5 }), "beyond doubt after correction for all comparisons"],
    [shape("circle", { class: "dot", cx: 11, cy: 6, r: 4.5 }), "within doubt"],
  ]);
}
