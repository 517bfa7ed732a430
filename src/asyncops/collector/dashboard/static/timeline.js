// A session's events as a tree: what there is, how it nests, which rows show, where bars lie.
// Knows nothing of the page; session.js draws what this says.

const KINDS = ["action", "tool", "llm", "agent", "error"];
const STATES = ["Running", "Success", "Fail", "Cancelled"];

export class Timeline {
  constructor() {
    this.events = new Map(); // by id
    this.rows = []; // what shows, top to bottom
    this.state = "Running"; // the session's
    this.seq = 0; // up to where we have heard
    this.base = 0; // microseconds since the epoch; all other times count from here
    this.ahead = 0; // the collector's clock minus this browser's
    this.end = null;
  }

  // Takes in columns as timeline.py makes them. Says whether anything changed.
  merge(columns) {
    if (this.events.size && columns.base !== this.base) {
      const shift = this.base - columns.base; // the owner's record came late and starts earlier
      for (const event of this.events.values()) {
        event.start += shift;
        if (event.end !== null) event.end += shift;
      }
    }
    const changed = columns.seq.length > 0 || columns.state !== this.state || columns.end !== this.end || columns.base !== this.base;
    this.base = columns.base;
    this.ahead = columns.now - (Date.now() * 1000 - this.base);
    this.state = columns.state;
    this.end = columns.end;
    const { ids } = columns;
    for (let i = 0; i < columns.seq.length; i++) {
      const known = this.events.get(ids[i]);
      const event = known ?? { id: ids[i], collapsed: false };
      event.parentId = columns.parent[i] < 0 ? null : ids[columns.parent[i]];
      event.seq = columns.seq[i];
      event.kind = KINDS[columns.kind[i]];
      event.state = STATES[columns.states[i]];
      event.start = columns.starts[i];
      event.end = columns.ends[i];
      event.name = columns.names[columns.name[i]];
      event.agent = columns.agents[columns.agent[i]] ?? null;
      event.model = columns.models[columns.model[i]] ?? null;
      event.tokens = columns.tokens[i];
      event.cost = columns.cost[i];
      event.otherCost = columns.other_cost[event.id] ?? null;
      event.error = columns.error[event.id] ?? null;
      if (!known) this.events.set(event.id, event);
      if (event.seq > this.seq) this.seq = event.seq;
    }
    if (columns.seq.length) this.#nest();
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
    let from = 0;
    let to = this.state === "Running" ? this.now() : this.end ?? 0;
    for (const event of this.events.values()) {
      if (event.start < from) from = event.start;
      const end = event.end ?? event.start;
      if (end > to) to = end;
    }
    return { from, to: Math.max(to, from + 1) };
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
    for (const event of this.events.values()) event.children = [];
    const tops = [];
    for (const event of this.events.values()) {
      const parent = event.parentId === event.id ? undefined : this.events.get(event.parentId);
      (parent ? parent.children : tops).push(event);
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
        event.children = event.children.filter((child) => !seen.has(child)).sort(byStart);
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
    this.tops.forEach((event, position) => number(event, position, this.tops));
    this.layout();
  }

  // The rows that show: children of folded ones do not.
  layout() {
    const rows = [];
    const stack = [...(this.tops ?? [])].reverse();
    while (stack.length) {
      const event = stack.pop();
      event.row = rows.length;
      rows.push(event);
      if (event.collapsed) continue;
      for (let i = event.children.length - 1; i >= 0; i--) {
        number(event.children[i], i, event.children);
        stack.push(event.children[i]);
      }
    }
    this.rows = rows;
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
