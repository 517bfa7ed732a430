// The waterfall of a session: draws the visible rows, the axis and the strip above them, and knows
// what a person looks for, zooms into and colours by.

import { compact, count, dollars, duration } from "./format.js";
import { ask } from "./live.js";
import { KINDS, Timeline, criticalPath, density, gaps, isFailed, mostAtOnce, tickLabel, ticks } from "./timeline.js";

const MAX_INDENT = 14;
const INDENT_PIXELS = 14;
const SPARE_ROWS = 6;
const LABEL_PIXELS = 72; // what a label on the axis takes
const HUES = 8;
const HEATS = 5;
const ZOOM_STEP = 1.6;
const EDGE_PIXELS = 7; // how near an edge of the brush one has to be to move it

const split = document.getElementById("split");
const panel = document.getElementById("timeline");
const grid = document.getElementById("grid");
const canvas = document.getElementById("canvas");
const over = document.getElementById("over-bars");
const axis = document.getElementById("axis");
const rowTemplate = document.getElementById("row");
const strip = document.getElementById("strip");
const picture = strip.querySelector("canvas");
const brush = document.getElementById("brush");
const search = document.getElementById("search");
const kindChoice = document.getElementById("only-kind");
const stateChoice = document.getElementById("only-state");
const colourChoice = document.getElementById("colour-by");
const legend = document.getElementById("legend");
const pathButton = document.getElementById("critical");
const freshButton = document.getElementById("fresh");
const fitButton = document.getElementById("fit");

const timeline = new Timeline();
const drawn = new Map(); // id -> the element of its row
let loaded = false; // whether it is ours to draw: until then there is what the page came with
let tell = null; // whom to tell what is selected and looked for
let texts = null; // what the collector finds in texts that are not here, once somebody looks for some
let page = "";
let current = null; // where the keyboard is
let selected = new URLSearchParams(location.search).get("event");
let fitted = false; // whether the axis spans the rows in view
let zoom = null; // from when to when the axis goes, where somebody chose it
let axisWindow = { from: 0, to: 1 };
let path = null; // what the end waited for, while that is shown
let classOf = (event) => `kind-${event.kind}`; // which colour
let fresh = []; // what has arrived out of view, and was not looked at yet
let cursor = null; // up to when the replay has come

// Shows the waterfall of the session at `address`; tells `select(id)` of clicks, `follow(id)` of
// where the keyboard goes and `look(text)` of what is looked for.
export function openWaterfall(address, listeners) {
  page = address;
  tell = listeners;
  readAddress();
  return {
    load,
    mark,
    has: (id) => timeline.events.has(id),
    get seq() {
      return timeline.seq;
    },
  };
}

// -- drawing ------------------------------------------------------------------------------------

function rowHeight() {
  return parseFloat(getComputedStyle(grid).getPropertyValue("--row"));
}

let height = rowHeight();
let drawnFor = ""; // which size of the grid

// How much of the grid shows rows: its head stays at the top.
function viewHeight() {
  return grid.clientHeight - document.getElementById("grid-head").offsetHeight;
}

function draw() {
  if (!loaded) return;
  const rows = timeline.rows;
  drawnFor = sizeOf(grid);
  canvas.style.height = `${rows.length * height}px`;
  const first = Math.max(Math.floor(grid.scrollTop / height) - SPARE_ROWS, 0);
  const last = Math.min(Math.ceil((grid.scrollTop + viewHeight()) / height) + SPARE_ROWS, rows.length);
  const inView = rows.slice(first, last);
  const wanted = new Set(inView);
  if (fresh.length) sayFresh(inView);
  drawAxis(zoom ?? (fitted ? timeline.windowOf(inView) : timeline.window));
  if (current) wanted.add(current); // it holds aria-activedescendant, wherever one has scrolled to
  const unused = [];
  for (const [id, element] of drawn) {
    const event = timeline.events.get(id);
    if (!wanted.has(event) || rows[event.row] !== event) {
      drawn.delete(id);
      unused.push(element);
    }
  }
  for (const event of wanted) {
    if (rows[event.row] !== event) continue;
    let element = drawn.get(event.id);
    if (!element) {
      element = unused.pop() ?? canvas.appendChild(newRow());
      drawn.set(event.id, element);
    }
    fill(element, event);
  }
  for (const element of unused) element.remove();
  if (current && drawn.has(current.id)) grid.setAttribute("aria-activedescendant", `row-${current.id}`);
  else grid.removeAttribute("aria-activedescendant");
}

