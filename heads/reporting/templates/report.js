"use strict";
// Theme, sorting, and reading off the curves. The page says all it has to say without this.
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to the ${dark() ? "light" : "dark"} page`);
    button.setAttribute("aria-pressed", String(dark()));
    document.dispatchEvent(new Event("themechange"));
  };
  try { root.dataset.theme = localStorage.getItem("featcache-theme") || ""; } catch { /* storage may be forbidden */ }
  if (!root.dataset.theme) delete root.dataset.theme;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("featcache-theme", root.dataset.theme); } catch { /* see above */ }
    show();
  });
  system.addEventListener("change", show);
  show();

  let before;
  addEventListener("beforeprint", () => { before = root.dataset.theme; root.dataset.theme = "light"; show(); });
  addEventListener("afterprint", () => { if (before) root.dataset.theme = before; else delete root.dataset.theme; show(); });
})();

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const numbers = head.dataset.sort === "number";
    const now = head.getAttribute("aria-sort");
    const down = now ? now === "ascending" : numbers;
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const order = numbers ? (a, b) => value(a) - value(b) : (a, b) => value(a).localeCompare(value(b));
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort((a, b) => (down ? order(b, a) : order(a, b))));
  }));
}

for (const plot of document.querySelectorAll(".plot")) {
  const { lines, epochs } = JSON.parse(plot.dataset.curve);
  const frame = plot.querySelector(".frame");
  const read = document.createElement("div");
  const words = document.createElement("span");
  read.className = "read";
  read.append(words);
  frame.addEventListener("pointermove", (event) => {
    const box = frame.getBoundingClientRect();
    const at = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    const epoch = Math.round(at * (epochs - 1));
    words.textContent = `epoch ${epoch + 1}: ` + lines.map((line) => `${line.part} ${line.values[epoch].toFixed(3)}`).join(", ");
    read.style.left = `${epochs > 1 ? (100 * epoch) / (epochs - 1) : 0}%`;
    read.classList.toggle("flip", at > 0.4);
    if (!read.isConnected) frame.append(read);
  });
  frame.addEventListener("pointerleave", () => read.remove());
}

// Lists to be copied: by the clipboard, else (where a browser forbids it) by selecting them.
for (const button of document.querySelectorAll("[data-copies]")) {
  const text = document.querySelector(`[data-copied="${button.dataset.copies}"]`);
  const words = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      text.closest("details").open = true;
      getSelection().selectAllChildren(text);
      button.textContent = "Selected: copy it";
    }
    setTimeout(() => { button.textContent = words; }, 3000);
  });
}
