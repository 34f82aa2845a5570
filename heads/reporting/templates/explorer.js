"use strict";
// The map: 2D canvas, so that 20,000 marks need no graphics card. Marks are drawn once and copied.
(() => {
  const source = document.getElementById("points");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const { colours, shapes, marks } = JSON.parse(document.getElementById("marks").textContent);
  const count = data.x.length;
  const visible = new Uint8Array(count).fill(1);
  const selected = new Uint8Array(count);
  const X = new Float32Array(count);
  const Y = new Float32Array(count);
  const range = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
  const [left, right] = range(data.x), [low, high] = range(data.y);
  let codes, wrong, shownAs, order; // of each mark: its colour, whether it is ringed; the colours; what lies on top

  const $ = (id) => document.getElementById(id);
  const canvas = $("map-canvas");
  const over = $("map-over");
  const card = $("card");
  const context = canvas.getContext("2d");
  const top = over.getContext("2d");
  const filters = document.querySelector(".filters");
  const view = { k: 1, x: 0, y: 0 };
  let width = 0, height = 0, ratio = 1, size = 7, sprites = [], picked = 0;
  let current = -1, pinned = false, mode = matchMedia("(pointer: fine)").matches ? "lasso" : "", drag = null, queued = false;

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function sprite(index, bad) {
    const side = Math.ceil((size * 2 + 6) * ratio);
    const picture = document.createElement("canvas");
    picture.width = picture.height = side;
    const pen = picture.getContext("2d");
    pen.translate(side / 2, side / 2);
    pen.scale((ratio * size) / 16, (ratio * size) / 16);
    const path = new Path2D(shapes[(index + Math.floor(index / 8)) % 8]);
    pen.globalAlpha = 0.85;
    pen.fillStyle = colours[index % 8];
    pen.fill(path);
    pen.globalAlpha = 1;
    pen.lineWidth = 1;
    pen.strokeStyle = "rgb(110 110 110 / .75)";
    pen.stroke(path);
    if (bad) {
      pen.beginPath();
      pen.arc(0, 0, 12.5, 0, 7);
      pen.lineWidth = 2.8;
      pen.strokeStyle = style("--error-ring");
      pen.stroke();
    }
    return picture;
  }

  function place() {
    const box = canvas.getBoundingClientRect();
    ratio = Math.min(devicePixelRatio || 1, 2);
    width = box.width;
    height = box.height;
    for (const layer of [canvas, over]) { layer.width = width * ratio; layer.height = height * ratio; }
    size = count > 8000 ? 6 : count > 2000 ? 8 : width < 500 ? 9 : 11;
    sprites = [...Array(2 * shownAs.length).keys()].map((i) => sprite(shownAs[i >> 1], i & 1));
    redraw();
  }

  function project() {
    const scale = Math.min((width - 48) / (right - left || 1), (height - 48) / (high - low || 1)) * view.k;
    for (let i = 0; i < count; i++) {
      X[i] = width / 2 + view.x + (data.x[i] - (left + right) / 2) * scale;
      Y[i] = height / 2 + view.y - (data.y[i] - (low + high) / 2) * scale;
    }
  }

  function redraw() {
    if (queued) return;
    queued = true;
    requestAnimationFrame(draw);
  }

  function draw() {
    queued = false;
    project();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    for (let pass = picked ? 0 : 1; pass < 2; pass++) { // what is not selected first, pale
      context.globalAlpha = picked && !pass ? 0.18 : 1;
      for (const i of order) {
        if (!visible[i] || (picked && selected[i] !== pass)) continue;
        const picture = sprites[2 * codes[i] + wrong[i]];
        context.drawImage(picture, Math.round(X[i] * ratio - picture.width / 2), Math.round(Y[i] * ratio - picture.height / 2));
      }
    }
    context.globalAlpha = 1;
    drawOver();
  }

  function drawOver() {
    top.setTransform(ratio, 0, 0, ratio, 0, 0);
    top.clearRect(0, 0, width, height);
    const ink = style("--ink");
    if (current >= 0 && visible[current]) {
      top.strokeStyle = ink;
      top.lineWidth = 2.5;
      top.beginPath();
      top.arc(X[current], Y[current], size + 3, 0, 7);
      top.stroke();
    }
    if (drag && drag.path && drag.path.length > 1) {
      top.beginPath();
      outline(drag).forEach(([x, y], i) => (i ? top.lineTo(x, y) : top.moveTo(x, y)));
      top.closePath();
      top.fillStyle = "rgb(128 150 180 / .18)";
      top.fill();
      top.setLineDash([5, 4]);
      top.lineWidth = 1.5;
      top.strokeStyle = ink;
      top.stroke();
      top.setLineDash([]);
    }
  }

  // -- one image -----------------------------------------------------------------------------------

  function nearest(x, y, reach) {
    let best = -1, least = reach * reach;
    for (let i = 0; i < count; i++) {
      if (!visible[i]) continue;
      const d = (X[i] - x) ** 2 + (Y[i] - y) ** 2;
      if (d < least) { least = d; best = i; }
    }
    return best;
  }

  function element(tag, text, name) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  }

  const answers = answersOf(data, element, marks, colours);

  function colour(label) { // by all, or by one label
    const way = answers.colouring(label);
    codes = way.codes;
    wrong = way.wrong;
    shownAs = way.marks;
    // Ringed ones last, so that they lie on top.
    order = Uint32Array.from([...Array(count).keys()].sort((a, b) => wrong[a] - wrong[b] || a - b));
    for (const box of filters.querySelectorAll("[data-colouring]")) box.hidden = (box.dataset.colouring === "one") !== (label !== undefined);
  }

  function show(i) {
    if (i === current) return;
    current = i;
    drawOver();
    if (i < 0) return;
    const parts = [];
    const box = element("div", undefined, "pictures");
    const at = data.picture[i];
    if (at >= 0) {
      const layers = [["image", data.pictures[at]]];
      if (data.overlays.length && data.overlays[at]) layers.push([answers.evidence(i), data.overlays[at]]);
      card.classList.toggle("both", layers.length > 1);
      for (const [words, uri] of layers) {
        const holder = element("div");
        const picture = element("img");
        picture.src = uri;
        picture.alt = layers.length > 1 ? `${data.path[i]}: ${words}` : data.path[i];
        holder.append(picture);
        if (layers.length > 1) holder.append(element("span", words));
        box.append(holder);
      }
    } else box.append(element("p", "No picture of this one is kept on the page.", "hint"));
    parts.push(box);
    parts.push(element("h3", answers.title(i)));
    parts.push(element("p", answers.name(i), "name"));
    parts.push(element("p", answers.said(i), "verdict-line"));
    parts.push(...answers.details(i), ...nearTo(i));
    card.replaceChildren(...parts);
  }

  function nearTo(i) { // images that the head learnt from; each leads to its own mark
    if (!data.near.length || !data.near[i].length) return [];
    const strip = element("div", undefined, "near");
    for (const j of data.near[i]) {
      const button = element("button");
      button.type = "button";
      if (data.picture[j] >= 0) {
        const picture = element("img");
        picture.src = data.pictures[data.picture[j]];
        picture.alt = "";
        button.append(picture);
      }
      button.append(element("span", data.classes[data.label[j]]));
      button.title = data.path[j];
      button.addEventListener("click", () => { pinned = true; show(j); canvas.focus(); });
      strip.append(button);
    }
    return [element("h4", data.splits.includes("train") ? "Nearest training images of other patients or groups" : "Nearest images of other patients or groups"), strip];
  }

  // -- filters and selection -------------------------------------------------------------------------

  const chosen = (name) => new Set([...filters.querySelectorAll(`fieldset:not([hidden]) [name=${name}]:checked`)].map((box) => Number(box.value)));

  function filter() {
    const ofClass = chosen("class"), ofSplit = chosen("split"), error = filters.querySelector("[name=error]:checked")?.value ?? "all";
    const shown = new Array(shownAs.length).fill(0);
    for (let i = 0; i < count; i++) {
      const fits = ofSplit.has(data.split[i]) && (error === "all" || (error === "wrong") === wrong[i]);
      if (fits) shown[codes[i]]++;
      visible[i] = fits && ofClass.has(codes[i]) ? 1 : 0;
    }
    for (const place of filters.querySelectorAll("fieldset:not([hidden]) [data-class]")) place.textContent = shown[Number(place.dataset.class)].toLocaleString("en");
    if (current >= 0 && !visible[current]) { current = -1; pinned = false; }
    told();
    redraw();
  }

  const taken = () => { // selected and shown; where nothing is selected, all that is shown
    const rows = [];
    for (let i = 0; i < count; i++) if (visible[i] && (!picked || selected[i])) rows.push(i);
    return rows;
  };

  function told() {
    picked = selected.reduce((sum, one) => sum + one, 0);
    const rows = taken();
    $("selected-count").textContent = picked ? `${rows.length.toLocaleString("en")} selected` + (rows.length < picked ? ` (${picked - rows.length} more are filtered out)` : "") : `Nothing selected; ${rows.length.toLocaleString("en")} shown`;
    $("export").textContent = `Download ${rows.length.toLocaleString("en")} as CSV`;
    $("export").disabled = !rows.length;
    $("clear").hidden = !picked;
    $("selected").hidden = !picked;
    if (!picked) return;
    const lines = rows.slice(0, 200).map((i) => {
      const line = element("tr");
      const go = element("button", data.path[i], "link");
      go.type = "button";
      go.addEventListener("click", () => { pinned = true; show(i); });
      const first = element("td");
      first.append(go);
      line.append(first, ...answers.cells(i).map((cell) => element("td", cell)), element("td", data.splits[data.split[i]]));
      return line;
    });
    if (rows.length > 200) {
      const line = element("tr"), rest = element("td", `… and ${(rows.length - 200).toLocaleString("en")} more, all in the CSV`);
      rest.colSpan = 5;
      line.append(rest);
      lines.push(line);
    }
    $("selected").querySelector("tbody").replaceChildren(...lines);
  }

  function select(test, add) {
    for (let i = 0; i < count; i++) selected[i] = (add && selected[i]) || (visible[i] && test(X[i], Y[i])) ? 1 : 0;
    told();
    redraw();
  }

  function outline(d) {
    if (d.mode === "lasso") return d.path;
    const [[a, b], [c, e]] = [d.path[0], d.path[d.path.length - 1]];
    return [[a, b], [c, b], [c, e], [a, e]];
  }

  const inside = (corners) => (x, y) => { // even-odd rule
    let within = false;
    for (let i = 0, j = corners.length - 1; i < corners.length; j = i++) {
      const [a, b] = corners[i], [c, d] = corners[j];
      if (b > y !== d > y && x < ((c - a) * (y - b)) / (d - b) + a) within = !within;
    }
    return within;
  };

  $("export").addEventListener("click", () => {
    // A cell that begins so would be a formula to a spreadsheet; see featcache/spreadsheet.py.
    const safe = (value) => (typeof value === "string" && /^'*[=+\-@＝＋－＠\t\r]/.test(value) ? `'${value}'` : String(value));
    const quote = (value) => (/[",\r\n]/.test(value) ? `"${safe(value).replaceAll('"', '""')}"` : safe(value));
    const header = ["path", "part", ...answers.columns, "x", "y"];
    const lines = taken().map((i) => [data.path[i], data.splits[data.split[i]], ...answers.values(i), data.x[i], data.y[i]]);
    const text = [header, ...lines].map((line) => line.map(quote).join(",")).join("\n") + "\n";
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = "images.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
  const clear = () => select(() => false, false);
  $("clear").addEventListener("click", clear);
  filters.addEventListener("change", (event) => {
    if (event.target.name === "colouring") {
      colour(event.target.value === "" ? undefined : Number(event.target.value));
      place();
    }
    filter();
  });
  filters.addEventListener("submit", (event) => event.preventDefault());

  // -- pointer and keys ------------------------------------------------------------------------------

  const spot = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };

  function setMode(wanted) {
    mode = mode === wanted ? "" : wanted;
    canvas.classList.toggle("grab", mode !== "");
    for (const button of document.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  }

  function zoom(factor, x = width / 2, y = height / 2) {
    const k = Math.max(0.5, Math.min(40, view.k * factor)), f = k / view.k;
    view.x = (x - width / 2) * (1 - f) + view.x * f;
    view.y = (y - height / 2) * (1 - f) + view.y * f;
    view.k = k;
    redraw();
  }

  function reset() { Object.assign(view, { k: 1, x: 0, y: 0 }); redraw(); }

  for (const button of document.querySelectorAll("[data-mode]")) button.addEventListener("click", () => setMode(button.dataset.mode));
  const doings = { in: () => zoom(1.5), out: () => zoom(1 / 1.5), reset };
  for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", () => doings[button.dataset.do]());

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    drag = { mode, path: [spot(event)], moved: false, from: { ...view } };
    if (mode) canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = spot(event);
    if (drag && drag.mode) {
      const [a, b] = drag.path[0];
      drag.moved ||= Math.hypot(at[0] - a, at[1] - b) > 4;
      if (!drag.moved) return;
      drag.path.push(at);
      if (drag.mode === "move") { view.x = drag.from.x + at[0] - a; view.y = drag.from.y + at[1] - b; redraw(); } else drawOver();
    } else if (!pinned && event.pointerType !== "touch") {
      const i = nearest(...at, 14);
      if (i >= 0) show(i);
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    const done = drag;
    drag = null;
    if (!done) return;
    if (done.moved) {
      if (done.mode !== "move") select(inside(outline(done)), event.shiftKey);
      return;
    }
    const i = nearest(...spot(event), event.pointerType === "touch" ? 26 : 14);
    pinned = i >= 0 && !(pinned && i === current);
    show(i);
  });
  canvas.addEventListener("pointercancel", () => { drag = null; drawOver(); });
  canvas.addEventListener("wheel", (event) => {
    if (mode !== "move" && !event.ctrlKey) return; // the page scrolls on
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), ...spot(event));
  }, { passive: false });

  function step(dx, dy) {
    if (current < 0) return nearest(width / 2, height / 2, Infinity);
    let best = -1, least = Infinity;
    for (let i = 0; i < count; i++) {
      const along = (X[i] - X[current]) * dx + (Y[i] - Y[current]) * dy;
      if (i === current || !visible[i] || along <= 0) continue;
      const aside = Math.abs((X[i] - X[current]) * dy - (Y[i] - Y[current]) * dx);
      const cost = along + 2.5 * aside;
      if (cost < least) { least = cost; best = i; }
    }
    return best < 0 ? current : best;
  }

  function nextError() {
    for (let n = 1; n <= count; n++) {
      const i = (Math.max(current, -1) + n + count) % count;
      if (visible[i] && wrong[i]) return i;
    }
    return current;
  }

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const key = event.key;
    if (arrows[key]) { pinned = true; show(step(...arrows[key])); }
    else if (key === "e" || key === "E") { pinned = true; show(nextError()); }
    else if ((key === "Enter" || key === " ") && current >= 0) { selected[current] ^= 1; told(); redraw(); }
    else if (key === "+" || key === "=") zoom(1.5);
    else if (key === "-") zoom(1 / 1.5);
    else if (key === "0") reset();
    else if (key === "Escape") { pinned = false; show(-1); clear(); }
    else return;
    event.preventDefault();
  });

  for (const button of document.querySelectorAll("[data-point]")) {
    button.addEventListener("click", () => { pinned = true; show(Number(button.dataset.point)); $("explorer").scrollIntoView({ block: "start" }); });
  }

  // While printing no frame is drawn any more: leave a picture of the map in its place.
  addEventListener("beforeprint", () => { place(); draw(); $("map-print").src = canvas.toDataURL(); $("map-print").hidden = false; });
  addEventListener("afterprint", () => { $("map-print").hidden = true; place(); });

  canvas.positionOf = (i) => [X[i], Y[i]]; // for scripts: where an image is drawn, in pixels of the canvas
  new ResizeObserver(place).observe(canvas);
  document.addEventListener("themechange", place);
  $("selected").querySelector("thead tr").replaceChildren(...["Image", ...answers.header, "Part"].map((words) => {
    const head = element("th", words);
    head.scope = "col";
    return head;
  }));
  colour();
  if (mode) { const first = mode; mode = ""; setMode(first); }
  place();
  filter();
})();
