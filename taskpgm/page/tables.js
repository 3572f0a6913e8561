/* Tables sort by their headings, which are buttons. Numbers carry their value; what has none comes last. */
const byText = new Intl.Collator(undefined, { numeric: true }).compare;
function sortable(table) {
  const headings = Array.from(table.tHead.rows[0].cells);
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const falling = heading.getAttribute("aria-sort") === "ascending"
        || (!heading.hasAttribute("aria-sort") && heading.classList.contains("number"));
      headings.forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
      sortRows(table.tBodies[0], column, falling ? -1 : 1);
    });
  });
}
function sortRows(body, column, direction) {
  const keyed = Array.from(body.rows, (row) => {
    const cell = row.cells[column], value = cell.dataset.value;
    return { row, text: cell.textContent, value: value === undefined ? undefined : value === "" ? NaN : Number(value) };
  });
  keyed.sort((one, two) => {
    if (one.value === undefined) return direction * byText(one.text, two.text);
    if (isNaN(one.value) || isNaN(two.value)) return isNaN(one.value) - isNaN(two.value);
    return direction * (one.value - two.value);
  });
  body.append(...keyed.map((each) => each.row));
}
document.querySelectorAll("table.sortable").forEach(sortable);
