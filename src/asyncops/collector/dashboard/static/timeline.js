// A session's events as a tree: what there is, how it nests, which rows show, where bars lie, when
// nothing ran and what the end waited for. Knows nothing of the page; waterfall.js draws what this
// says.

export const KINDS = ["action", "tool", "llm", "agent", "error"];
const STATES = ["Running", "Success", "Fail", "Cancelled"];
const MAX_GAPS = 12;
const GAP_SHARE = 0.05; // of the session: what idles shorter is no gap
const NONE = Object.freeze([]); // the children of those that have none: most of them
const OUTLIVED = 1000; // microseconds by which a child may seem to end after its parent

export class Timeline {
  constructor() {
    this.events = new Map(); // by id
    this.order = []; // all of them, parents before children, by start
    this.rows = []; // what shows, top to bottom
    this.hits = null; // of a filter, in order; null without one
    this.state = "Running"; // the session's
    this.seq = 0; // up to where we have heard
    this.base = 0; // microseconds since the epoch; all other times count from here
    this.ahead = 0; // the collector's clock minus this browser's
    this.end = null;
    this.#reach = { from: 0, to: 0 }; // of the events
  }

  #reach;

  // Takes in columns as columns.py makes them. Says whether anything changed.
  merge(columns) {
    let { from, to } = this.#reach;
    if (this.events.size && columns.base !== this.base) {
      const shift = this.base - columns.base; // the owner's record came late and starts earlier
      [from, to] = [0, 0];
      for (const event of this.events.values()) {
        event.start += shift;
        if (event.end !== null) event.end += shift;
        from = Math.min(from, event.start);
        to = Math.max(to, event.end ?? event.start);
      }
    }
    const changed = columns.seqs.length > 0 || columns.state !== this.state || columns.end !== this.end || columns.base !== this.base;
    this.base = columns.base;
    this.ahead = columns.now - (Date.now() * 1000 - this.base);
    this.state = columns.state;
    this.end = columns.end;
    const ids = idsOf(columns.ids);
    let [seq, end] = [0, 0];
    for (let i = 0; i < columns.seqs.length; i++) {
      seq += columns.seqs[i];
      const start = end + columns.pauses[i];
      end += columns.ends[i];
      if (start < from) from = start;
      if (end > to) to = end;
      const known = this.events.get(ids[i]);
      const event = known ?? newEvent(ids[i]);
      event.parentId = columns.parents[i] ? ids[i - columns.parents[i]] : null;
      event.seq = seq;
      event.kind = KINDS[columns.kinds[i]];
      event.state = STATES[columns.states[i]];
      event.start = start;
      event.end = event.state === "Running" ? null : end;
      event.name = columns.names[columns.name[i]];
      event.agent = columns.agents[columns.agent[i]] ?? null;
      event.model = columns.models[columns.model[i]] ?? null;
      event.tokens = columns.tokens[i];
      event.cost = columns.cost[i];
      event.otherCost = columns.other_cost[i] ?? null;
      event.error = columns.error[i] ?? null;
      if (!known) this.events.set(event.id, event);
    }
    this.seq = Math.max(this.seq, seq); // they come in order
    this.#reach = { from, to };
    if (columns.seqs.length) this.#nest();
    return changed;
  }

  now() {
    return Date.now() * 1000 - this.base + this.ahead;
  }

  // Until when an event lasted, or lasts for all we know.
  endOf(event) {
    if (event.end !== null) return event.end;
    return Math.max(event.start, this.state === "Running" ? this.now() : this.end ?? event.start);
  }

  // From when to when the axis goes.
  get window() {
    const { from, to } = this.#reach;
    return { from, to: Math.max(to, this.state === "Running" ? this.now() : this.end ?? 0, from + 1) };
  }

  // The same for some rows only. Of those with rows below them only the beginning counts, or the
  // agent at the top would stretch the axis over everything it ever did.
  windowOf(rows) {
    let from = Infinity;
    let to = -Infinity;
    for (const event of rows) {
      from = Math.min(from, event.start);
      to = Math.max(to, event.children.length && !event.collapsed ? event.start : this.endOf(event));
    }
    return from > to ? this.window : { from, to: Math.max(to, from + 1) };
  }

