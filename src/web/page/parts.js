"use strict";

// Outputs and integrations: how they are doing, what troubles them, what they count.

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

// An item that opens; what is inside is shown, and its plots are asked for, only while it is open.
function makeItem(facts, plots, query, show) {
  const node = make("div", "item");
  const details = make("details");
  const summary = make("summary", "row");
  const name = make("div", "name");
  name.append(make("span"), make("span", "kind"));
  summary.append(name, make("div", "state"), ...facts.map(fact));
  const inside = make("div", "inside");
  details.append(summary, inside);
  node.append(details, make("div", "problems"));
  const place = make("div", "plots");
  inside.append(place);
  node.plots = new Plots(place, query, plots);
  details.addEventListener("toggle", () => {
    if (!details.open) return;
    show();
    node.plots.refresh(true);
  });
  return node;
}

function makeOutput(output) {
  const query = `output=${encodeURIComponent(output.name)}`;
  const node = makeItem(["Waiting", "Oldest waits", "Delivered"], OF_OUTPUT, query, refreshView);
  const facts = make("div", "facts");
  node.querySelector(".inside").prepend(facts);
  return node;
}

function meanTime({ count: deliveries, sum_ms: sum }) {
  if (!deliveries) return "–";
  const mean = sum / deliveries;
  return mean < 10000 ? `${Math.round(mean)} ms` : duration(mean);
}

function showOutput(node, output) {
  const [details, problems] = node.children;
  const [summary, inside] = details.children;
  const [name, state, waiting, age, taken] = summary.children;
  say(name.firstElementChild, output.name);
  say(name.lastElementChild, output.kind);
  showState(state, output.condition);
  const bytes = output.backlog_bytes ? ` (${size(output.backlog_bytes)})` : "";
  tell(waiting, output.backlog_events ? count(output.backlog_events) + bytes : "nothing");
  tell(age, output.backlog_age_s === undefined ? "–" : duration(output.backlog_age_s * 1000));
  const refused = output.rejected ? `, refused ${count(output.rejected)}` : "";
  tell(taken, count(output.accepted) + refused);
  if (details.open) {
    const facts = {
      "In flight": count(output.in_flight),
      Filtered: count(output.filtered),
      "Dead letters": count(output.dead_letters),
      "Sent again, waiting": count(output.resending),
      "A delivery takes, on average": meanTime(output.deliveries),
      "Took something": output.last_success ? `${duration(now() - output.last_success)} ago` : "never since the start",
    };
    sync(inside.firstElementChild, Object.entries(facts), ([label]) => label, ([label]) => fact(label), (part, [, text]) => tell(part, text));
  }
  const trouble = isWell(output.condition) ? [] : [{ who: "", name: output.name, condition: output.condition }];
  showProblems(problems, trouble);
}

// ---- Integrations ----

const COLUMNS = ["Log type", "State", "Next poll", "Behind", "Newest event", "Mimecast keeps for", "Last request id", "Failed polls", "Events"];
const BOOKS = ["Log type", "Files fetched", "Files put aside", "Records read", "Stored", "Known already", "Put aside"];

function makeIntegration(integration) {
  const query = `integration=${encodeURIComponent(integration.name)}`;
  const node = makeItem(["Behind", "Waiting", "Events"], OF_SOURCES, query, refreshView);
  const inside = node.querySelector(".inside");
  inside.prepend(
    makeTable(COLUMNS, 7, `Log types of ${integration.name}`),
    make("h3", "", "Calls that Mimecast still takes"),
    make("ul", "rates"),
    make("h3", "", "Counted"),
    makeTable(BOOKS, 1, `Ledger of ${integration.name}`),
  );
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
  const types = new Set(streams.map((stream) => stream.log)).size;
  say(name.lastElementChild, `API ${integration.api}, ${plural(types, "log type")}`);
  showState(state, worst(integration));
  tell(late, integration.behind_s === undefined ? "not known yet" : duration(integration.behind_s * 1000));
  tell(waiting, integration.backlog_events ? count(integration.backlog_events) : "nothing");
  tell(events, count(streams.reduce((sum, stream) => sum + stream.events, 0)));
  showProblems(problems, problemsOf(integration));
  if (!details.open) return;
  const [logs, ratesTitle, rates, , books] = inside.children;
  const rowsOf = (table) => table.querySelector("tbody");
  sync(rowsOf(logs), streams, streamName, makeStream, (row, stream) => showStream(row, stream, integration));
  const known = Object.entries(integration.rates || {});
  ratesTitle.hidden = known.length === 0;
  sync(rates, known, ([path]) => path, makeRate, showRate);
  sync(rowsOf(books), streams, streamName, () => makeRow(BOOKS.length, 1), showBooks);
}

function makeRate() {
  const node = make("li");
  node.append(make("span", "mono"), make("meter"), make("span"));
  return node;
}

function showRate(node, [path, rate]) {
  const [name, meter, left] = node.children;
  say(name, path);
  const limit = rate.limit === undefined ? "" : ` of ${count(rate.limit)}`;
  const window = rate.window_s === undefined ? "" : ` in ${duration(rate.window_s * 1000)}`;
  const more = rate.left === 0 && rate.more_at > now() ? `, more in ${duration(rate.more_at - now())}` : "";
  const text = count(rate.left) + limit + window + more;
  say(left, text);
  meter.hidden = rate.limit === undefined;
  meter.max = Math.max(1, rate.limit || 0);
  meter.low = meter.max / 5;
  meter.value = rate.left;
  meter.setAttribute("aria-label", `Calls left of ${path}: ${text}`);
}

function filesOf(counts) {
  if (!counts.files_listed) return "–";
  return `${count(counts.files_fetched)} of ${count(counts.files_listed)}`;
}

function showBooks(row, stream) {
  const counts = stream.counts;
  const numbers = [counts.read, counts.stored, counts.known, counts.quarantined].map(count);
  const aside = counts.files_listed ? count(counts.files_quarantined) : "–";
  fill(row, [streamName(stream), filesOf(counts), aside, ...numbers]);
}

function makeStream() {
  const row = makeRow(COLUMNS.length, 7);
  row.children[1].append(make("span", "state"));
  row.children[6].className = "mono";
  return row;
}

function showStream(row, stream, integration) {
  const cells = row.children;
  say(cells[0], streamName(stream));
  const state = cells[1].firstElementChild;
  if (isWell(stream.condition) && !isWell(integration.condition)) {
    dress(state, "state still");
    say(state, "waits");
  } else {
    showState(state, stream.condition);
  }
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
  say(cells[6], stream.last_request ? stream.last_request.id : "–");
  cells[6].title = stream.last_request ? `${duration(now() - stream.last_request.at)} ago` : "";
  const codes = Object.entries(stream.failures || {});
  const failed = codes.reduce((sum, [, n]) => sum + n, 0);
  say(cells[7], failed ? `${count(failed)} of ${count(stream.polls)}` : "0");
  cells[7].title = codes.map(([code, n]) => `${code}: ${n}`).join(", ");
  say(cells[8], count(stream.events));
}
