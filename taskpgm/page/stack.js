/* Layers on top of each other, from 0 up: each has a value at every place of x. The lowest comes first. */
function stack(svg, layers, fills, x, y) {
  let below = x.map(() => 0);
  layers.forEach((layer, place) => {
    const above = layer.map((value, k) => below[k] + value);
    const corner = (values) => values.map((value, k) => `${x[k].toFixed(1)} ${y(value).toFixed(1)}`);
    const edge = [...corner(above), ...corner(below).reverse()];
    svg.append(shape("path", { d: `M${edge.join("L")}Z`, fill: fills[place], stroke: "var(--back)", "stroke-width": 0.5 }));
    below = above;
  });
}
/* The shown tasks' layers, and what is left for all others where there are any; and the legend that goes with them. */
function layersOf(tasks, weights) {
  const rest = weights[0].map((_, k) => Math.max(0, 1 - weights.reduce((sum, row) => sum + row[k], 0)));
  return names.length > tasks.length ? [...weights, rest] : weights;
}
const fillsOf = (tasks) => [...tasks.map((_, place) => `var(--a${place})`), "var(--rest)"];
function stackLegend(host, tasks) {
  const fills = fillsOf(tasks), entries = tasks.map((task, place) => [swatch(fills[place]), shorten(names[task], 30)]);
  if (names.length > tasks.length) entries.push([swatch("var(--rest)"), `${names.length - tasks.length} others`]);
  legend(host, entries);
}
/* What a tooltip says of the largest of the shown weights. */
function largestOf(tasks, weights, k) {
  return tasks.map((task, place) => [weights[place][k], task]).filter(([weight]) => weight >= 0.0005).sort((one, two) => two[0] - one[0])
    .slice(0, 8).map(([weight, task]) => `${shown(names[task])} ${percent(weight)}`);
}
