"use strict";
(() => {
  const table = document.getElementById("patients-table");
  if (table) {
    const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "none" ? !head.classList.contains("n") : head.getAttribute("aria-sort") === "descending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const text = (row) => row.cells[column].textContent;
      const order = (a, b) => text(a).localeCompare(text(b), undefined, { numeric: true });
      [...body.rows].sort((a, b) => (up ? order(a, b) : order(b, a))).forEach((row) => body.append(row));
    }));
    const wrong = document.getElementById("only-wrong"), find = document.getElementById("find"), shown = document.getElementById("shown");
    const filter = () => {
      const wanted = find.value.trim().toLowerCase();
      let count = 0;
      for (const row of body.rows) {
        row.hidden = (wrong.checked && !row.classList.contains("wrong")) || !row.cells[0].textContent.toLowerCase().includes(wanted);
        count += row.hidden ? 0 : 1;
      }
      shown.textContent = `${count} of ${body.rows.length}`;
    };
    wrong.addEventListener("change", filter);
    find.addEventListener("input", filter);
    filter();
  }
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((element) => { element.open = true; }));
})();
