"use strict";
(() => {
  const details = JSON.parse(document.getElementById("details").textContent);
  const body = document.getElementById("operations").tBodies[0], rows = [...body.rows];
  const search = document.getElementById("search"), found = document.getElementById("found");
  const texts = rows.map((row, n) => `${row.textContent} ${details[n].source}`.toLowerCase());
  const open = new Map();
  const close = (n) => { open.get(n)?.remove(); open.delete(n); };
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row, n) => {
      row.hidden = !words.every((word) => texts[n].includes(word) || details[n].sha256.startsWith(word));
      if (row.hidden) close(n); else count += 1;
    });
    found.textContent = `${count} of ${rows.length}`;
  };
  const element = (name, text) => { const made = document.createElement(name); made.textContent = text; return made; };
  const show = (n) => {
    const about = details[n], cell = document.createElement("td"), row = document.createElement("tr");
    const inputs = element("p", about.inputs.length ? "Inputs: " : "No inputs.");
    about.inputs.forEach((input, at) => {
      const button = element("button", `${input} ${rows[input].cells[1].textContent} ${rows[input].cells[2].textContent}`);
      button.addEventListener("click", () => go(input));
      inputs.append(at ? " · " : "", button);
    });
    cell.append(inputs, element("p", `Equation: ${about.source}; ${JSON.stringify(about.equation)}`), element("p", `SHA-256 ${about.sha256}`));
    if (about.png) {
      const picture = document.createElement("img");
      picture.src = about.png;
      picture.alt = `Feature maps of operation ${n}`;
      cell.append(element("p", "The first feature maps, each from its least value (black) to its largest (white)" +
        (about.file ? `; all of them in ${about.file}:` : ":")), picture);
    }
    cell.colSpan = rows[n].cells.length;
    row.className = "detail";
    row.append(cell);
    rows[n].after(row);
    open.set(n, row);
  };
  const go = (n) => {
    if (rows[n].hidden) { search.value = ""; filter(); }
    if (!open.has(n)) show(n);
    rows[n].scrollIntoView({ block: "center" });
  };
  rows.forEach((row, n) => row.querySelector("button").addEventListener("click", () => (open.has(n) ? close(n) : show(n))));
  search.addEventListener("input", filter);
  filter();
  const wanted = Number.parseInt(location.hash.slice(1), 10);
  if (wanted >= 0 && wanted < rows.length) go(wanted);
})();
