const drawers = {
  mixture: drawMixture, matrices: drawHeat, map: drawMap, path: drawPath, curves: drawCurves, energy: drawEnergy, evaluation: drawEvaluation,
  decisions: drawDecisions, expected: drawExpected,
};
for (const [name, draw] of Object.entries(drawers)) {
  const host = document.getElementById("chart-" + name);
  if (host && data[name]) draw(host);
}
document.documentElement.dataset.ready = "yes";
