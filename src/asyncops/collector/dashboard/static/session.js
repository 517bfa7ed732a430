// One session's page: draws the timeline's visible rows, shows the selected event, keeps both live.

import { compact, count, dollars, duration } from "./format.js";
import { fetchText, follow, morph, soon } from "./live.js";
import { Timeline, tickLabel, ticks } from "./timeline.js";

const MAX_INDENT = 14;
const INDENT_PIXELS = 14;
const SPARE_ROWS = 6;
const LABEL_PIXELS = 72; // what a label on the axis takes

const head = document.getElementById("head");
const split = document.getElementById("split");
const panel = document.getElementById("timeline");
const grid = document.getElementById("grid");
const scroller = document.getElementById("scroller");
const canvas = document.getElementById("canvas");
const axis = document.getElementById("axis");
const detail = document.getElementById("detail");
const page = `/sessions/${head.dataset.session}`;

const timeline = new Timeline();
const drawn = new Map(); // id -> the element of its row
let current = null; // where the keyboard is
let selected = new URLSearchParams(location.search).get("event"); // whose detail shows
let shown = null; // the state the shown detail was fetched in
const folded = new Set(); // the parts of the detail that are folded
let fitted = false; // whether the axis spans the rows in view
let axisWindow = { from: 0, to: 1 };

// -- drawing ------------------------------------------------------------------------------------

function rowHeight() {
  return parseFloat(getComputedStyle(grid).getPropertyValue("--row"));
}

let height = rowHeight();

// How much of the scroller shows rows: its head stays at the top.
function viewHeight() {
  return scroller.clientHeight - document.getElementById("grid-head").offsetHeight;
}

function draw() {
  const rows = timeline.rows;
  canvas.style.height = `${rows.length * height}px`;
  const first = Math.max(Math.floor(scroller.scrollTop / height) - SPARE_ROWS, 0);
  const last = Math.min(Math.ceil((scroller.scrollTop + viewHeight()) / height) + SPARE_ROWS, rows.length);
  const inView = rows.slice(first, last);
  const wanted = new Set(inView);
  drawAxis(fitted ? timeline.windowOf(inView) : timeline.window);
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
  const row = element("div", "row", { role: "row" });
  const name = element("div", "c-name", { role: "gridcell" });
  const twisty = element("button", "twisty", { type: "button", tabindex: "-1", "aria-hidden": "true" });
  twisty.append(icon("chevron"));
  name.append(
    element("span", "indent"),
    twisty,
    icon("action"),
    element("span", "hidden"),
    element("bdi", "name"),
    element("span", "mark"),
    element("bdi", "agent"),
  );
  const bar = element("div", "c-bar", { role: "presentation" });
  bar.append(element("span", "bar"));
  row.append(name);
  for (const part of ["c-took", "c-tokens", "c-cost"]) row.append(element("div", part, { role: "gridcell" }));
  row.append(bar);
  const [indent, , kind, said, title, mark, agent] = name.children;
  row.parts = { indent, kind, said, title, mark, agent, took: row.children[1], tokens: row.children[2], cost: row.children[3], bar: bar.firstChild };
  return row;
}

function fill(row, event) {
  const { parts } = row;
  row.id = `row-${event.id}`;
  row.event = event;
  row.style.transform = `translateY(${event.row * height}px)`;
  const isSelected = event.id === selected;
  const key = [event.id, event.seq, event.depth, event.collapsed, event.children.length, event.position, event.siblings, timeline.state].join();
  row.setAttribute("aria-selected", isSelected);
  row.classList.toggle("current", event === current);
  row.setAttribute("aria-rowindex", event.row + 2); // the head is the first
  if (row.key !== key) {
    row.key = key;
    const failed = event.state === "Fail" || event.kind === "error";
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
    parts.bar.className = `bar kind-${event.kind}${failed ? " failed" : ""}${event.state === "Running" ? " open" : ""}`;
  }
  parts.took.textContent = event.end === null && timeline.state !== "Running" ? "–" : duration(timeline.endOf(event) - event.start);
  const { from, to } = axisWindow;
  const left = clamp(((event.start - from) / (to - from)) * 100);
  const width = clamp(((timeline.endOf(event) - from) / (to - from)) * 100) - left;
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
  const { step, at } = ticks(from, to, Math.max(Math.floor(width / LABEL_PIXELS), 1));
  const labelled = at.filter((mark, place) => place === 0 || ((mark - from) / span) * width < width - LABEL_PIXELS * 0.8);
  const marks = labelled.map((mark) => {
    const label = element("b", "");
    label.textContent = tickLabel(mark, step);
    label.style.left = `${((mark - from) / span) * 100}%`;
    return label;
  });
  axis.replaceChildren(axis.firstElementChild, ...marks);
  canvas.style.setProperty("--tick", `${(step / span) * width}px`);
  canvas.style.setProperty("--first-tick", `${((at[0] - from) / span) * width}px`);
}

