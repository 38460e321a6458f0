"use strict";
// What the reviewer said, what it proves, and where it is kept.
const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const storageKey = "anon-batch review " + data.review_id;
const MARKS = { fine: "fine", missed: "missed", ugly: "ugly", wrong_region: "wrong region" };
const last = data.first + data.items.length;
const truths = unseal();
let storable = true;
let state = load();
const steps = []; // for undo

function fresh() { return { marks: {}, at: data.first, reviewer: "", started: false, finished: false }; }

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(storageKey));
    localStorage.setItem(storageKey + " test", "1"); localStorage.removeItem(storageKey + " test");
    if (kept && typeof kept === "object" && kept.marks) {
      const at = kept.at >= data.first && kept.at < last ? kept.at : data.first;
      return { ...fresh(), ...kept, at, marks: checked(kept.marks) };
    }
  } catch (error) { storable = false; }
  return fresh();
}
function save() {
  if (storable) try { localStorage.setItem(storageKey, JSON.stringify(state)); } catch (error) { storable = false; }
}

// Return the marks that make sense, because a file or the browser's storage may hold anything.
function checked(marks) {
  const out = {};
  for (const [key, own] of Object.entries(marks)) {
    const index = Number(key);
    if (!Number.isInteger(index) || !(index in data.ids) || !own || !Object.hasOwn(MARKS, own.mark)) continue;
    const boxes = (Array.isArray(own.boxes) ? own.boxes : []).filter((item) => item && Array.isArray(item.box) && item.box.length === 4
      && item.box.every(Number.isFinite) && item.box[0] < item.box[2] && item.box[1] < item.box[3] && typeof item.label === "string");
    out[index] = { mark: own.mark, boxes: own.mark === "missed" ? boxes.map(({ box, label }) => ({ box, label })) : [],
      seconds: Number.isFinite(own.seconds) ? own.seconds : null };
  }
  return out;
}

// Hidden from a glance, not from a search: which images show a planted face, and where.
function unseal() {
  const bytes = Uint8Array.from(atob(data.sealed), (letter) => letter.charCodeAt(0));
  let stream = parseInt(data.review_id.slice(0, 8), 16);
  for (let at = 0; at < bytes.length; at++) {
    stream = (Math.imul(1664525, stream) + 1013904223) >>> 0;
    bytes[at] ^= stream >>> 24;
  }
  const view = new DataView(bytes.buffer);
  return data.ids.map((_, index) => bytes[17 * index] & 1 ? [1, 5, 9, 13].map((at) => view.getFloat32(17 * index + at, true)) : null);
}
function touches(one, other) {
  return Math.max(one[0], other[0]) < Math.min(one[2], other[2]) && Math.max(one[1], other[1]) < Math.min(one[3], other[3]);
}
function isCaught(index) {
  const own = state.marks[index];
  return own.mark === "missed" && (!own.boxes.length || own.boxes.some(({ box }) => touches(box, truths[index])));
}

// The bound as if no further image showed anything missed (`best`), and as if all did (`worst`, which holds whenever one stops).
function tally() {
  const found = { judged: 0, missed: 0, left: 0, planted: 0, caught: 0, plantsLeft: 0 };
  data.ids.forEach((_, index) => {
    const own = state.marks[index], planted = truths[index] !== null;
    found.judged += own ? 1 : 0;
    if (planted) {
      found.planted++;
      if (!own) found.plantsLeft++; else if (isCaught(index)) found.caught++;
    } else if (!own) found.left++; else if (own.mark === "missed") found.missed++;
  });
  const bound = (missed, caught) => missed < data.bounds.length ? data.bounds[missed][caught] : 1;
  found.best = bound(found.missed, found.caught + found.plantsLeft);
  found.worst = bound(found.missed + found.left, found.caught);
  found.proven = found.worst <= data.settings.claim;
  found.possible = found.best <= data.settings.claim;
  return found;
}

function setMark(index, mark, seconds) {
  const before = state.marks[index];
  steps.push({ index, before: before ? JSON.stringify(before) : null });
  const boxes = mark === "missed" && before ? before.boxes : [];
  state.marks[index] = { mark, boxes, seconds: before && before.seconds !== null ? before.seconds : seconds };
  save();
}
function setBoxes(index, boxes, step = true) {
  const before = state.marks[index];
  if (step) steps.push({ index, before: before ? JSON.stringify(before) : null });
  state.marks[index] = { seconds: null, ...before, mark: "missed", boxes };
  save();
}
function undo() {
  const step = steps.pop();
  if (!step || state.finished) return false;
  if (step.before === null) delete state.marks[step.index]; else state.marks[step.index] = JSON.parse(step.before);
  state.at = step.index;
  save();
  return true;
}

function verdictFile() {
  const marks = Object.keys(state.marks).map(Number).sort((a, b) => a - b).map((index) => ({ item: index, image_id: data.ids[index], ...state.marks[index] }));
  const head = {};
  for (const key of ["format", "version", "review_id", "run_id", "sample_sha256", "settings", "ids", "sealed"]) head[key] = data[key];
  return { ...head, reviewer: state.reviewer, finished: state.finished, saved_at: new Date().toISOString(), marks };
}
// Take the marks of a file for images that are not judged here; return what was wrong with it, or how many were taken.
function mergeFile(text) {
  let file;
  try { file = JSON.parse(text); } catch (error) { return { wrong: "This is not a JSON file." }; }
  if (!file || file.format !== data.format || !Array.isArray(file.marks)) return { wrong: "This is not a verdict file of a review page." };
  if (file.review_id !== data.review_id) return { wrong: "This file belongs to another review (" + file.review_id + "); this page is " + data.review_id + "." };
  if (state.finished) return { wrong: "This review is finished." };
  if (state.reviewer && file.reviewer && file.reviewer !== state.reviewer) {
    return { wrong: "This file is by " + file.reviewer + ". `anon-batch review OUTPUT --import` puts files of several reviewers together." };
  }
  const marks = checked(Object.fromEntries(file.marks.map((own) => [own && own.item, own])));
  const taken = Object.keys(marks).filter((index) => !state.marks[index]);
  for (const index of taken) state.marks[index] = marks[index];
  state.reviewer = state.reviewer || (typeof file.reviewer === "string" ? file.reviewer : "");
  save();
  return { taken: taken.length };
}
