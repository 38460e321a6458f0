// Keys, buttons, and which part of the page shows.
const SCREENS = ["intro", "review", "confirm", "done"], SLOWEST_S = 120;
const percent = (share) => (100 * share).toPrecision(share < 0.1 ? 2 : 3).replace(/\.?0+$/, (zeros) => zeros.includes(".") ? "" : zeros) + " %";
const number = (value) => value.toLocaleString("en");
const isJudged = (index) => index in state.marks;

function show(screen) {
  for (const name of SCREENS) find(name).hidden = name !== screen;
  refresh();
  if (screen === "review") { showImage().catch(showBroken); stage.focus({ preventScroll: true }); }
  else if (screen === "intro") find("reviewer").focus();
  else find(screen === "confirm" ? "finish" : "done").querySelector?.("button")?.focus() ?? find("finish").focus();
}
const screen = () => SCREENS.find((name) => !find(name).hidden);
function showBroken() { say("This image cannot be shown. The page may be damaged; ask for it again."); }
function say(text) { find("banner").textContent = text; find("banner").hidden = !text; }

function unjudgedAfter(at) {
  for (let step = 1; step <= data.items.length; step++) {
    const index = data.first + (at - data.first + step) % data.items.length;
    if (!isJudged(index)) return index;
  }
  return -1;
}
function advance() {
  const found = tally(), next = unjudgedAfter(state.at);
  selected = -1;
  if (next < 0 || found.proven) { save(); confirm(); return; }
  state.at = next;
  save();
  find("live").textContent = "image " + (next + 1);
  show("review");
}
function mark(kind) {
  if (!ready || state.finished) return;
  setMark(state.at, kind, Math.min(Math.round((performance.now() - shownAt) / 100) / 10, SLOWEST_S));
  if (kind === "missed") { refresh(); find("live").textContent = "missed; draw a box"; } else advance();
}
function next() { if (isJudged(state.at)) advance(); else mark("fine"); }
function back() {
  if (state.finished) return;
  if (screen() === "confirm") { show("review"); return; }
  if (state.at > data.first) { state.at--; selected = -1; save(); show("review"); }
}
function stepBack() { if (undo()) { selected = -1; show("review"); } }

function confirm() {
  const found = tally(), elsewhere = data.ids.length - found.judged, part = data.parts > 1 ? " of part " + (data.part + 1) : "";
  const own = data.ids.filter((_, index) => index >= data.first && index < last && !isJudged(index)).length;
  find("confirm-title").textContent = own ? number(own) + " images" + part + " are not judged yet" : "All images" + part + " are judged";
  find("confirm-text").textContent = elsewhere && !found.proven && !own
    ? "The other parts hold " + number(elsewhere) + " images that are not judged. Save the verdict file, and go on with another part; its page can load this file. The command puts all files together as well."
    : "Finish shows the result. Marks cannot be changed then, because the result says how many planted faces were found.";
  find("finish").hidden = Boolean(elsewhere) && !found.proven && data.parts > 1 && !own;
  document.querySelector("#confirm .load").hidden = data.parts < 2;
  show("confirm");
}
function finish() { state.finished = true; save(); steps.length = 0; result(); }
function result() {
  const found = tally(), claim = percent(data.settings.claim), complete = found.judged === data.ids.length;
  const title = find("verdict"), rows = [];
  title.className = found.proven ? "proven" : "open";
  title.textContent = found.proven ? "Proven: at most " + claim + " of the outputs show something that was missed"
    : "Not proven: more than " + claim + " of the outputs may show something that was missed";
  const bound = complete ? found.best : found.worst;
  find("explanation").textContent = (bound < 1 ? "With 95 % confidence at most " + percent(bound) + " of the release's " + number(data.outputs) + " outputs do. "
    : "This review bounds nothing. ") + (found.proven ? "" : complete ? found.planted - found.caught > data.settings.allow_uncaught
      ? "Too many planted faces were not seen: the images need a second reviewer, or a review of another sample with more time. "
      : "Something was missed: anonymize it, and review a fresh sample (another --seed). "
      : number(data.ids.length - found.judged) + " images were not judged; each counts as if something were missed in it. ")
    + "The bound takes into account that " + number(found.caught) + " of " + number(found.planted) + " planted faces were found.";
  const own = Object.entries(state.marks).filter(([index]) => !truths[index]).map(([, mark]) => mark);
  for (const [key, name] of Object.entries(MARKS)) rows.push([name, number(own.filter((mark) => mark.mark === key).length)]);
  rows.push(["boxes drawn", number(own.reduce((sum, mark) => sum + mark.boxes.length, 0))]);
  rows.push(["planted faces found", number(found.caught) + " of " + number(found.planted)]);
  const seconds = Object.values(state.marks).map((mark) => mark.seconds).filter((value) => value !== null);
  rows.push(["time", number(Math.round(seconds.reduce((sum, value) => sum + value, 0) / 6) / 10) + " min"]);
  fill(find("results"), rows, "tr", "td");
  show("done");
}
function fill(place, rows, row, cell) {
  place.replaceChildren(...rows.map(([name, value]) => {
    const line = document.createElement(row), left = document.createElement(cell), right = document.createElement(cell);
    left.textContent = name; right.textContent = value; right.className = "n";
    line.append(left, right);
    return line;
  }));
}

