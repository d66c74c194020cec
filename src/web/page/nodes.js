"use strict";

// Words and nodes. Whatever comes from outside becomes text.

const byId = (id) => document.getElementById(id);

// ---- Words ----

const TONES = { healthy: "good", renewing: "passing", throttled: "passing", retrying: "passing", paused: "still", blocked: "bad" };
const WORDS = { ok: "No.", attention: "Not yet; have a look.", critical: "Soon, or already.", unknown: "That is not known." };

function duration(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  const pair = (big, name, small, other) => (small ? `${big} ${name} ${small} ${other}` : `${big} ${name}`);
  if (s < 3600) return pair(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86400) return pair(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return pair(Math.floor(s / 86400), "d", Math.floor((s % 86400) / 3600), "h");
}

const count = (n) => String(n).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;
// What the collector's clock is ahead of ours.
const clock = { ahead: 0 };
const now = () => Date.now() + clock.ahead;
const clockTime = (ms) => `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;

function size(bytes) {
  let value = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024) return `${value < 10 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1024;
  }
  return `${value.toFixed(1)} TiB`;
}

// ---- Nodes: made once, changed only where something differs, so that focus and selection stay ----

function make(kind, className, text) {
  const node = document.createElement(kind);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function dress(node, className) {
  if (node.className !== className) node.className = className;
}

// Brings the children of a node in line with a list, by key.
function sync(parent, items, key, create, change) {
  const old = parent.kept || new Map();
  const kept = new Map();
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    const node = old.get(name) || create(item);
    kept.set(name, node);
    change(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  for (const [name, node] of old) if (!kept.has(name)) node.remove();
  parent.kept = kept;
}

function fact(label) {
  const node = make("div", "fact");
  node.append(make("span", "label", label), make("span", "value"));
  return node;
}

function tell(node, text) {
  say(node.lastElementChild, text);
}

// A table with these columns, of which those from `numbers` on are numbers, in a box that scrolls if it must.
function makeTable(columns, numbers, label) {
  const table = make("table");
  const head = make("tr");
  columns.forEach((column, n) => {
    const cell = make("th", n >= numbers ? "n" : "", column);
    cell.scope = "col";
    head.append(cell);
  });
  table.append(make("thead"), make("tbody"));
  table.tHead.append(head);
  const scroll = make("div", "scroll");
  scroll.append(table);
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "group");
  scroll.setAttribute("aria-label", label);
  return scroll;
}

function makeRow(columns, numbers) {
  const row = make("tr");
  for (let n = 0; n < columns; n += 1) row.append(make("td", n >= numbers ? "n" : ""));
  return row;
}

function fill(row, texts) {
  texts.forEach((text, n) => say(row.children[n], text));
}