function drawAll() {
  const total = timeline.events.size;
  panel.hidden = false;
  document.getElementById("no-events").hidden = total > 0;
  grid.hidden = total === 0;
  document.getElementById("timeline-note").textContent = total === timeline.rows.length ? `${count(total)} ${total === 1 ? "event" : "events"}` : `${count(timeline.rows.length)} of ${count(total)} events unfolded`;
  grid.setAttribute("aria-rowcount", timeline.rows.length + 1);
  panel.classList.toggle("short", total === 0);
  draw();
}

// -- selecting ----------------------------------------------------------------------------------

// Puts the keyboard on an event and brings its row into view, with `above` rows before it if it
// was out of view.
function moveTo(event, above = 0) {
  current = event;
  const top = event.row * height;
  if (top < scroller.scrollTop || top + height > scroller.scrollTop + viewHeight()) {
    const below = top + height - viewHeight();
    scroller.scrollTop = above || top < scroller.scrollTop ? top - above * height : below;
  }
  draw();
  drawn.get(event.id).scrollIntoView({ block: "nearest" }); // the page, too, may have to scroll
}

async function select(id, { remember = true } = {}) {
  selected = id;
  const event = timeline.events.get(id);
  shown = event?.state ?? null;
  if (remember) history.pushState(null, "", id ? `${page}?event=${encodeURIComponent(id)}` : page);
  if (!id) {
    detail.hidden = true;
    detail.replaceChildren();
    split.classList.remove("with-detail");
    drawAll();
    grid.focus({ preventScroll: true });
    return;
  }
  if (event) {
    timeline.reveal(event);
    current = event;
  }
  detail.hidden = false;
  split.classList.add("with-detail");
  drawAll();
  if (event) moveTo(event);
  await showDetail(id);
}

async function showDetail(id) {
  detail.setAttribute("aria-busy", "true");
  let html = "";
  try {
    const response = await fetch(`${page}/events/${encodeURIComponent(id)}`);
    if (response.ok || response.status === 404) html = await response.text();
  } catch {
    // the collector is away; said below
  }
  html ||= '<p class="notice warn">The collector does not answer. Select the event again in a while.</p>';
  if (selected !== id) return; // another one was selected meanwhile
  const same = detail.querySelector(".permalink")?.dataset.event === id;
  morph(detail, html);
  for (const part of detail.querySelectorAll("details[data-part]")) part.open = !folded.has(part.dataset.part);
  if (!same) detail.scrollTop = 0;
  detail.removeAttribute("aria-busy");
}

// What a person folds at one event stays folded at the others.
detail.addEventListener("click", (click) => {
  const part = click.target.closest("details[data-part] > summary")?.parentElement;
  if (!part) return;
  if (part.open) folded.add(part.dataset.part);
  else folded.delete(part.dataset.part);
});

const showSoon = soon(() => selected && showDetail(selected), 60);

document.addEventListener("click", (click) => {
  if (click.metaKey || click.ctrlKey || click.shiftKey || click.button) return; // a new tab or window
  const link = click.target.closest("a[data-event], a.close");
  if (!link) return;
  click.preventDefault();
  const id = link.dataset.event ?? null;
  select(id);
});

window.addEventListener("popstate", () => select(new URLSearchParams(location.search).get("event"), { remember: false }));

canvas.addEventListener("click", (click) => {
  const row = click.target.closest(".row");
  if (!row) return;
  if (click.target.closest(".twisty")) {
    timeline.setCollapsed(row.event, !row.event.collapsed);
    current = row.event;
    drawAll();
  } else {
    select(row.event.id);
  }
});

canvas.addEventListener("dblclick", (click) => {
  const row = click.target.closest(".row");
  if (!row || !row.event.children.length) return;
  timeline.setCollapsed(row.event, !row.event.collapsed);
  drawAll();
});

