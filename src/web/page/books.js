"use strict";

// The ledger, the dead letters and the changes of state.

const AT_OUTPUTS = ["Output", "Accepted", "Refused", "Filtered", "Stepped over", "Waiting"];
const LETTERS = ["Number", "Put aside", "By", "Stream", "Records", "Why"];

byId("at-outputs").append(makeTable(AT_OUTPUTS, 1, "Events at each output"));
byId("letters").append(makeTable(LETTERS, 6, "Dead letters"));

function showLedger(ledger, outputs) {
  const balances = ledger.balances;
  const [tone, word] = balances === undefined ? ["still", "is being drawn up"] : balances ? ["good", "balances"] : ["bad", "does not balance"];
  dress(byId("balance"), `state ${tone}`);
  say(byId("balance"), `The ledger ${word}`);
  say(byId("drawn-up"), ledger.drawn_up ? `drawn up ${duration(now() - ledger.drawn_up)} ago` : "");
  const more = ledger.differing - ledger.differences.length;
  const differences = ledger.differences.concat(more > 0 ? [`and ${count(more)} more: mimecast-collector ledger`] : []);
  sync(byId("differences"), differences, (text) => text, () => make("li"), say);
  sync(byId("notes"), ledger.notes, (text) => text, () => make("li"), say);
  const totals = ledger.totals;
  const facts = {
    "Files fetched": filesOf(totals),
    "Records read": count(totals.read),
    Stored: count(totals.stored),
    "Known already": count(totals.known),
    "Put aside": count(totals.quarantined),
  };
  sync(byId("totals"), Object.entries(facts), ([label]) => label, ([label]) => fact(label), (part, [, text]) => tell(part, text));
  sync(byId("at-outputs").querySelector("tbody"), outputs, (output) => output.name, () => makeRow(AT_OUTPUTS.length, 1), showAtOutput);
}

function showAtOutput(row, output) {
  const counts = [output.accepted, output.rejected, output.filtered, output.skipped, output.backlog_events];
  fill(row, [output.name, ...counts.map(count)]);
}

function showLetters(letters) {
  const shown = letters.newest.length;
  const all = letters.count;
  const some = shown < all ? `${count(all)} dead letters, the newest ${count(shown)} here` : plural(all, "dead letter");
  const how = "mimecast-collector dead-letters shows them, sends them again or throws them away";
  say(byId("letters-count"), all ? `${some}; ${how}.` : "None: nothing was refused, and all could be read.");
  byId("letters").hidden = all === 0;
  sync(byId("letters").querySelector("tbody"), letters.newest, (letter) => letter.number, makeLetter, showLetter);
}

function makeLetter() {
  const row = makeRow(LETTERS.length, 6);
  row.lastElementChild.className = "why";
  return row;
}

function showLetter(row, letter) {
  const who = letter.output === undefined ? "not readable" : letter.output;
  const sent = letter.sent_again === undefined ? "" : `sent again ${duration(now() - letter.sent_again)} ago; `;
  fill(row, [String(letter.number), clockTime(letter.at), who, letter.lane, count(letter.records), sent + letter.reason]);
}

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
