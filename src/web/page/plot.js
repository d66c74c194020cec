"use strict";

// A line over a day: SVG whose points are minutes. It is looked at with the pointer or the arrow keys.
const Plot = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 1440;
  const HEIGHT = 100;

  function shape(kind, className) {
    const node = document.createElementNS(SVG, kind);
    node.setAttribute("class", className);
    return node;
  }

  // The next of 1, 2, 5, 10, 20, 50 … that is not below.
  function ceiling(most) {
    let step = 1;
    while (step * 10 < most) step *= 10;
    return [1, 2, 5, 10].map((n) => n * step).find((n) => n >= most) || 1;
  }

  function create(title, show) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const name = document.createElement("span");
    name.textContent = title;
    const readout = document.createElement("strong");
    const highest = document.createElement("span");
    const numbers = document.createElement("span");
    numbers.append(readout, highest);
    caption.append(name, numbers);
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    svg.setAttribute("tabindex", "0");
    svg.setAttribute("aria-label", title);
    const area = shape("path", "area");
    const line = shape("path", "line");
    const cursor = shape("path", "cursor");
    for (let n = 0; n <= 4; n += 1) {
      const grid = shape("path", "grid");
      grid.setAttribute("d", `M${(n * WIDTH) / 4} 0V${HEIGHT}`);
      svg.append(grid);
    }
    const floor = shape("path", "grid");
    floor.setAttribute("d", `M0 ${HEIGHT}H${WIDTH}`);
    svg.append(floor, area, line, cursor);
    const hours = document.createElement("div");
    hours.className = "hours";
    for (const text of ["24 h ago", "18", "12", "6", "now"]) {
      const hour = document.createElement("span");
      hour.textContent = text;
      hours.append(hour);
    }
    hours.setAttribute("aria-hidden", "true");
    figure.append(caption, svg, hours);

    let values = [];
    let end = 0;
    let looked = null;

    function tell() {
      const last = values.length - 1;
      const index = looked === null ? last : looked;
      const value = values[index];
      let text = value === undefined || value === null ? "not known" : show(value);
      if (looked !== null) {
        const at = new Date(end - (last - index) * 60000);
        text = `${at.toISOString().slice(11, 16)} UTC: ${text}`;
      }
      readout.textContent = text;
      const x = looked === null ? null : WIDTH - (last - index);
      cursor.setAttribute("d", x === null ? "" : `M${x} 0V${HEIGHT}`);
    }

    function draw(points, ended) {
      values = points;
      end = ended;
      const known = values.filter((value) => value !== null);
      const most = known.length ? Math.max(...known) : 0;
      const top = ceiling(most);
      highest.textContent = known.length ? `, at most ${show(most)}` : "";
      let path = "";
      let fill = "";
      let from = null;
      let x = WIDTH - values.length + 1;
      values.forEach((value, index) => {
        if (value !== null) {
          const y = (HEIGHT - (value / top) * (HEIGHT - 4)).toFixed(1);
          if (from === null) {
            from = x;
            path += `M${x} ${y}`;
            fill += `M${x} ${HEIGHT}L${x} ${y}`;
          } else {
            path += `L${x} ${y}`;
            fill += `L${x} ${y}`;
          }
        }
        const ends = from !== null && (value === null || index === values.length - 1);
        if (ends) {
          fill += `V${HEIGHT}Z`;
          from = null;
        }
        x += 1;
      });
      line.setAttribute("d", path);
      area.setAttribute("d", fill);
      const now = known.length ? show(known[known.length - 1]) : "not known";
      svg.setAttribute("aria-label", `${title}, the last 24 hours: now ${now}, at most ${show(most)}. Arrow keys go from minute to minute.`);
      tell();
    }

    function look(index) {
      looked = index === null || values.length === 0 ? null : Math.min(values.length - 1, Math.max(0, Math.round(index)));
      tell();
    }

    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * WIDTH;
      look(values.length - 1 - (WIDTH - x));
    });
    svg.addEventListener("pointerleave", () => look(null));
    svg.addEventListener("blur", () => look(null));
    svg.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -60, PageDown: 60 };
      if (event.key in steps) {
        look((looked === null ? values.length - 1 : looked) + steps[event.key]);
        event.preventDefault();
      } else if (event.key === "Escape") {
        look(null);
      }
    });
    return { figure, draw };
  }

  return { create };
})();

const HISTORY_MS = 20000;
const OF_SOURCES = ["Events a minute", "Behind", "Waiting for delivery"];
const OF_OUTPUT = ["Accepted a minute", "Oldest waits", "Waiting"];

// Three plots of the same day, asked for anew as long as somebody can see them.
class Plots {
  constructor(parent, query, [events, lag, backlog]) {
    this.query = query;
    this.asked = -HISTORY_MS;
    this.all = {
      events: Plot.create(events, (n) => count(n)),
      lag_s: Plot.create(lag, (n) => duration(n * 1000)),
      backlog: Plot.create(backlog, (n) => count(n)),
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
