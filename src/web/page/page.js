"use strict";

// Asks for a report whenever the collector says that there is news, and shows it. Whatever comes from outside becomes text.

const PER_PAGE = 25;
const POLL_MS = 5000;
const HISTORY_MS = 20000;

const byId = (id) => document.getElementById(id);
const view = { filter: "", troubled: false, from: 0 };
let report = null;
// What the collector's clock is ahead of ours.
let ahead = 0;
let heard = 0;
let live = false;

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
const now = () => Date.now() + ahead;
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

// ---- Troubles ----

function stateText(condition) {
  if (condition.state === "healthy") return "healthy";
  const since = condition.since ? ` for ${duration(now() - condition.since)}` : "";
  return condition.state + since;
}

function showState(node, condition) {
  dress(node, `state ${TONES[condition.state] || "bad"}`);
  say(node, stateText(condition));
}

function nextText(condition, name) {
  if (condition.until && condition.until > now()) {
    return `Next attempt in ${duration(condition.until - now())}, at ${clockTime(condition.until)}`;
  }
  if (condition.until) return "Next attempt now";
  if (condition.state === "renewing" || condition.state === "paused") return "";
  return `Not tried again by itself. Once mended: mimecast-collector resume ${name}`;
}

function makeProblem() {
  const node = make("div", "problem");
  node.append(make("h3"), make("p", "detail"), make("p", "next"), make("p", "todo"), make("p", "at"));
  return node;
}

function showProblem(node, { who, name, condition }) {
  const tone = TONES[condition.state];
  dress(node, `problem ${{ passing: "passes", still: "rests" }[tone] || ""}`.trim());
  const [title, detail, next, todo, at] = node.children;
  const what = [condition.key, condition.title].filter(Boolean).join(" ");
  say(title, who ? `${who}: ${what || condition.state}` : what || condition.state);
  say(detail, condition.detail ? `“${condition.detail}”` : "");
  const tries = condition.until && condition.attempts ? `, after ${plural(condition.attempts, "failure")}` : "";
  const attempt = nextText(condition, name);
  say(next, attempt && attempt + tries);
  say(todo, condition.advice ? `What to do: ${condition.advice}` : "");
  const parts = [];
  if (condition.endpoint) parts.push(`At ${condition.endpoint}`);
  if (condition.request_id) parts.push(`request id ${condition.request_id}`);
  say(at, parts.join(", "));
  for (const part of node.children) part.hidden = part.textContent === "";
}

function showProblems(parent, problems) {
  sync(parent, problems, (p) => `${p.who} ${p.condition.key}`, makeProblem, showProblem);
}

const isWell = (condition) => condition.state === "healthy";
const streamName = (stream) => (stream.event_type ? `${stream.log} / ${stream.event_type}` : stream.log);

// Streams with the same trouble are told of once.
function problemsOf(integration) {
  const name = integration.name;
  const problems = [];
  if (!isWell(integration.condition)) problems.push({ who: "", name, condition: integration.condition });
  for (const [path, condition] of Object.entries(integration.resources)) {
    if (!isWell(condition)) problems.push({ who: path, name, condition });
  }
  const groups = new Map();
  for (const stream of integration.streams.filter((s) => !isWell(s.condition))) {
    const key = `${stream.condition.state} ${stream.condition.key} ${stream.condition.detail}`;
    if (!groups.has(key)) groups.set(key, { names: [], condition: stream.condition });
    groups.get(key).names.push(streamName(stream));
  }
  for (const { names, condition } of groups.values()) {
    const more = names.length > 3 ? ` and ${names.length - 3} more` : "";
    problems.push({ who: names.slice(0, 3).join(", ") + more, name, condition });
  }
  return problems;
}

// ---- Outputs ----

function makeOutput() {
  const node = make("div", "item");
  const row = make("div", "row");
  const name = make("div", "name");
  name.append(make("span"), make("span", "kind"));
  row.append(name, make("div", "state"), fact("Waiting"), fact("Oldest waits"), fact("Delivered"));
  node.append(row, make("div", "problems"));
  return node;
}

function showOutput(node, output) {
  const [row, problems] = node.children;
  const [name, state, waiting, age, taken] = row.children;
  say(name.firstElementChild, output.name);
  say(name.lastElementChild, output.kind);
  showState(state, output.condition);
  const bytes = output.backlog_bytes ? ` (${size(output.backlog_bytes)})` : "";
  tell(waiting, output.backlog_events ? count(output.backlog_events) + bytes : "nothing");
  tell(age, output.backlog_age_s === undefined ? "–" : duration(output.backlog_age_s * 1000));
  const refused = output.rejected ? `, refused ${count(output.rejected)}` : "";
  tell(taken, count(output.accepted) + refused);
  const trouble = isWell(output.condition) ? [] : [{ who: "", name: output.name, condition: output.condition }];
  showProblems(problems, trouble);
}

// ---- Integrations ----

const COLUMNS = ["Log type", "State", "Next poll", "Behind", "Newest event", "Mimecast keeps for", "Events", "Failed polls"];