function newRow() {
  return withParts(rowTemplate.content.firstElementChild.cloneNode(true));
}

function withParts(row) {
  const [name, took, tokens, cost, bar] = row.children;
  const [indent, , kind, said, title, mark, agent] = name.children;
  row.parts = { indent, kind, said, title, mark, agent, took, tokens, cost, bar: bar.firstChild };
  return row;
}

// The rows that the page came with (opening.py) become ours.
for (const row of canvas.querySelectorAll(".row")) drawn.set(row.id.slice("row-".length), withParts(row));

function fill(row, event) {
  const { parts } = row;
  row.id = `row-${event.id}`;
  row.event = event;
  row.style.transform = `translateY(${event.row * height}px)`;
  const isSelected = event.id === selected;
  const key = [event.id, event.seq, event.depth, event.collapsed, event.children.length, event.position, event.siblings, timeline.state].join();
  if (Number(row.dataset.seq) === event.seq && timeline.state !== "Running") row.key ??= key; // says all of it as it came
  row.setAttribute("aria-selected", isSelected);
  row.classList.toggle("current", event === current);
  row.classList.toggle("beside", Boolean(timeline.hits && !event.hit));
  row.classList.toggle("off-path", Boolean(path && !path.has(event)));
  row.classList.toggle("not-yet", cursor !== null && event.start > cursor);
  row.setAttribute("aria-rowindex", event.row + 2); // the head is the first
  const failed = isFailed(event);
  if (row.key !== key) {
    row.key = key;
    const open = event.state === "Running" && timeline.state !== "Running";
    row.classList.toggle("failed", failed);
    row.setAttribute("aria-level", event.depth + 1);
    row.setAttribute("aria-posinset", event.position);
    row.setAttribute("aria-setsize", event.siblings);
    if (event.children.length) row.setAttribute("aria-expanded", !event.collapsed);
    else row.removeAttribute("aria-expanded");
    parts.indent.style.width = `${Math.min(event.depth, MAX_INDENT) * INDENT_PIXELS}px`;
    setIcon(parts.kind, event.kind, `icon kind-${event.kind}`);
    parts.said.textContent = event.kind;
    parts.title.textContent = event.name;
    const agent = event.agent && event.kind !== "agent" && event.agent !== event.parent?.agent ? event.agent : "";
    const beside = [agent, event.kind === "llm" && event.model !== event.name ? event.model : ""].filter(Boolean).join(" · ");
    parts.agent.textContent = beside;
    parts.mark.className = `mark${open ? " still-open" : ""}`;
    const marked = event.state === "Fail" ? ["fail", "failed"] : event.state === "Cancelled" ? ["cancelled", "cancelled"] : open ? ["indeterminate", "still open when the session ended"] : null;
    parts.mark.replaceChildren(...(marked ? [icon(marked[0]), hiddenText(marked[1])] : []));
    row.title = event.error ? `${event.name}\n${event.error}` : event.name;
    parts.tokens.textContent = event.tokens === null ? "" : compact(event.tokens);
    parts.cost.textContent = costOf(event);
  }
  parts.took.textContent = event.end === null && timeline.state !== "Running" ? "–" : duration(timeline.endOf(event) - event.start);
  const end = cursor === null ? timeline.endOf(event) : Math.min(timeline.endOf(event), Math.max(cursor, event.start));
  const open = event.state === "Running" || end < timeline.endOf(event);
  const { from, to } = axisWindow;
  const away = event.start > to || end < from;
  parts.bar.className = `bar ${classOf(event)}${failed ? " failed" : ""}${open ? " open" : ""}${away ? " away" : ""}`;
  const left = clamp(((event.start - from) / (to - from)) * 100);
  const width = clamp(((end - from) / (to - from)) * 100) - left;
  parts.bar.style.left = `min(${left}%, 100% - 2px)`;
  parts.bar.style.width = `${Math.max(width, 0)}%`;
}