function refresh() {
  const found = tally(), own = state.marks[state.at];
  find("progress").max = data.ids.length; find("progress").value = found.judged;
  const part = data.parts > 1 ? "part " + (data.part + 1) + " of " + data.parts + ", " : "";
  find("count").textContent = part + (screen() === "review" ? "image " + number(state.at + 1) + ", " : "") + number(found.judged) + " of " + number(data.ids.length) + " judged";
  find("kept").textContent = storable ? "kept in this browser" : "";
  if (!storable) say("This browser does not keep your work. Save the verdict file before you close the page.");
  else if (!found.possible && !state.finished) say("A clean rest would no longer prove " + percent(data.settings.claim) + ". Going on finds more to repair; saving what you have is fine too.");
  else say("");
  for (const button of document.querySelectorAll("[data-mark]")) button.setAttribute("aria-pressed", own?.mark === button.dataset.mark);
  const drawing = own?.mark === "missed";
  find("drawing").hidden = !drawing; stage.classList.toggle("drawing", drawing);
  find("hint").textContent = boxes().length ? "Drag its corners, or another box." : "Drag a box in the image. A verdict without a box cannot be repaired.";
  if (ready && screen() === "review") drawBoxes();
  find("back").disabled = state.at <= data.first; find("undo").disabled = !steps.length;
  const counts = Object.fromEntries(Object.keys(MARKS).map((key) => [key, 0]));
  for (const one of Object.values(state.marks)) counts[one.mark]++;
  find("tally").replaceChildren(...Object.entries(MARKS).flatMap(([key, name]) => {
    const term = document.createElement("dt"), value = document.createElement("dd");
    term.textContent = name; value.textContent = number(counts[key]);
    return [term, value];
  }));
}
function download() {
  const link = document.createElement("a"), name = state.reviewer.replace(/[^A-Za-z0-9]+/g, "-").replace(/^-|-$/g, "").toLowerCase();
  const part = data.parts > 1 ? "-part" + (data.part + 1) : "";
  link.href = URL.createObjectURL(new Blob([JSON.stringify(verdictFile(), null, 1)], { type: "application/json" }));
  link.download = ["verdicts", data.review_id, name].filter(Boolean).join("-") + part + ".json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
function begin() { state.reviewer = find("reviewer").value.trim(); state.started = true; save(); if (isJudged(state.at)) advance(); else show("review"); }

document.addEventListener("keydown", (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, target = event.target;
  if (find("help").open) return;
  if (event.key === "Enter" && target === find("reviewer")) { begin(); return; }
  if (target.matches?.("input:not([type=checkbox]), select")) return;
  if ((key === " " || key === "Enter") && target.matches?.("button, input, summary")) return;
  if ((event.ctrlKey || event.metaKey) && key === "z") { event.preventDefault(); if (screen() === "review") stepBack(); return; }
  if (event.ctrlKey || event.metaKey) return;
  if (key === "?") { find("help").showModal(); event.preventDefault(); return; }
  const on = screen();
  if (on === "intro" && key === "Enter") return begin();
  if (on === "confirm" && !event.repeat && key === "Enter" && !find("finish").hidden) return finish();
  if (on === "confirm" && key === "Backspace") return back();
  if (on !== "review") return;
  const size = event.altKey ? 10 : 1, boxed = selected >= 0 && isDrawing();
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (arrows) {
    event.preventDefault();
    if (boxed) { nudge(size * arrows[0], size * arrows[1], event.shiftKey); refresh(); } else moveBy(-60 * arrows[0], -60 * arrows[1]);
    return;
  }
  const repeatable = { "+": () => zoomBy(1.25), "=": () => zoomBy(1.25), "-": () => zoomBy(0.8) };
  const once = { " ": next, Enter: next, f: () => mark("fine"), m: () => mark("missed"), u: () => mark("ugly"), w: () => mark("wrong_region"),
    b: () => { if (ready) addInMiddle(); }, z: stepBack, Backspace: back, Delete: () => { if (isDrawing()) removeBox(); }, Escape: () => select(-1), l: () => { if (isDrawing()) nextLabel(); },
    "[": () => { if (boxes().length) select((selected + boxes().length - 1 + (selected < 0)) % boxes().length); }, "]": () => { if (boxes().length) select((selected + 1) % boxes().length); },
    0: fit, 1: find("zoom-full").onclick, r: () => find("regions").click() };
  const action = repeatable[key] ?? (event.repeat ? undefined : once[key]);
  if (action) { event.preventDefault(); action(); } else if (once[key]) event.preventDefault();
});
// Because a button that was clicked would take the next Space, give the focus back to the image.
document.addEventListener("click", (event) => { if (event.detail > 0 && event.target.closest("main button, main input") && screen() === "review") stage.focus(); });
for (const button of document.querySelectorAll("[data-mark]")) button.onclick = () => mark(button.dataset.mark);
for (const button of document.querySelectorAll(".save")) button.onclick = download;
for (const button of document.querySelectorAll(".load")) button.onclick = () => find("file").click();
find("file").onchange = async () => {
  const [file] = find("file").files;
  if (!file) return;
  const { wrong, taken } = mergeFile(await file.text());
  find("file").value = ""; find("reviewer").value = state.reviewer;
  if (!wrong && (state.started || taken)) begin();
  say(wrong || number(taken) + " verdicts taken from the file.");
};
find("next").onclick = next; find("back").onclick = back; find("undo").onclick = stepBack; find("start").onclick = begin;
find("finish").onclick = finish; find("return").onclick = back; find("show-help").onclick = () => find("help").showModal();
find("regions").onchange = () => overlay.classList.toggle("bare", !find("regions").checked);
window.addEventListener("beforeunload", (event) => { if (!storable && Object.keys(state.marks).length) event.preventDefault(); });

find("task").textContent = "You see " + number(data.ids.length) + " images from a release of " + number(data.outputs) + ". If nothing was missed in them, and you find the planted faces, it is proven with 95 % confidence that at most "
  + percent(data.settings.claim) + " of the release show something that was missed.";
find("reviewer").value = state.reviewer;
if (state.finished) result(); else if (!state.started) show("intro"); else if (isJudged(state.at) && unjudgedAfter(state.at) < 0) confirm(); else show("review");