function makeIntegration(integration) {
  const node = make("div", "item");
  const details = make("details");
  const summary = make("summary", "row");
  const name = make("div", "name");
  name.append(make("span"), make("span", "kind"));
  summary.append(name, make("div", "state"), fact("Behind"), fact("Waiting"), fact("Events"));
  const inside = make("div", "inside");
  const scroll = make("div", "scroll");
  const table = make("table");
  const head = make("tr");
  COLUMNS.forEach((column, n) => {
    const cell = make("th", n > 5 ? "n" : "", column);
    cell.scope = "col";
    head.append(cell);
  });
  table.append(make("thead"), make("tbody"));
  table.tHead.append(head);
  scroll.append(table);
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "group");
  scroll.setAttribute("aria-label", `Log types of ${integration.name}`);
  const plots = make("div", "plots");
  inside.append(scroll, plots);
  details.append(summary, inside);
  node.append(details, make("div", "problems"));
  node.plots = new Plots(plots, `integration=${encodeURIComponent(integration.name)}`);
  details.addEventListener("toggle", () => {
    if (details.open) {
      if (report) show();
      node.plots.refresh(true);
    }
  });
  return node;
}

// How the worst of an integration's parts is doing.
function worst(integration) {
  const order = Object.keys(TONES);
  const all = [integration.condition, ...Object.values(integration.resources), ...integration.streams.map((s) => s.condition)];
  return all.reduce((a, b) => (order.indexOf(b.state) > order.indexOf(a.state) ? b : a));
}

function behind(stream) {
  const fetched = Math.max(stream.last_success || 0, stream.newest || 0);
  return fetched ? now() - fetched : null;
}

function showIntegration(node, integration) {
  const [details, problems] = node.children;
  const [summary, inside] = details.children;
  const [name, state, late, waiting, events] = summary.children;
  const streams = integration.streams;
  say(name.firstElementChild, integration.name);
  const logs = new Set(streams.map((stream) => stream.log)).size;
  say(name.lastElementChild, `API ${integration.api}, ${plural(logs, "log type")}`);
  showState(state, worst(integration));
  tell(late, integration.behind_s === undefined ? "not known yet" : duration(integration.behind_s * 1000));
  tell(waiting, integration.backlog_events ? count(integration.backlog_events) : "nothing");
  tell(events, count(streams.reduce((sum, stream) => sum + stream.events, 0)));
  showProblems(problems, problemsOf(integration));
  if (details.open) {
    sync(inside.querySelector("tbody"), streams, streamName, makeStream, (row, stream) => showStream(row, stream, integration));
  }
}

function makeStream() {
  const row = make("tr");
  COLUMNS.forEach((_, n) => row.append(make("td", n > 5 ? "n" : "")));
  row.children[1].append(make("span", "state"));
  return row;
}

function showStream(row, stream, integration) {
  const cells = row.children;
  say(cells[0], streamName(stream));
  showState(cells[1].firstElementChild, stream.condition);
  const waits = Math.max(stream.next || 0, integration.condition.until || 0);
  let next = "–";
  if (stream.polling) next = "running";
  else if (waits > now()) next = `in ${duration(waits - now())}`;
  else if (stream.next) next = "now";
  say(cells[2], next);
  const lag = behind(stream);
  say(cells[3], lag === null ? "not known yet" : duration(lag));
  say(cells[4], stream.newest ? `${duration(now() - stream.newest)} old` : "none yet");
  let kept = "–";
  if (stream.kept_until) kept = stream.kept_until > now() ? duration(stream.kept_until - now()) : "over";
  say(cells[5], kept);
  say(cells[6], count(stream.events));
  const codes = Object.entries(stream.failures || {});
  const failed = codes.reduce((sum, [, n]) => sum + n, 0);
  say(cells[7], failed ? `${count(failed)} of ${count(stream.polls)}` : "0");
  cells[7].title = codes.map(([code, n]) => `${code}: ${n}`).join(", ");
}

// ---- Plots ----

class Plots {
  constructor(parent, query) {
    this.query = query;
    this.asked = -HISTORY_MS;
    this.all = {
      events: Plot.create("Events a minute", (n) => count(n)),
      lag_s: Plot.create("Behind", (n) => duration(n * 1000)),
      backlog: Plot.create("Waiting for delivery", (n) => count(n)),
    };
    parent.append(...Object.values(this.all).map((plot) => plot.figure));
  }

  async refresh(force) {
    if (!force && performance.now() - this.asked < HISTORY_MS) return;
    this.asked = performance.now();
    const answer = await fetch(`api/v1/history?${this.query}`).catch(() => null);
    if (!answer || !answer.ok) return;
    const history = await answer.json();
    // Nothing is remembered before the first minute is over.
    if (history.end === null) this.asked -= HISTORY_MS - 2000;
    for (const [name, plot] of Object.entries(this.all)) plot.draw(history[name], history.end);
  }
}

const day = new Plots(byId("day"), "");

// ---- The whole ----

