"use strict";

// Asks for a report whenever the collector says that there is news, and shows it.

const PER_PAGE = 25;
const POLL_MS = 5000;

const view = { filter: "", troubled: false, from: 0 };
let report = null;
let heard = 0;
let live = false;

const day = new Plots(byId("day"), "", OF_SOURCES);

// ---- The whole ----

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
  showCluster(report.cluster);
  sync(byId("outputs"), report.outputs, (output) => output.name, makeOutput, showOutput);
  sync(byId("list"), report.integrations, (integration) => integration.name, makeIntegration, showIntegration);
  showLedger(report.ledger, report.outputs);
  showLetters(report.dead_letters);
  const changeKey = (change) => `${change.at} ${change.subject} ${change.to} ${change.key}`;
  const changes = report.changes.slice(0, 30);
  sync(byId("changes"), changes, changeKey, makeChange, showChange);
  byId("quiet").hidden = changes.length > 0;
  say(byId("live"), silent ? "not connected" : live ? "live" : `asked each ${POLL_MS / 1000} s`);
}

// What an item that was just opened wants.
function refreshView() {
  if (report) show();
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
      clock.ahead = report.now - Date.now();
      heard = Date.now();
      show();
      day.refresh(false);
      for (const list of ["outputs", "list"]) {
        for (const node of (byId(list).kept || new Map()).values()) {
          if (node.firstElementChild.open) node.plots.refresh(false);
        }
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