function fold(event, collapsed) {
  timeline.setCollapsed(event, collapsed);
  drawAll();
}

const keys = {
  ArrowDown: (event, rows) => moveTo(rows[Math.min(event.row + 1, rows.length - 1)]),
  ArrowUp: (event, rows) => moveTo(rows[Math.max(event.row - 1, 0)]),
  PageDown: (event, rows) => moveTo(rows[Math.min(event.row + pageRows(), rows.length - 1)]),
  PageUp: (event, rows) => moveTo(rows[Math.max(event.row - pageRows(), 0)]),
  Home: (event, rows) => moveTo(rows[0]),
  End: (event, rows) => moveTo(rows[rows.length - 1]),
  ArrowRight: (event) => {
    if (event.collapsed) fold(event, false);
    else if (event.children.length) moveTo(event.children[0]);
  },
  ArrowLeft: (event) => {
    if (event.children.length && !event.collapsed) fold(event, true);
    else if (event.parent) moveTo(event.parent);
  },
  Enter: (event) => select(event.id),
  " ": (event) => select(event.id),
};

function pageRows() {
  return Math.max(Math.floor(viewHeight() / height) - 1, 1);
}

grid.addEventListener("keydown", (press) => {
  const act = keys[press.key];
  if (!act || !timeline.rows.length || press.metaKey || press.ctrlKey || press.altKey) return;
  press.preventDefault();
  const visible = current && timeline.rows[current.row] === current ? current : null;
  if (!visible) moveTo(timeline.rows[0]);
  else act(visible, timeline.rows);
  // with the detail open, it follows the keyboard; the address follows without filling the history
  if (selected && current && current.id !== selected && press.key.startsWith("Arrow")) {
    selected = current.id;
    shown = current.state;
    history.replaceState(null, "", `${page}?event=${encodeURIComponent(selected)}`);
    draw();
    showSoon();
  }
});

grid.addEventListener("focus", () => {
  if (!current && timeline.rows.length) {
    current = timeline.events.get(selected) ?? timeline.rows[0];
    draw();
  }
});

document.addEventListener("keydown", (press) => {
  if (press.key === "Escape" && selected && !press.defaultPrevented) select(null);
});

document.getElementById("fit").addEventListener("click", (click) => {
  fitted = !fitted;
  click.currentTarget.setAttribute("aria-pressed", fitted);
  draw();
});

document.getElementById("expand-all").addEventListener("click", () => {
  timeline.setAllCollapsed(false);
  drawAll();
});

document.getElementById("collapse-all").addEventListener("click", () => {
  timeline.setAllCollapsed(true);
  while (current?.parent) current = current.parent;
  scroller.scrollTop = 0;
  drawAll();
});

scroller.addEventListener("scroll", draw, { passive: true });

new ResizeObserver(() => {
  height = rowHeight();
  draw();
}).observe(scroller);

// -- living -------------------------------------------------------------------------------------

async function load() {
  const response = await fetch(`${page}/timeline.json?after=${timeline.seq}`);
  if (response.status === 401 || response.status === 404) location.reload();
  if (!response.ok) throw new TypeError(`${response.status} for the timeline`);
  const first = panel.hidden;
  const atBottom = scroller.scrollTop > 0 && scroller.scrollTop + scroller.clientHeight > scroller.scrollHeight - height;
  const changed = timeline.merge(await response.json());
  if (!changed && !first) return;
  drawAll();
  if (atBottom) scroller.scrollTop = scroller.scrollHeight; // who reads the end, stays at the end
  const event = timeline.events.get(selected);
  if (first && event) {
    shown = event.state;
    timeline.reveal(event);
    drawAll();
    moveTo(event, 5);
  } else if (event && event.state !== shown) {
    shown = event.state;
    showSoon();
  }
}

const refreshTimeline = soon(load, 150);
const refreshHead = soon(async () => morph(head, await fetchText(`${page}/head`)), 500);

await load();
follow(() => `/api${page}/stream?after=${timeline.seq}`, {
  refresh() {
    refreshTimeline();
    refreshHead();
  },
  events: refreshTimeline,
  session() {
    refreshTimeline();
    refreshHead();
  },
});

setInterval(() => {
  if (timeline.state !== "Running" || document.hidden) return;
  draw(); // open events grow
}, 500);

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

function clamp(percent) {
  return Math.min(Math.max(percent, 0), 100);
}