function makeChange() {
  const node = make("li");
  node.append(make("time"), make("span", "mono"), make("span"));
  return node;
}

function showChange(node, change) {
  const [time, subject, what] = node.children;
  say(time, clockTime(change.at));
  time.dateTime = new Date(change.at).toISOString();
  say(subject, change.subject);
  const why = [change.key, change.title].filter(Boolean).join(" ");
  dress(what, `state ${TONES[change.to] || "bad"}`);
  say(what, change.to === "healthy" ? `recovered${why ? ` from ${why}` : ""}` : `${change.to}${why ? `: ${why}` : ""}`);
}

function showFacts() {
  const spool = report.spool;
  const texts = [
    `Spool ${size(spool.bytes)} of ${size(spool.limit)}`,
    `Put aside ${plural(report.quarantined, "record")}`,
    `Up ${duration(now() - report.started)}`,
    clockTime(now()),
  ];
  sync(byId("facts"), texts, (text) => texts.indexOf(text), () => make("span"), say);
  say(byId("place"), `mimecast-collector ${report.program_version}, state in ${report.state_dir}`);
}

function showCount() {
  const { total, matching, troubled } = report.integrations_of;
  const filtered = view.filter || view.troubled;
  const fits = filtered ? `${plural(matching, "integration")} of ${count(total)} shown` : plural(total, "integration");
  say(byId("count"), `${fits}, ${troubled ? `${count(troubled)} with trouble` : "none with trouble"}`);
  const pages = Math.max(1, Math.ceil(matching / PER_PAGE));
  const page = Math.floor(view.from / PER_PAGE) + 1;
  byId("pages").hidden = pages < 2;
  say(byId("at"), `Page ${page} of ${pages}`);
  byId("back").disabled = page <= 1;
  byId("forth").disabled = page >= pages;
}

function show() {
  const silent = Date.now() - heard > 3 * POLL_MS;
  const level = silent ? "unknown" : report.summary.level;
  if (document.documentElement.dataset.level !== level) document.documentElement.dataset.level = level;
  say(byId("word"), WORDS[level] || WORDS.unknown);
  const sentence = report.summary.sentence;
  const text = silent ? "The collector does not answer this page" : sentence.charAt(0).toUpperCase() + sentence.slice(1);
  say(byId("sentence"), `${text}.`);
  const title = `${{ ok: "OK", attention: "ATTENTION", critical: "CRITICAL" }[level] || "?"} – mimecast-collector`;
  if (document.title !== title) document.title = title;
  showFacts();
  showCount();
  sync(byId("outputs"), report.outputs, (output) => output.name, makeOutput, showOutput);
  sync(byId("list"), report.integrations, (integration) => integration.name, makeIntegration, showIntegration);
  const changeKey = (change) => `${change.at} ${change.subject} ${change.to} ${change.key}`;
  const changes = report.changes.slice(0, 30);
  sync(byId("changes"), changes, changeKey, makeChange, showChange);
  byId("quiet").hidden = changes.length > 0;
  say(byId("live"), silent ? "not connected" : live ? "live" : `asked each ${POLL_MS / 1000} s`);
}

let asking = null;
let again = false;

// One question at a time; news that comes meanwhile asks once more.
async function refresh() {
  if (asking) {
    again = true;
    return;
  }
  const query = new URLSearchParams({ order: "troubled", from: view.from, count: PER_PAGE, filter: view.filter });
  if (view.troubled) query.set("only", "troubled");
  asking = fetch(`api/v1/status?${query}`);
  try {
    const answer = await asking;
    if (answer.ok) {
      const told = await answer.json();
      if (told.integrations.length === 0 && view.from > 0) {
        view.from = 0;
        again = true;
      }
      report = told;
      ahead = report.now - Date.now();
      heard = Date.now();
      show();
      day.refresh(false);
      for (const node of (byId("list").kept || new Map()).values()) {
        if (node.firstElementChild.open) node.plots.refresh(false);
      }
    }
  } catch {
    // The next event or poll asks again; `show` says when it has been silent for too long.
  }
  asking = null;
  if (again) {
    again = false;
    refresh();
  }
}

function listen() {
  const events = new EventSource("api/v1/events");
  events.addEventListener("news", () => {
    live = true;
    if (!document.hidden) refresh();
  });
  events.addEventListener("error", () => {
    live = false;
    // A browser that was refused does not come back by itself.
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 6 * POLL_MS);
  });
}

function want(change) {
  Object.assign(view, change);
  refresh();
}

byId("filter").addEventListener("input", (event) => want({ filter: event.target.value, from: 0 }));
byId("troubled").addEventListener("change", (event) => want({ troubled: event.target.checked, from: 0 }));
byId("back").addEventListener("click", () => want({ from: Math.max(0, view.from - PER_PAGE) }));
byId("forth").addEventListener("click", () => want({ from: view.from + PER_PAGE }));
document.addEventListener("visibilitychange", () => document.hidden || refresh());

// Countdowns count between two reports.
setInterval(() => report && show(), 1000);
setInterval(() => live || refresh(), POLL_MS);
refresh();
listen();
