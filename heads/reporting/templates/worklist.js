"use strict";
// Decisions on the worklist: kept by this browser, and written down as decisions.csv or as the manifest they make.
(() => {
  const source = document.getElementById("worklist-data");
  if (!source) return;
  const { root, labels, rows, table } = JSON.parse(source.textContent);
  const $ = (id) => document.getElementById(id);
  const selects = [...document.querySelectorAll("select[data-row]")];
  const LEAVE_OUT = "leave out";

  // Decisions of all pages in one place, since a row that was kept as it is stands on the next page, too. By row, with
  // the images, so that none is taken for one on others.
  const place = "featcache-worklist";
  let chosen = {};
  try { chosen = JSON.parse(localStorage.getItem(place) || "{}") || {}; } catch { /* storage may be forbidden */ }
  const words = ({ decision, images }) => `${decision} ${images.length} ${root}${images[0]}`;
  const kept = (row) => words({ ...rows[row][0], decision: "keep" });

  // Of each image one decision: leaving it out counts before a label; two labels are a clash.
  function decided() {
    const of = new Map(), clashes = new Set();
    for (const select of selects) {
      const choice = rows[select.dataset.row][select.value];
      if (select.value === "" || select.value === "keep") continue;
      for (const image of choice.images) {
        const before = of.get(image) ?? choice.decision;
        if (before !== choice.decision && before !== LEAVE_OUT && choice.decision !== LEAVE_OUT) clashes.add(image);
        of.set(image, before === LEAVE_OUT || choice.decision === LEAVE_OUT ? LEAVE_OUT : choice.decision);
      }
    }
    return { of, clashes };
  }

  const images = (count) => `${count.toLocaleString("en")} image${count === 1 ? "" : "s"}`;
  function tell() {
    const { of, clashes } = decided();
    const rowsDecided = selects.filter((select) => select.value !== "").length;
    const out = [...of.values()].filter((decision) => decision === LEAVE_OUT).length;
    let text = rowsDecided ? `${rowsDecided} decision${rowsDecided === 1 ? "" : "s"}: ${images(out)} left out, ${images(of.size - out)} relabelled` : "No decision yet";
    if (clashes.size) text += `. ${images(clashes.size)} would get two labels: ${[...clashes].slice(0, 3).join(", ")}; change one of the decisions`;
    $("decided").textContent = text;
    $("decided").classList.toggle("flag", clashes.size > 0);
    $("forget").disabled = !rowsDecided;
    $("save-decisions").disabled = !of.size || clashes.size > 0;
    if ($("save-manifest")) $("save-manifest").disabled = !of.size || clashes.size > 0;
  }

  function keep() {
    for (const { value, dataset: { row } } of selects) {
      if (value === "") delete chosen[row];
      else chosen[row] = value === "keep" ? kept(row) : words(rows[row][value]);
    }
    try { localStorage.setItem(place, JSON.stringify(chosen)); } catch { /* see above */ }
    tell();
  }

  // A cell that a spreadsheet would run, or whose outer spaces it would lose, stands between apostrophes; see
  // featcache/system/spreadsheet_cells.py, which takes them off again.
  function dangerous(cell) {
    while (cell.length > 1 && cell.startsWith("'") && cell.endsWith("'")) cell = cell.slice(1, -1);
    return /^[=+\-@＝＋－＠]/.test(cell) || cell !== cell.trim();
  }
  const number = /^(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:inf|nan))$/;
  const guarded = (cell) => (!number.test(cell) && dangerous(cell) ? `'${cell}'` : cell);
  const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  const csv = (lines) => lines.map((line) => line.map((cell) => quoted(guarded(cell))).join(",")).join("\n") + "\n";

  function save(name, lines) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv(lines)], { type: "text/csv" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  $("save-decisions").addEventListener("click", () => {
    const lines = [...decided().of].map(([image, decision]) => [root + image, decision]);
    save("decisions.csv", [["path", "decision"], ...lines]);
  });

  if (table) $("save-manifest").addEventListener("click", () => {
    const { of } = decided();
    const { names, columns } = table;
    const cell = (name, i) => columns[name].cells?.[i] ?? columns[name].values[columns[name].codes[i]];
    const lines = [];
    columns.path.cells.forEach((image, i) => {
      const decision = of.get(image);
      if (decision === LEAVE_OUT) return;
      lines.push(names.map((name) => {
        if (name === "path") return root + image;
        return name === "label" && labels && decision ? decision.slice("relabel as ".length) : cell(name, i);
      }));
    });
    save("manifest.csv", [names, ...lines]);
  });

  $("forget").addEventListener("click", () => {
    for (const select of selects) select.value = "";
    keep();
  });
  for (const select of selects) {
    const row = select.dataset.row;
    const at = chosen[row] === kept(row) ? "keep" : rows[row].findIndex((choice) => words(choice) === chosen[row]);
    select.value = at === -1 ? "" : String(at);
    select.closest("p").hidden = false;
    select.addEventListener("change", keep);
  }
  $("decisions").hidden = false;
  tell();
})();
