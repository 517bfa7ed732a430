// One session's page: keeps its head and its view up to date, and shows the selected event beside it.

import { ask, fetchText, follow, morph, soon } from "./live.js";

const head = document.getElementById("head");
const split = document.getElementById("split");
const view = document.getElementById("view"); // of those the server renders
const detail = document.getElementById("detail");
const page = `/sessions/${head.dataset.session}`;

const NO_EVENTS = 9999999999; // beyond all of them: the stream then tells only that the session changed

const folded = new Set(); // the parts of the detail that are folded
let lookedFor = ""; // what the waterfall is searched for
let behind = false; // whether more may have happened since what shows was rendered
let selected = new URLSearchParams(location.search).get("event"); // whose detail shows

const { openWaterfall } = view ? {} : await import("./waterfall.js");
const waterfall = openWaterfall?.(page, { select, follow: followKeyboard, look });

// -- the selected event -------------------------------------------------------------------------

function addressOf(id) {
  const query = new URLSearchParams(location.search);
  if (id) query.set("event", id);
  else query.delete("event");
  return query.size ? `${page}?${query}` : page;
}

async function select(id, { remember = true } = {}) {
  selected = id;
  if (remember) history.pushState(null, "", addressOf(id));
  detail.hidden = !id;
  split.classList.toggle("with-detail", Boolean(id));
  if (!id) detail.replaceChildren();
  waterfall?.mark(id);
  markLinks();
  if (id) await showDetail(id);
}

// With the detail open, it follows the keyboard; the address follows without filling the history.
function followKeyboard(id) {
  if (!selected || selected === id) return;
  selected = id;
  history.replaceState(null, "", addressOf(id));
  waterfall.mark(id);
  showSoon();
}

function look(text) {
  if (text === lookedFor) return;
  lookedFor = text;
  markFound();
}

async function markFound() {
  const { highlight } = await import("./highlight.js");
  highlight(detail, lookedFor);
}

function markLinks() {
  for (const link of view?.querySelectorAll("a[data-event]") ?? []) {
    if (link.dataset.event === selected) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

async function showDetail(id) {
  detail.setAttribute("aria-busy", "true");
  let html = "";
  try {
    const response = await ask(`${page}/events/${encodeURIComponent(id)}`);
    if (response.ok || response.status === 404) html = await response.text();
  } catch {
    // the collector is away; said below
  }
  html ||= '<p class="notice warn">The collector does not answer. Select the event again in a while.</p>';
  if (selected !== id) return; // another one was selected meanwhile
  const same = detail.querySelector(".permalink")?.dataset.event === id;
  morph(detail, html);
  for (const part of detail.querySelectorAll("details[data-part]")) part.open = !folded.has(part.dataset.part);
  if (lookedFor) markFound();
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
  select(link.dataset.event ?? null);
});

window.addEventListener("popstate", () => select(new URLSearchParams(location.search).get("event"), { remember: false }));

document.addEventListener("keydown", (press) => {
  if (press.key === "Escape" && selected && !press.defaultPrevented && !document.querySelector("dialog[open]")) select(null);
});

// -- living -------------------------------------------------------------------------------------

const said = () => head.querySelector(".said")?.innerHTML;

async function showHead() {
  const before = said();
  morph(head, await fetchText(`${page}/head`));
  if (selected && said() !== before) showSoon(); // it may be of the selected event
}

const refreshHead = soon(showHead, 500);
const headNow = soon(showHead, 0);

document.addEventListener("submit", async (submit) => {
  if (!submit.target.matches("form.word")) return;
  submit.preventDefault();
  const { sendWord } = await import("./words.js");
  if (await sendWord(submit.target)) headNow();
});

const refreshView = soon(
  view
    ? async () => {
        morph(view, await fetchText(`${page}/views/${view.dataset.view}${location.search}`));
        markLinks();
      }
    : () => waterfall.load().then(arrived),
  view ? 500 : 150,
);

function refresh() {
  refreshView();
  if (detail.querySelector("[data-unfinished]")) showSoon();
}

// A link may be opened before its event has arrived.
function arrived() {
  if (selected && waterfall.has(selected) && !detail.querySelector(".permalink")) showSoon();
}

markLinks();
try {
  await waterfall?.load();
} catch (error) {
  if (!(error instanceof TypeError)) throw error;
  behind = true; // the collector is away: asked for once it answers
}
follow(() => `/api${page}/stream?after=${waterfall?.seq ?? NO_EVENTS}`, {
  refresh() {
    // what has ended and was rendered a moment ago need not be asked for again
    if (behind || head.querySelector(".state.running")) {
      refresh();
      refreshHead();
    }
    behind = true;
  },
  events: refresh,
  session() {
    refresh();
    refreshHead();
  },
});
