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

  // A box that has nothing to scroll is no stop of the tab key.
  const stops = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    const scrolls = target.scrollWidth > target.clientWidth || target.scrollHeight > target.clientHeight;
    if (scrolls) target.tabIndex = 0; else target.removeAttribute("tabindex");
  }));
  document.querySelectorAll(".scroll, pre").forEach((box) => stops.observe(box));

  // A picture, large: by a click on it or by its button, in a dialog that Escape closes.
  const make = (name, of, text) => of.appendChild(Object.assign(document.createElement(name), { textContent: text ?? "" }));
  const dialog = make("dialog", document.body), tools = make("div", dialog), title = make("h2", tools), pan = make("div", dialog);
  tools.className = "tools";
  pan.className = "pan";
  pan.tabIndex = 0;
  title.id = "large";
  dialog.setAttribute("aria-labelledby", title.id);
  pan.setAttribute("role", "group");
  pan.setAttribute("aria-labelledby", title.id);
  let zoom = 1;
  // What lies at (x, y) of the box stays there.
  const resize = (factor, x = pan.clientWidth / 2, y = pan.clientHeight / 2) => {
    const before = zoom;
    zoom = Math.min(8, Math.max(1, zoom * factor));
    const across = (pan.scrollLeft + x) * zoom / before - x, down = (pan.scrollTop + y) * zoom / before - y;
    pan.style.setProperty("--zoom", zoom);
    pan.scrollTo(across, down);
  };
  const button = (text, act) => make("button", tools, text).addEventListener("click", act);
  button("Smaller", () => resize(1 / 1.5));
  button("Larger", () => resize(1.5));
  button("Close", () => dialog.close());
  dialog.addEventListener("keydown", ({ key }) => {
    if (key === "+" || key === "=") resize(1.5);
    if (key === "-") resize(1 / 1.5);
  });
  pan.addEventListener("click", ({ clientX, clientY }) => {
    const { left, top } = pan.getBoundingClientRect();
    resize(1.5, clientX - left, clientY - top);
  });
  dialog.addEventListener("close", () => pan.replaceChildren());
  const open = (picture, name) => {
    const copy = picture.cloneNode(true);
    // One element has an id; the copies of pixels go on using it.
    copy.querySelectorAll("[id]").forEach((element) => element.removeAttribute("id"));
    if (copy.viewBox) copy.style.setProperty("--ratio", copy.viewBox.baseVal.width / copy.viewBox.baseVal.height);
    title.textContent = name;
    pan.replaceChildren(copy);
    zoom = 1;
    pan.style.setProperty("--zoom", 1);
    dialog.showModal();
    const width = (element) => (element.querySelector("svg") ?? element).getBoundingClientRect().width;
    resize(Math.max(1, (1.5 * width(picture)) / width(copy)), 0, 0);
    pan.focus();
  };
  const enlarge = (picture, name, place) => {
    const small = make("button", place, "Enlarge");
    small.type = "button";
    small.className = "zoom";
    small.setAttribute("aria-label", `Enlarge: ${name}`);
    small.addEventListener("click", () => open(picture, name));
    picture.classList.add("zoomable");
    picture.addEventListener("click", () => open(picture, name));
  };
  document.querySelectorAll(".strip").forEach((strip) => enlarge(strip, strip.dataset.name, strip.parentElement));
  document.querySelectorAll("figure.panel > .figure").forEach((figure) => {
    const caption = figure.parentElement.querySelector("figcaption");
    enlarge(figure, caption ? caption.textContent : figure.getAttribute("aria-label").split(/[.:]/)[0], figure.parentElement);
  });

  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((element) => { element.open = true; }));
})();