function costOf(event) {
  if (event.otherCost !== null) return event.otherCost;
  if (event.cost !== null) return dollars(event.cost);
  return event.kind === "llm" && event.state !== "Running" ? "unknown" : "";
}

function drawAxis(wanted) {
  const { from, to } = (axisWindow = wanted);
  const width = axis.clientWidth;
  const span = to - from;
  const { step, at } = ticks(from, to, Math.max(Math.floor(width / LABEL_PIXELS), 2));
  const room = Math.min(LABEL_PIXELS * 0.8, width * 0.28); // for the last label, less where all is narrow
  const labelled = at.filter((mark, place) => place === 0 || ((mark - from) / span) * width < width - room);
  const marks = labelled.map((mark) => {
    const label = element("b", "");
    label.textContent = tickLabel(mark, step);
    label.style.left = `${((mark - from) / span) * 100}%`;
    return label;
  });
  axis.replaceChildren(axis.firstElementChild, ...marks);
  canvas.style.setProperty("--tick", `${(step / span) * width}px`);
  canvas.style.setProperty("--first-tick", `${((at[0] - from) / span) * width}px`);
  drawOver(from, span, width);
  drawBrush();
}

// What lies over the bars of all rows: where nothing ran, and how far the replay has come.
function drawOver(from, span, width) {
  over.style.left = `${axis.offsetLeft}px`;
  over.style.width = `${width}px`;
  const bands = idle.map((gap) => {
    const band = element("div", "gap");
    const left = clamp(((gap.from - from) / span) * 100);
    const share = clamp(((gap.to - from) / span) * 100) - left;
    band.style.left = `${left}%`;
    band.style.width = `${share}%`;
    if (zoom && (share / 100) * width > LABEL_PIXELS) band.append(gapLabel(gap));
    return band;
  });
  if (cursor !== null && cursor >= from && cursor <= from + span) {
    const line = element("div", "now-line");
    line.style.left = `${((cursor - from) / span) * 100}%`;
    bands.push(line);
  }
  over.replaceChildren(...bands);
}

function gapLabel(gap) {
  const label = element("span", "");
  label.textContent = `${duration(gap.to - gap.from)} idle`;
  return label;
}

function drawAll() {
  const total = timeline.events.size;
  panel.hidden = panel.inert = false;
  document.getElementById("no-events").hidden = total > 0;
  strip.hidden = total === 0;
  grid.hidden = timeline.rows.length === 0;
  sayCount();
  grid.setAttribute("aria-rowcount", timeline.rows.length + 1);
  panel.classList.toggle("short", total === 0);
  draw();
}

function sayCount() {
  const total = timeline.events.size;
  const events = total === 1 ? "event" : "events";
  const shown = timeline.rows.length;
  const said = total === shown || timeline.hits ? `${count(total)} ${events}` : `${count(shown)} of ${count(total)} events unfolded`;
  const atOnce = most > 1 ? ` · ${count(most)} at once` : "";
  const waited = path ? ` · the end waited for ${count(path.size)}` : "";
  document.getElementById("timeline-note").textContent = said + atOnce + waited;
}

// -- the strip ----------------------------------------------------------------------------------

let idle = [];
let most = 0;

function drawStrip() {
  const scale = window.devicePixelRatio || 1;
  const width = strip.clientWidth;
  const tall = strip.clientHeight;
  if (!width || !timeline.events.size) return;
  const columns = Math.max(Math.floor(width / 2), 1);
  const { counts, failed, highest } = density(timeline, columns);
  picture.width = Math.round(width * scale);
  picture.height = Math.round(tall * scale);
  const pen = picture.getContext("2d");
  pen.scale(scale, scale);
  const colours = new Map(KINDS.map((kind) => [kind, colourOf(`kind-${kind}`)]));
  const room = tall - 12;
  const share = room / Math.max(highest, 3);
  counts.forEach((here, column) => {
    let top = tall - 7;
    for (const [kind, number] of here) {
      if (!number) continue;
      const high = Math.max(number * share, 1);
      pen.fillStyle = colours.get(kind);
      pen.fillRect(column * 2, top - high, 2, high);
      top -= high;
    }
    if (failed[column]) {
      pen.fillStyle = colours.get("error");
      pen.fillRect(column * 2 - 0.5, tall - 5, 3, 5);
    }
  });
  const { from, to } = timeline.window;
  const labels = idle
    .filter((gap) => ((gap.to - gap.from) / (to - from)) * width > LABEL_PIXELS)
    .map((gap) => {
      const label = gapLabel(gap);
      label.className = "strip-gap";
      label.style.left = `${((gap.from - from) / (to - from)) * 100}%`;
      label.style.width = `${((gap.to - gap.from) / (to - from)) * 100}%`;
      label.title = `Nothing ran for ${duration(gap.to - gap.from)} after ${gap.after.name}`;
      return label;
    });
  document.getElementById("strip-labels").replaceChildren(...labels);
}

