"use strict";
// The readout: which moment is pointed at, and who held what then. The page is complete without it.

const MB_PER_GB = 1024;

function size(mb) {
  const [shown, unit] = Math.round(mb * 10) < 102400 ? [mb, " MB"] : [mb / MB_PER_GB, " GB"];
  return String(Math.round(shown * 10) / 10) + unit;
}

function seconds(value) {
  if (value < 0.9995) return String(Number(value.toFixed(3))) + " s";
  if (value < 59.95) return String(Number(value.toFixed(1))) + " s";
  const whole = Math.floor(value + 0.5), minutes = Math.floor(whole / 60), rest = whole % 60;
  if (minutes < 60) return minutes + " min" + (rest ? " " + rest + " s" : "");
  const all = Math.floor(value / 60 + 0.5), hours = Math.floor(all / 60);
  return hours + " h" + (all % 60 ? " " + (all % 60) + " min" : "");
}

function clock(epoch) {
  return new Date(epoch * 1000).toISOString().slice(11, 19) + " UTC";
}

function read(section) {
  const source = section.querySelector("script[type='application/json']");
  if (!source) return;
  const run = JSON.parse(source.textContent);
  const times = run.times.map((time) => time * run.unit);
  const looks = new Set(run.looks); // between two snapshots: who held what is not known
  const events = new Map(run.events.map(([column, kind]) => [column, run.kinds[kind]]));
  const find = (selector) => section.querySelector(selector);
  const probe = find(".probe"), cursor = find(".cursor"), running = find(".running");
  const rows = [...section.querySelectorAll(".legend tbody tr")];
  const names = rows.map((row) => row.querySelector("th").textContent);
  const tests = [...section.querySelectorAll(".tests tbody tr")];
  const bars = [...section.querySelectorAll(".test")];
  let column = run.chosen;

  function show(next, height) {
    column = Math.min(Math.max(next, 0), times.length - 1);
    const time = times[column], total = run.totals[column];
    const x = Math.min((time / run.span) * 100, 100) + "%";
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    find(".when").textContent = seconds(time) + (run.started ? ", " + clock(run.started + time) : "");
    find(".held").textContent = size(total);
    const share = run.limit ? ", " + Math.round((100 * total) / run.limit) + " % of the limit" : "";
    find(".share").textContent = share;
    const told = !looks.has(column);
    const event = !told ? ", between two snapshots" : events.has(column) ? ", " + events.get(column) : "";
    find(".what").textContent = event;
    let below = 0;
    const spoken = [];
    rows.forEach((row, index) => {
      const held = run.held[index][column];
      row.cells[1].textContent = told ? size(held) : "\u2013";
      row.classList.toggle("on", told && height !== undefined && height > below && height <= below + held);
      below += held;
      if (told && held > 0) spoken.push(names[index] + " " + size(held));
    });
    const seen = running_at(time);
    if (tests.length) {
      running.hidden = false;
      running.textContent = seen.length ? "Running: " + seen.join("; ") : "Running: no test of the table";
    }
    probe.setAttribute("aria-valuenow", time.toFixed(3));
    probe.setAttribute(
      "aria-valuetext",
      seconds(time) + ": " + size(total) + share + event + ". " + [...spoken, ...seen].join("; "),
    );
  }

  function running_at(time) {
    const seen = new Set();
    run.tests.forEach(([first, last], index) => {
      // Times of snapshots are rounded to `unit`.
      if (first - run.unit <= time && time <= last + run.unit) seen.add(index);
    });
    bars.forEach((bar) => bar.classList.toggle("on", seen.has(Number(bar.dataset.test))));
    return [...seen].map((index) => {
      const cells = tests[index].cells;
      return cells[0].textContent.trim() + ", " + cells[1].textContent + " added at most";
    });
  }

  function nearest(time) {
    let low = 0, high = times.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] < time) low = middle + 1;
      else high = middle;
    }
    return low > 0 && time - times[low - 1] < times[low] - time ? low - 1 : low;
  }

  function point(event) {
    const box = find(".graph").getBoundingClientRect();
    const time = ((event.clientX - box.left) / box.width) * run.span;
    cursor.setAttribute("visibility", "visible");
    show(nearest(time), (1 - (event.clientY - box.top) / box.height) * run.top);
  }

  function leave() {
    cursor.setAttribute("visibility", "hidden");
    show(run.chosen);
  }

  const attributes = {
    tabindex: "0",
    role: "slider",
    "aria-label": "Moment of the run",
    "aria-orientation": "horizontal",
    "aria-valuemin": "0",
    "aria-valuemax": String(run.span),
  };
  for (const [name, value] of Object.entries(attributes)) probe.setAttribute(name, value);

  const steps = {
    ArrowLeft: () => column - 1,
    ArrowDown: () => column - 1,
    ArrowRight: () => column + 1,
    ArrowUp: () => column + 1,
    PageDown: () => column - Math.ceil(times.length / 10),
    PageUp: () => column + Math.ceil(times.length / 10),
    Home: () => 0,
    End: () => times.length - 1,
    Enter: () => run.chosen,
  };

  probe.addEventListener("pointermove", point);
  probe.addEventListener("pointerdown", point);
  probe.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse" && document.activeElement !== probe) leave();
  });
  probe.addEventListener("focus", () => cursor.setAttribute("visibility", "visible"));
  probe.addEventListener("blur", leave);
  probe.addEventListener("keydown", (event) => {
    if (event.key === "Escape") probe.blur();
    const step = steps[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    show(step());
  });
  show(run.chosen);
}

document.querySelectorAll(".run").forEach(read);
