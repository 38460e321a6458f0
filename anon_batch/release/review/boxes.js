// Boxes around what was missed: drawn, moved, resized, labelled, deleted.
const HANDLES = [["nw", 0, 1], ["ne", 2, 1], ["sw", 0, 3], ["se", 2, 3]], LEAST_PX = 2;
let selected = -1, drag = null;

const boxes = () => state.marks[state.at]?.boxes ?? [];
const isDrawing = () => state.marks[state.at]?.mark === "missed" && !state.finished;
const clamp = (value, most) => Math.min(Math.max(value, 0), most);
const round = (box) => box.map((value) => Math.round(10 * value) / 10);

function ordered([ax, ay], [bx, by]) {
  const [width, height] = item().size;
  return round([clamp(Math.min(ax, bx), width), clamp(Math.min(ay, by), height), clamp(Math.max(ax, bx), width), clamp(Math.max(ay, by), height)]);
}
const isLarge = (box) => box[2] - box[0] >= LEAST_PX && box[3] - box[1] >= LEAST_PX;

function replaceBox(at, box, step = false) {
  setBoxes(state.at, boxes().map((own, index) => index === at ? { ...own, box } : own), step);
  drawBoxes();
}
function addBox(box) {
  setBoxes(state.at, [...boxes(), { box, label: find("label").value || data.labels[0] }]);
  selected = boxes().length - 1;
  refresh();
}
function addInMiddle() {
  const [width, height] = item().size, side = Math.max(LEAST_PX, Math.min(width, height, Math.min(stage.clientWidth, stage.clientHeight) / view.scale) / 6);
  const x = clamp((stage.clientWidth / 2 - view.x) / view.scale, width), y = clamp((stage.clientHeight / 2 - view.y) / view.scale, height);
  const left = clamp(x - side / 2, width - side), top = clamp(y - side / 2, height - side);
  addBox(round([left, top, left + side, top + side]));
}
function removeBox() {
  if (selected < 0) return;
  setBoxes(state.at, boxes().filter((_, index) => index !== selected));
  selected = Math.min(selected, boxes().length - 1);
  refresh();
}
function select(at) { selected = at; if (at >= 0) find("label").value = boxes()[at].label; drawBoxes(); }
function relabel(label) {
  if (selected < 0) return;
  setBoxes(state.at, boxes().map((own, index) => index === selected ? { ...own, label } : own));
  drawBoxes();
}
function nextLabel() {
  const at = data.labels.indexOf(find("label").value);
  find("label").value = data.labels[(at + 1) % data.labels.length];
  relabel(find("label").value);
}
// Move the selected box, or its right and lower edges; inside the image.
function nudge(dx, dy, resize) {
  const [x1, y1, x2, y2] = boxes()[selected].box, [width, height] = item().size;
  if (resize) replaceBox(selected, round([x1, y1, Math.min(Math.max(x2 + dx, x1 + LEAST_PX), width), Math.min(Math.max(y2 + dy, y1 + LEAST_PX), height)]), true);
  else { const mx = Math.min(Math.max(dx, -x1), width - x2), my = Math.min(Math.max(dy, -y1), height - y2); replaceBox(selected, round([x1 + mx, y1 + my, x2 + mx, y2 + my]), true); }
}

function drawBoxes() {
  for (const old of overlay.querySelectorAll(".box, .box-under, .handle")) old.remove();
  selected = Math.min(selected, boxes().length - 1);
  boxes().forEach(({ box }, index) => {
    const under = rect("under box-under", box), own = rect("box" + (index === selected ? " selected" : ""), box);
    own.dataset.index = index;
    overlay.append(under, own);
  });
  drawHandles();
  const list = find("boxes");
  list.replaceChildren(...boxes().map(({ box, label }, index) => {
    const entry = document.createElement("li"), button = document.createElement("button");
    button.type = "button"; button.setAttribute("aria-pressed", index === selected);
    button.textContent = (index + 1) + ". " + label + ", " + Math.round(box[2] - box[0]) + " × " + Math.round(box[3] - box[1]) + " px at " + Math.round(box[0]) + ", " + Math.round(box[1]);
    button.onclick = () => { select(index); stage.focus(); };
    entry.append(button);
    return entry;
  }));
  find("remove").disabled = selected < 0;
}
function drawHandles() {
  for (const old of overlay.querySelectorAll(".handle")) old.remove();
  if (selected < 0 || !boxes()[selected] || !isDrawing()) return;
  const { box } = boxes()[selected], half = 5 / view.scale;
  for (const [name, atX, atY] of HANDLES) {
    const handle = rect("handle", [box[atX] - half, box[atY] - half, box[atX] + half, box[atY] + half]);
    handle.dataset.handle = name; handle.style.cursor = name + "-resize";
    overlay.append(handle);
  }
}

stage.addEventListener("pointerdown", (event) => {
  if (!ready || event.target.closest("button")) return;
  stage.focus();
  const start = toImage(event), moves = event.button === 1 || event.button === 2 || !isDrawing();
  const target = event.target.dataset ?? {};
  if (moves) drag = { kind: "view", x: event.clientX, y: event.clientY };
  else if (target.handle) {
    const [, atX, atY] = HANDLES.find(([name]) => name === target.handle), { box } = boxes()[selected];
    drag = { kind: "edges", fixed: [box[2 - atX], box[4 - atY]] };
    setBoxes(state.at, boxes());
  } else if (target.index !== undefined) {
    select(Number(target.index));
    setBoxes(state.at, boxes());
    drag = { kind: "box", start, box: boxes()[selected].box };
  } else drag = { kind: "new", start, shape: null };
  stage.setPointerCapture(event.pointerId);
  stage.classList.toggle("moving", drag.kind === "view");
  if (event.button === 1) event.preventDefault();
});
stage.addEventListener("pointermove", (event) => {
  if (!drag) return;
  const at = toImage(event);
  if (drag.kind === "view") { moveBy(event.clientX - drag.x, event.clientY - drag.y); drag.x = event.clientX; drag.y = event.clientY; }
  else if (drag.kind === "edges") { const box = ordered(drag.fixed, at); if (isLarge(box)) replaceBox(selected, box); }
  else if (drag.kind === "box") {
    const [x1, y1, x2, y2] = drag.box, [width, height] = item().size;
    const dx = Math.min(Math.max(at[0] - drag.start[0], -x1), width - x2), dy = Math.min(Math.max(at[1] - drag.start[1], -y1), height - y2);
    replaceBox(selected, round([x1 + dx, y1 + dy, x2 + dx, y2 + dy]));
  } else {
    drag.shape?.remove();
    drag.box = ordered(drag.start, at);
    overlay.append(drag.shape = rect("box", drag.box));
  }
});
function endDrag() {
  if (!drag) return;
  const own = drag;
  drag = null;
  own.shape?.remove();
  stage.classList.remove("moving");
  if (own.kind === "new") { if (own.box && isLarge(own.box)) addBox(own.box); else select(-1); }
}
stage.addEventListener("pointerup", endDrag);
stage.addEventListener("pointercancel", endDrag);
stage.addEventListener("contextmenu", (event) => event.preventDefault());
find("add").onclick = addInMiddle; find("remove").onclick = removeBox;
find("label").replaceChildren(...data.labels.map((name) => new Option(name)));
find("label").onchange = () => relabel(find("label").value);
find("label-choice").hidden = data.labels.length < 2;