function colourOf(className) {
  const probe = panel.appendChild(element("i", className));
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

function drawBrush() {
  const { from, to } = timeline.window;
  const isWhole = axisWindow.from <= from && axisWindow.to >= to;
  brush.hidden = isWhole;
  if (isWhole) return;
  const left = clamp(((axisWindow.from - from) / (to - from)) * 100);
  brush.style.left = `${left}%`;
  brush.style.width = `${clamp(((axisWindow.to - from) / (to - from)) * 100) - left}%`;
}

function look(from, to) {
  const whole = timeline.window;
  const least = Math.max((whole.to - whole.from) / 1e6, 10);
  if (to - from < least) [from, to] = [(from + to - least) / 2, (from + to + least) / 2];
  const span = Math.min(to - from, whole.to - whole.from);
  const start = Math.min(Math.max(from, whole.from), whole.to - span);
  zoom = span >= whole.to - whole.from ? null : { from: start, to: start + span };
  fitted = false;
  fitButton.setAttribute("aria-pressed", false);
  writeAddress();
  draw();
}

function zoomBy(factor, at = null) {
  const { from, to } = axisWindow;
  const middle = at ?? (current && current.start > from && current.start < to ? current.start : (from + to) / 2);
  look(middle - (middle - from) * factor, middle + (to - middle) * factor);
}

function showWhole() {
  zoom = null;
  fitted = false;
  fitButton.setAttribute("aria-pressed", false);
  writeAddress();
  draw();
}

function timeAt(x, box, { from, to }) {
  return from + clampShare((x - box.left) / box.width) * (to - from);
}

// Dragging over the strip chooses a stretch of time; in the chosen stretch it moves that, at its
// edges one of its ends.
strip.addEventListener("pointerdown", (press) => {
  if (press.button) return;
  const box = strip.getBoundingClientRect();
  const began = timeAt(press.clientX, box, timeline.window);
  const edges = brush.hidden ? null : brush.getBoundingClientRect();
  const { from, to } = axisWindow;
  let drag = (at) => look(Math.min(began, at), Math.max(began, at));
  if (edges && Math.abs(press.clientX - edges.left) < EDGE_PIXELS) drag = (at) => look(Math.min(at, to), Math.max(at, to));
  else if (edges && Math.abs(press.clientX - edges.right) < EDGE_PIXELS) drag = (at) => look(Math.min(from, at), Math.max(from, at));
  else if (edges && press.clientX > edges.left && press.clientX < edges.right) drag = (at) => look(from + at - began, to + at - began);
  const move = (moved) => Math.abs(moved.clientX - press.clientX) > 2 && drag(timeAt(moved.clientX, box, timeline.window));
  strip.setPointerCapture(press.pointerId);
  strip.addEventListener("pointermove", move);
  strip.addEventListener("lostpointercapture", () => strip.removeEventListener("pointermove", move), { once: true });
});

strip.addEventListener("dblclick", showWhole);

grid.addEventListener(
  "wheel",
  (wheel) => {
    const box = axis.getBoundingClientRect();
    if (wheel.ctrlKey || wheel.metaKey) {
      wheel.preventDefault();
      zoomBy(Math.exp(wheel.deltaY / 300), timeAt(wheel.clientX, box, axisWindow));
    } else if (zoom && wheel.deltaX && Math.abs(wheel.deltaX) > Math.abs(wheel.deltaY)) {
      wheel.preventDefault();
      pan(wheel.deltaX / box.width);
    }
  },
  { passive: false },
);

function pan(share) {
  const { from, to } = axisWindow;
  look(from + (to - from) * share, to + (to - from) * share);
}

document.getElementById("zoom-in").addEventListener("click", () => zoomBy(1 / ZOOM_STEP));
document.getElementById("zoom-out").addEventListener("click", () => zoomBy(ZOOM_STEP));
document.getElementById("zoom-whole").addEventListener("click", showWhole);

fitButton.addEventListener("click", () => {
  fitted = !fitted;
  zoom = null;
  fitButton.setAttribute("aria-pressed", fitted);
  writeAddress();
  draw();
});

// -- colours ------------------------------------------------------------------------------------

const colourings = {
  kind: () => ({ of: (event) => `kind-${event.kind}`, entries: [] }),
  agent: () => byHue((event) => event.agent, "no agent"),
  model: () => byHue((event) => event.model, "no model"),
  cost: byCost,
};

// The most frequent texts get a colour each; all others share grey.
function byHue(textOf, without) {
  const counts = new Map();
  for (const event of timeline.events.values()) {
    const text = textOf(event);
    if (text !== null) counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  const frequent = [...counts].sort((a, b) => b[1] - a[1]).slice(0, HUES);
  const hues = new Map(frequent.map(([text], place) => [text, `hue-${place}`]));
  const entries = [...hues].map(([text, hue]) => [hue, text]);
  entries.push(["hue-none", counts.size > HUES ? "others" : without]);
  return { of: (event) => hues.get(textOf(event)) ?? "hue-none", entries };
}

// Five steps between the cheapest and the dearest call, each as many times dearer than the one before.
function byCost() {
  const costs = [...timeline.events.values()].map((event) => event.cost).filter((cost) => cost > 0);
  const low = costs.reduce((least, cost) => Math.min(least, cost), Infinity);
  const high = costs.reduce((largest, cost) => Math.max(largest, cost), 0);
  const step = Math.log(high / low) / HEATS || 1;
  const of = (event) => (event.cost > 0 ? `heat-${Math.min(Math.floor(Math.log(event.cost / low) / step), HEATS - 1)}` : "hue-none");
  if (!costs.length) return { of, entries: [["hue-none", "no cost"]] };
  return { of, entries: [["heat-0", dollars(low)], ["heat-4", dollars(high)], ["hue-none", "no cost"]] };
}

function colour() {
  const { of, entries } = colourings[colourChoice.value]();
  classOf = of;
  legend.replaceChildren(
    ...entries.map(([hue, text]) => {
      const entry = element("span", "legend-entry");
      const said = element("bdi", "");
      said.textContent = text;
      entry.append(element("i", hue), said);
      return entry;
    }),
  );
  legend.hidden = !entries.length;
}

colourChoice.addEventListener("change", () => {
  colour();
  writeAddress();
  draw();
});

pathButton.addEventListener("click", togglePath);

function togglePath() {
  path = path ? null : criticalPath(timeline);
  pathButton.setAttribute("aria-pressed", Boolean(path));
  sayCount();
  draw();
}

// -- looking for events -------------------------------------------------------------------------

// How far the search for text has come.
const soFar = {
  asking: ", searching…",
  whole: "",
  behind: " so far",
  away: ", texts not searched: no answer",
};

const states = {
  failed: isFailed,
  open: (event) => event.state === "Running",
  cancelled: (event) => event.state === "Cancelled",
  well: (event) => event.state === "Success",
};

function filter() {
  const wanted = search.value.trim();
  const text = wanted.toLowerCase();
  const kind = kindChoice.value;
  const inState = states[stateChoice.value];
  const has = (said) => said !== null && said.toLowerCase().includes(text);
  const any = text || kind || inState;
  lookInTexts(wanted); // first: what was found before no longer counts
  timeline.filter(
    any
      ? (event) =>
          (!kind || event.kind === kind) &&
          (!inState || inState(event)) &&
          (!text || has(event.name) || has(event.agent) || has(event.model) || has(event.error) || texts?.has(event))
      : null,
  );
  tell.look(wanted);
  sayHits();
}

function lookInTexts(wanted) {
  if (texts) texts.look(wanted);
  else if (wanted)
    import("./texts.js").then(({ Texts }) => {
      texts ??= new Texts(page, found);
      texts.look(search.value.trim());
    });
}

// The collector has answered what it finds.
function found(more) {
  if (more) {
    timeline.filter(timeline.matches);
    drawAll();
  }
  sayHits();
}

function sayHits() {
  const { hits } = timeline;
  const text = search.value.trim();
  const state = texts?.state ?? "asking";
  const place = hits?.indexOf(current) ?? -1;
  document.getElementById("hits").hidden = !hits;
  const said = !hits ? "" : !hits.length ? "nothing found" : place < 0 ? `${count(hits.length)} found` : `${count(place + 1)} of ${count(hits.length)}`;
  document.getElementById("hits-note").textContent = said + (text ? soFar[state] : "");
  document.getElementById("no-hits").hidden = !hits || hits.length > 0 || (text && state === "asking");
  document.getElementById("looked-in").hidden = !text;
}

function refilter() {
  filter();
  writeAddress();
  grid.scrollTop = 0;
  if (current && timeline.rows[current.row] !== current) current = null;
  drawAll();
}

// The next or previous of some events, which are in order, from where the keyboard is; round.
function step(events, by) {
  if (!events?.length) return;
  const here = current ? current.place : by > 0 ? -1 : timeline.order.length;
  const next = by > 0 ? events.find((event) => event.place > here) ?? events[0] : events.findLast((event) => event.place < here) ?? events.at(-1);
  timeline.reveal(next);
  drawAll();
  moveTo(next, 5);
  tell.follow(next.id);
}

function stepError(by) {
  step(timeline.order.filter((event) => isFailed(event) && (!timeline.hits || event.kept)), by);
}

search.addEventListener("input", refilter);
kindChoice.addEventListener("change", refilter);
stateChoice.addEventListener("change", refilter);
document.getElementById("next-hit").addEventListener("click", () => step(timeline.hits, 1));
document.getElementById("previous-hit").addEventListener("click", () => step(timeline.hits, -1));
search.addEventListener("keydown", (press) => {
  if (press.key === "Enter") step(timeline.hits, press.shiftKey ? -1 : 1);
  else if (press.key === "Escape" && search.value) {
    search.value = "";
    refilter();
  } else if (press.key === "ArrowDown" || press.key === "Escape") grid.focus();
  else return;
  press.preventDefault();
});

// -- the address --------------------------------------------------------------------------------

const choices = { q: search, kind: kindChoice, state: stateChoice, colour: colourChoice };

// What is looked for, how it is coloured and where it is zoomed to stand in the address.
function writeAddress() {
  const query = new URLSearchParams(location.search);
  for (const [name, choice] of Object.entries(choices)) {
    if (choice.value && choice.value !== "kind") query.set(name, choice.value);
    else query.delete(name);
  }
  if (zoom) query.set("zoom", `${Math.round(zoom.from)}~${Math.round(zoom.to)}`);
  else query.delete("zoom");
  const wanted = query.size ? `${page}?${query}` : page;
  if (wanted !== location.pathname + location.search) history.replaceState(null, "", wanted);
}

function readAddress() {
  const query = new URLSearchParams(location.search);
  for (const [name, choice] of Object.entries(choices)) {
    const wanted = query.get(name);
    if (wanted !== null && (choice === search || [...choice.options].some((option) => option.value === wanted))) choice.value = wanted;
  }
  const [from, to] = (query.get("zoom") ?? "").split("~").map(Number);
  if (to > from) zoom = { from, to };
}

// -- moving -------------------------------------------------------------------------------------

// Puts the keyboard on an event and brings its row into view, with `above` rows before it if it
// was out of view.
function moveTo(event, above = 0) {
  current = event;
  const top = event.row * height;
  if (top < grid.scrollTop || top + height > grid.scrollTop + viewHeight()) {
    const below = top + height - viewHeight();
    grid.scrollTop = above || top < grid.scrollTop ? top - above * height : below;
  }
  draw();
  if (timeline.hits) sayHits();
  drawn.get(event.id).scrollIntoView({ block: "nearest" }); // the page, too, may have to scroll
}

// Shows an event as selected, or none.
function mark(id) {
  selected = id;
  const event = timeline.events.get(id);
  if (event) {
    show(event);
    current = event;
  }
  drawAll();
  if (event) moveTo(event);
  else if (!id) grid.focus({ preventScroll: true });
}

// Unfolds what hides an event, and gives up a filter that does.
function show(event) {
  if (timeline.hits && !event.kept) {
    search.value = kindChoice.value = stateChoice.value = "";
    filter();
    writeAddress();
  }
  timeline.reveal(event);
}

canvas.addEventListener("click", (click) => {
  const row = click.target.closest(".row");
  if (!row) return;
  if (click.target.closest(".twisty")) {
    timeline.setCollapsed(row.event, !row.event.collapsed);
    current = row.event;
    drawAll();
  } else {
    tell.select(row.event.id);
  }
});

canvas.addEventListener("dblclick", (click) => {
  const row = click.target.closest(".row");
  if (!row || !row.event.children.length) return;
  fold(row.event, !row.event.collapsed);
});

function fold(event, collapsed) {
  timeline.setCollapsed(event, collapsed);
  drawAll();
}

const rowKeys = {
  ArrowDown: (event, rows) => moveTo(rows[Math.min(event.row + 1, rows.length - 1)]),
  ArrowUp: (event, rows) => moveTo(rows[Math.max(event.row - 1, 0)]),
  PageDown: (event, rows) => moveTo(rows[Math.min(event.row + pageRows(), rows.length - 1)]),
  PageUp: (event, rows) => moveTo(rows[Math.max(event.row - pageRows(), 0)]),
  Home: (event, rows) => moveTo(rows[0]),
  End: (event, rows) => moveTo(rows[rows.length - 1]),
  ArrowRight: (event) => {
    if (event.collapsed) fold(event, false);
    else if (timeline.rows[event.row + 1]?.parent === event) moveTo(timeline.rows[event.row + 1]);
  },
  ArrowLeft: (event) => {
    if (event.children.length && !event.collapsed) fold(event, true);
    else if (event.parent) moveTo(event.parent);
  },
  Enter: (event) => tell.select(event.id),
  " ": (event) => tell.select(event.id),
};
rowKeys.j = rowKeys.ArrowDown;
rowKeys.k = rowKeys.ArrowUp;

function pageRows() {
  return Math.max(Math.floor(viewHeight() / height) - 1, 1);
}

grid.addEventListener("keydown", (press) => {
  if (press.shiftKey && zoom && ["ArrowLeft", "ArrowRight"].includes(press.key)) {
    press.preventDefault();
    pan(press.key === "ArrowLeft" ? -0.2 : 0.2);
    return;
  }
  const act = rowKeys[press.key];
  if (!act || !timeline.rows.length || press.metaKey || press.ctrlKey || press.altKey) return;
  press.preventDefault();
  const visible = current && timeline.rows[current.row] === current ? current : null;
  if (!visible) moveTo(timeline.rows[0]);
  else act(visible, timeline.rows);
  if (current && ["ArrowDown", "ArrowUp", "j", "k"].includes(press.key)) tell.follow(current.id);
});

grid.addEventListener("focus", () => {
  if (!current && timeline.rows.length) {
    const event = timeline.events.get(selected);
    current = event && timeline.rows[event.row] === event ? event : timeline.rows[0];
    draw();
  }
});

// Keys that work wherever one is on the page.
const pageKeys = {
  e: () => stepError(1),
  E: () => stepError(-1),
  n: () => step(timeline.hits, 1),
  N: () => step(timeline.hits, -1),
  "/": () => search.focus(),
  "+": () => zoomBy(1 / ZOOM_STEP),
  "-": () => zoomBy(ZOOM_STEP),
  0: showWhole,
  z: () => current && look(current.start - (timeline.endOf(current) - current.start) * 0.1, timeline.endOf(current) + (timeline.endOf(current) - current.start) * 0.1),
  c: togglePath,
  f: () => fitButton.click(),
  r: () => document.getElementById("replay").click(),
  "?": () => document.getElementById("keys").showModal(),
};

document.addEventListener("keydown", (press) => {
  const act = pageKeys[press.key];
  if (!act || press.metaKey || press.ctrlKey || press.altKey || press.defaultPrevented) return;
  if (press.target.closest("input, select, textarea, dialog") || !timeline.events.size) return;
  press.preventDefault();
  act();
});

document.getElementById("show-keys").addEventListener("click", () => document.getElementById("keys").showModal());

document.getElementById("expand-all").addEventListener("click", () => {
  timeline.setAllCollapsed(false);
  drawAll();
});

document.getElementById("collapse-all").addEventListener("click", () => {
  timeline.setAllCollapsed(true);
  while (current?.parent) current = current.parent;
  grid.scrollTop = 0;
  drawAll();
});

// -- replay -------------------------------------------------------------------------------------

document.getElementById("replay").addEventListener("click", async (click) => {
  const { toggleReplay } = await import("./replay.js");
  const isOpen = toggleReplay({ timeline, show: showMoment, event: showAt });
  click.target.setAttribute("aria-pressed", isOpen);
});

function showMoment(at) {
  cursor = at;
  draw();
}

function showAt(event) {
  show(event);
  drawAll();
  moveTo(event);
  tell.follow(event.id);
}

// -- living -------------------------------------------------------------------------------------

async function load() {
  const response = await ask(`${page}/timeline.json?after=${timeline.seq}`);
  if (response.status === 401 || response.status === 404) location.reload();
  if (!response.ok) throw new TypeError(`${response.status} for the timeline`);
  const first = !loaded;
  const atBottom = grid.scrollTop > 0 && grid.scrollTop + grid.clientHeight > grid.scrollHeight - height;
  const changed = timeline.merge(await response.json());
  if (changed || texts?.state === "away") texts?.again();
  if (!changed && !first) return;
  loaded = true;
  if (path) path = criticalPath(timeline);
  colour();
  if (first) filter();
  else if (timeline.hits) sayHits();
  if (first) for (const event of timeline.order) event.seen = true;
  else fresh = timeline.order.filter((event) => !event.seen && (!timeline.hits || event.kept));
  drawAll();
  requestAnimationFrame(() => setTimeout(surveyAll)); // the rows first
  if (atBottom) grid.scrollTop = grid.scrollHeight; // who reads the end, stays at the end
  const event = timeline.events.get(selected);
  if (first && event) {
    show(event);
    drawAll();
    moveTo(event, 5);
  }
}

// Who reads elsewhere is told how much is new where it is not seen.
function sayFresh(inView) {
  for (const event of inView) event.seen = true;
  fresh = fresh.filter((event) => !event.seen);
  freshButton.hidden = !fresh.length;
  freshButton.textContent = `${count(fresh.length)} new`;
}

freshButton.addEventListener("click", () => {
  const [event] = fresh;
  show(event);
  drawAll();
  moveTo(event, 5);
  grid.focus({ preventScroll: true });
});

// What it takes all events to know.
function surveyAll() {
  idle = gaps(timeline);
  most = mostAtOnce(timeline);
  sayCount();
  draw();
  drawStrip();
}

setInterval(() => {
  if (timeline.state !== "Running" || document.hidden) return;
  draw(); // open events grow
  drawStrip();
}, 500);

grid.addEventListener("scroll", draw, { passive: true });

new ResizeObserver(() => {
  if (drawnFor === sizeOf(grid)) return;
  height = rowHeight();
  draw();
  drawStrip();
}).observe(grid);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawStrip);

// -- small things ---------------------------------------------------------------------------------

function element(name, className, attributes = {}) {
  const made = document.createElement(name);
  made.className = className;
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "use"));
  setIcon(svg, name, "icon");
  return svg;
}

function setIcon(svg, name, className) {
  svg.setAttribute("class", className);
  svg.firstChild.setAttribute("href", `#icon-${name}`);
}

function hiddenText(text) {
  const span = element("span", "hidden");
  span.textContent = text;
  return span;
}

function sizeOf(element) {
  return `${element.clientWidth}x${element.clientHeight}`;
}

function clamp(percent) {
  return Math.min(Math.max(percent, 0), 100);
}

function clampShare(share) {
  return Math.min(Math.max(share, 0), 1);
}