  // Parents are what a program says they are: one that is missing, or that would make a circle,
  // leaves its child at the top. Nothing is left out.
  #nest() {
    for (const event of this.events.values()) event.children = NONE;
    const tops = [];
    for (const event of this.events.values()) {
      const parent = event.parentId === event.id ? undefined : this.events.get(event.parentId);
      if (!parent) tops.push(event);
      else if (parent.children === NONE) parent.children = [event];
      else parent.children.push(event);
    }
    const byStart = (a, b) => a.start - b.start || a.seq - b.seq;
    const seen = new Set();
    this.tops = [];
    const place = (root) => {
      if (seen.has(root)) return;
      seen.add(root);
      root.parent = null;
      root.depth = 0;
      this.tops.push(root);
      const stack = [root];
      while (stack.length) {
        const event = stack.pop();
        if (!event.children.length) continue;
        event.children = event.children.filter((child) => !seen.has(child)).sort(byStart);
        event.children.forEach(number);
        for (const child of event.children) {
          seen.add(child);
          child.parent = event;
          child.depth = event.depth + 1;
          stack.push(child);
        }
      }
    };
    tops.sort(byStart).forEach(place);
    if (seen.size < this.events.size) this.events.forEach(place); // whoever is in a circle
    this.tops.forEach(number);
    this.order = this.#walk(() => true);
    this.order.forEach((event, place) => (event.place = place));
    this.#match();
    this.layout();
  }

  // Parents before children; below those that `enters` says no to, nothing.
  #walk(enters) {
    const found = [];
    const stack = [...(this.tops ?? [])].reverse();
    while (stack.length) {
      const event = stack.pop();
      found.push(event);
      if (!enters(event)) continue;
      for (let i = event.children.length - 1; i >= 0; i--) stack.push(event.children[i]);
    }
    return found;
  }

  // Shows only events that `matches` says yes to, and those above them; all where it is null.
  filter(matches) {
    this.matches = matches;
    this.#match();
    for (const event of this.hits ?? []) for (let above = event.parent; above?.collapsed; above = above.parent) above.collapsed = false;
    this.layout();
  }

  #match() {
    if (!this.matches) {
      this.hits = null;
      return;
    }
    this.hits = this.order.filter((event) => (event.kept = event.hit = this.matches(event)));
    for (const event of this.hits) for (let above = event.parent; above && !above.kept; above = above.parent) above.kept = true;
  }

  // The rows that show: children of folded ones do not.
  layout() {
    const isFolded = this.order.some((event) => event.collapsed);
    const rows = isFolded ? this.#walk((event) => !event.collapsed) : this.order;
    this.rows = this.hits ? rows.filter((event) => event.kept) : rows;
    this.rows.forEach((event, row) => (event.row = row));
  }

  setCollapsed(event, collapsed) {
    event.collapsed = collapsed && event.children.length > 0;
    this.layout();
  }

  setAllCollapsed(collapsed) {
    for (const event of this.events.values()) event.collapsed = collapsed && event.children.length > 0;
    this.layout();
  }

  // Unfolds whatever hides an event.
  reveal(event) {
    let hidden = false;
    for (let above = event.parent; above; above = above.parent) {
      hidden ||= above.collapsed;
      above.collapsed = false;
    }
    if (hidden) this.layout();
  }
}

// -- what it all comes to --

// How many events without children run at once, per kind and column of a strip so many columns wide;
// and which columns hold a failure.
export function density(timeline, columns) {
  const { from, to } = timeline.window;
  const changes = Object.fromEntries(KINDS.map((kind) => [kind, new Int32Array(columns + 1)]));
  const failed = new Uint8Array(columns);
  const column = (at) => Math.min(Math.max(Math.floor(((at - from) / (to - from)) * columns), 0), columns - 1);
  for (const event of timeline.events.values()) {
    if (isFailed(event)) failed[column(event.start)] = 1;
    if (event.children.length) continue;
    const first = column(event.start);
    changes[event.kind][first]++;
    changes[event.kind][Math.max(column(timeline.endOf(event)), first + 1)]--;
  }
  let highest = 0;
  const running = Object.fromEntries(KINDS.map((kind) => [kind, 0]));
  const counts = Array.from({ length: columns }, (_, i) => {
    let total = 0;
    const here = KINDS.map((kind) => {
      total += running[kind] += changes[kind][i];
      return [kind, running[kind]];
    });
    highest = Math.max(highest, total);
    return here;
  });
  return { counts, failed, highest };
}

