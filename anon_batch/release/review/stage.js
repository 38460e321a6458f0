// The image: decoded ahead, zoomed and moved.
const stage = find("stage"), canvas = find("canvas"), overlay = find("overlay");
const SVG = "http://www.w3.org/2000/svg", MOST_SCALE = 24, MOST_FIT = 4, AHEAD = 3;
const view = { scale: 1, x: 0, y: 0, fitted: true };
const decoded = new Map();
let shownAt = 0, ready = false;

const item = () => data.items[state.at - data.first];

function decode(index) {
  if (!decoded.has(index)) {
    const image = new Image();
    image.src = "data:image/jpeg;base64," + find("image-" + index).textContent;
    decoded.set(index, image.decode().then(() => image));
  }
  return decoded.get(index);
}
function decodeAhead() {
  for (const index of decoded.keys()) if (Math.abs(index - state.at) > AHEAD) decoded.delete(index);
  for (let index = state.at + 1; index <= Math.min(state.at + AHEAD, last - 1); index++) decode(index).catch(() => {});
}
async function showImage() {
  const index = state.at, own = item();
  ready = false;
  const image = await decode(index);
  if (index !== state.at) return;
  const [width, height] = own.size;
  image.alt = "image " + (index + 1) + " of " + data.ids.length + ", " + width + " by " + height + " px, " + own.regions.length + " anonymized";
  for (const old of canvas.querySelectorAll("img")) old.remove();
  canvas.prepend(image);
  canvas.style.width = width + "px"; canvas.style.height = height + "px";
  overlay.setAttribute("viewBox", "0 0 " + width + " " + height);
  fit();
  drawRegions();
  drawBoxes();
  ready = true; shownAt = performance.now();
  decodeAhead();
}

function place() {
  canvas.style.transform = "translate(" + view.x + "px," + view.y + "px) scale(" + view.scale + ")";
  canvas.style.setProperty("--zoom", view.scale);
  canvas.classList.toggle("close", view.scale * item().size[0] / item().shown[0] > 2);
  const [width, height] = item().size, [shown] = item().shown;
  const scaled = shown < width ? ", shown at " + Math.round(100 * shown / width) + " % of its resolution" : "";
  find("caption").textContent = width + " × " + height + " px" + scaled + ", zoom " + Math.round(100 * view.scale) + " %";
  drawHandles();
}
function fitScale() {
  const [width, height] = item().size;
  return Math.min((stage.clientWidth - 16) / width, (stage.clientHeight - 16) / height, MOST_FIT);
}
function fit() { view.fitted = true; setScale(fitScale(), true); }
function setScale(scale, centred = false, px = stage.clientWidth / 2, py = stage.clientHeight / 2) {
  const [width, height] = item().size, least = Math.min(fitScale(), 1) / 2;
  const own = Math.min(Math.max(scale, least), MOST_SCALE), ratio = own / view.scale;
  view.x = centred ? (stage.clientWidth - width * own) / 2 : px - (px - view.x) * ratio;
  view.y = centred ? (stage.clientHeight - height * own) / 2 : py - (py - view.y) * ratio;
  view.scale = own;
  keepInSight(); place();
}
function keepInSight() {
  const [width, height] = item().size, margin = 60;
  view.x = Math.min(Math.max(view.x, margin - width * view.scale), stage.clientWidth - margin);
  view.y = Math.min(Math.max(view.y, margin - height * view.scale), stage.clientHeight - margin);
}
function zoomBy(factor, px, py) { view.fitted = false; setScale(view.scale * factor, false, px, py); }
function moveBy(dx, dy) { view.fitted = false; view.x += dx; view.y += dy; keepInSight(); place(); }
function toImage(event) {
  const area = stage.getBoundingClientRect();
  return [(event.clientX - area.left - view.x) / view.scale, (event.clientY - area.top - view.y) / view.scale];
}

function rect(name, [x1, y1, x2, y2]) {
  const out = document.createElementNS(SVG, "rect");
  for (const [key, value] of Object.entries({ x: x1, y: y1, width: x2 - x1, height: y2 - y1, class: name })) out.setAttribute(key, value);
  return out;
}
function drawRegions() {
  for (const old of overlay.querySelectorAll(".region, .region-under")) old.remove();
  for (const region of item().regions) overlay.prepend(rect("region under", region), rect("region", region));
  const counts = new Map();
  for (const [, , , , label, method] of item().regions) counts.set(label + ", " + method, 1 + (counts.get(label + ", " + method) || 0));
  find("regions-text").textContent = counts.size ? [...counts].map(([name, n]) => n + " × " + name).join("; ") : "nothing was anonymized here";
}

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const area = stage.getBoundingClientRect();
  zoomBy(Math.exp(-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 120) / 400), event.clientX - area.left, event.clientY - area.top);
}, { passive: false });
stage.addEventListener("dblclick", (event) => {
  if (event.target.closest("button") || isDrawing()) return;
  const area = stage.getBoundingClientRect();
  if (view.fitted) zoomBy(3, event.clientX - area.left, event.clientY - area.top); else fit();
});
new ResizeObserver(() => { if (!find("review").hidden && ready) { if (view.fitted) fit(); else place(); } }).observe(stage);
find("zoom-in").onclick = () => zoomBy(1.5); find("zoom-out").onclick = () => zoomBy(1 / 1.5);
find("zoom-fit").onclick = fit; find("zoom-full").onclick = () => { view.fitted = false; setScale(1); };