// How many events without children ran at the same moment, at most.
export function mostAtOnce(timeline) {
  const working = timeline.order.filter((event) => !event.children.length);
  const starts = Float64Array.from(working, (event) => event.start).sort();
  const ends = Float64Array.from(working, (event) => timeline.endOf(event)).sort();
  let [most, ended] = [0, 0];
  starts.forEach((start, begun) => {
    while (ends[ended] <= start && ended <= begun) ended++;
    most = Math.max(most, begun + 1 - ended);
  });
  return most;
}

// When nothing ran, longest first: what came before, and for how long.
export function gaps(timeline) {
  const { from, to } = timeline.window;
  const working = timeline.order.filter((event) => !event.children.length).sort((a, b) => a.start - b.start);
  const found = [];
  let reached = working.length ? working[0].start : to;
  let before = null;
  for (const event of working) {
    if (event.start - reached >= (to - from) * GAP_SHARE) found.push({ from: reached, to: event.start, after: before });
    const end = timeline.endOf(event);
    if (before === null || end > reached) [reached, before] = [end, event];
  }
  return found.sort((a, b) => b.to - b.from - (a.to - a.from)).slice(0, MAX_GAPS);
}

// What the end waited for: going back from it, always the event that ended last before the one
// after it began; and the same below each of them.
export function criticalPath(timeline) {
  const path = new Set();
  const waiting = [[timeline.tops ?? [], Infinity]];
  while (waiting.length) {
    let [siblings, until] = waiting.pop();
    for (const event of [...siblings].sort((a, b) => timeline.endOf(b) - timeline.endOf(a))) {
      const end = timeline.endOf(event);
      if (end > until) continue;
      path.add(event);
      waiting.push([event.children, end + OUTLIVED]);
      until = event.start;
    }
  }
  return path;
}

export function isFailed(event) {
  return event.state === "Fail" || event.kind === "error";
}

// Ids as columns.py tells them: how they begin, and the number that follows.
function idsOf({ begins, begin, ends }) {
  let number = 0;
  return begin.map((place, i) => begins[place] + (number += ends[i]).toString(16).padStart(8, "0"));
}

// All that will ever be said of an event: objects that get their fields one by one are slow.
function newEvent(id) {
  return {
    id, parentId: null, seq: 0, kind: "", state: "", start: 0, end: null, name: "", agent: null, model: null,
    tokens: null, cost: null, otherCost: null, error: null,
    parent: null, children: NONE, depth: 0, position: 0, siblings: 0, place: 0, row: 0,
    collapsed: false, hit: false, kept: false, seen: false,
  };
}

function number(event, position, siblings) {
  event.position = position + 1;
  event.siblings = siblings.length;
}

// Where to put marks on an axis of so many microseconds: round steps, at most `most` of them.
export function ticks(from, to, most) {
  const span = to - from;
  const least = span / Math.max(most, 1);
  const step = [...steps()].find((candidate) => candidate >= least) ?? least;
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return { step, at: found };
}

// What to write at such a mark: no more digits than tell it from the next one.
export function tickLabel(mark, step) {
  if (mark < 0) return `−${tickLabel(-mark, step)}`;
  if (mark === 0) return "0";
  if (mark < 1e3) return `${mark} µs`;
  if (mark < 1e6) return `${round(mark, step, 1e3)} ms`;
  const parts = [];
  let rest = mark;
  for (const [unit, length] of [["d", 86400e6], ["h", 3600e6], ["min", 60e6]]) {
    const whole = Math.floor(rest / length);
    if (whole) parts.push(`${whole} ${unit}`);
    rest -= whole * length;
  }
  if (rest) parts.push(`${round(rest, step, 1e6)} s`);
  return parts.join(" ");
}

function round(value, step, unit) {
  return (value / unit).toFixed(Math.max(Math.ceil(Math.log10(unit / step)), 0));
}

function* steps() {
  for (let unit = 1; unit <= 1e6; unit *= 10) yield* [unit, 2 * unit, 5 * unit]; // to 5 s, in µs
  for (const seconds of [10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200]) yield seconds * 1e6;
  for (let days = 1; days <= 200000; days *= 2) yield days * 86400e6;
}
