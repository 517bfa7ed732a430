// Keeps a page up to date: one event stream while the page is seen, polling where there is none.

const POLL_MILLIS = 3000;
const RETRY_STREAM_MILLIS = 30000;
const SILENCE_MILLIS = 45000; // a stream says something every 20 seconds: its other end is gone, as after a laptop has slept
const OPEN_MILLIS = 15000; // by then a stream has begun, or was asked for on a connection whose other end is gone
const ANSWER_MILLIS = 30000; // the same of any other answer
const REST_MILLIS = 20000; // what took long once may be quick the next time

// Calls `on[name](data)` for each event of that name in the stream at `url()`, and `on.refresh()`
// whenever something may have been missed: at each (re)connection, and at every poll.
export function follow(url, on) {
  const light = document.getElementById("live");
  let source = null;
  let poll = 0;
  let retry = 0;
  let silence = 0;

  function show(state, said, title) {
    light.hidden = false;
    light.dataset.state = state;
    light.title = title;
    if (light.textContent !== said) light.textContent = said;
  }

  function lost() {
    show("off", "Reconnecting", "The collector does not answer; asking again every few seconds");
    poll ||= setInterval(on.refresh, POLL_MILLIS);
  }

  // The stream says something within this time, or is asked for again.
  function expectWithin(millis) {
    clearTimeout(silence);
    silence = setTimeout(() => {
      open();
      lost();
    }, millis);
  }

  const heard = () => expectWithin(SILENCE_MILLIS);

  function open() {
    close();
    expectWithin(OPEN_MILLIS);
    source = new EventSource(url());
    source.onopen = () => {
      heard();
      clearInterval(poll);
      poll = 0;
      show("on", "Live", "Changes appear by themselves");
      on.refresh();
    };
    source.onerror = () => {
      // CONNECTING: the browser tries again by itself; CLOSED: refused, for example too many streams
      if (source.readyState === EventSource.CLOSED) {
        clearTimeout(silence);
        retry = setTimeout(open, RETRY_STREAM_MILLIS);
      }
      lost();
    };
    source.addEventListener("alive", heard);
    for (const [name, handle] of Object.entries(on)) {
      if (name === "refresh") continue;
      source.addEventListener(name, ({ data }) => {
        heard();
        handle(data);
      });
    }
  }

  function close() {
    source?.close();
    source = null;
    clearInterval(poll);
    clearTimeout(retry);
    clearTimeout(silence);
    poll = 0;
  }

  // A hidden page holds no connection: browsers allow six to a host, over all tabs together.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  if (!document.hidden) open();
}

// A function that runs `work` soon, once for many calls, never twice at the same time, and so
// seldom that it takes at most a fifth of the time; but it rests no longer than REST_MILLIS. What
// failed may be done again at once.
export function soon(work, millis) {
  let timer = 0;
  let busy = false;
  let again = false;
  let rest = millis;

  async function run() {
    timer = 0;
    busy = true;
    again = false;
    rest = millis;
    const began = performance.now();
    try {
      await work();
      rest = Math.min(Math.max(millis, 4 * (performance.now() - began)), REST_MILLIS);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // ask: the collector is away, we are told when it is back
    } finally {
      busy = false;
      if (again) timer = setTimeout(run, rest);
    }
  }

  return () => {
    if (busy) again = true;
    else timer ||= setTimeout(run, rest);
  };
}

// What the collector answers; a TypeError where it does not, or not in time.
export async function ask(url, options) {
  const asked = new AbortController();
  const timer = setTimeout(() => asked.abort(new TypeError(`no answer for ${url}`)), ANSWER_MILLIS);
  try {
    return await fetch(url, { ...options, signal: asked.signal });
  } finally {
    clearTimeout(timer);
  }
}

// The text of a page or fragment. Signed out or gone: the whole page says so best.
export async function fetchText(url) {
  const response = await ask(url, { headers: { Accept: "text/html" } });
  if (response.redirected || response.status === 401 || response.status === 404) location.reload();
  if (!response.ok) throw new TypeError(`${response.status} for ${url}`);
  return response.text();
}

// Makes the children of `element` those of `html` (which the server has escaped), changing only
// what differs: focus, scroll, selection and what a person has unfolded stay.
export function morph(element, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  morphChildren(element, template.content);
}

function morphChildren(here, there) {
  const named = new Map();
  for (const child of here.children) if (child.id) named.set(child.id, child);
  let place = here.firstChild;
  for (const wanted of [...there.childNodes]) {
    if (isBlank(wanted)) {
      if (place && isBlank(place)) place = place.nextSibling;
      else here.insertBefore(document.importNode(wanted), place);
      continue;
    }
    let found = wanted.id ? named.get(wanted.id) : alike(place, wanted);
    if (found && !wanted.id) place = removeUntil(place, found);
    if (!found) here.insertBefore((found = document.importNode(wanted, true)), place);
    else if (found === place) place = place.nextSibling;
    else here.insertBefore(found, place);
    named.delete(wanted.id);
    morphNode(found, wanted);
  }
  removeUntil(place, null);
}

// Space between elements stays where it is and is never taken for a text.
function isBlank(node) {
  return node.nodeType === Node.TEXT_NODE && !node.nodeValue.trim();
}

// From `place` on, the sibling without a name that `wanted` is a newer look of.
function alike(place, wanted) {
  for (let node = place; node; node = node.nextSibling) {
    if (!node.id && !isBlank(node) && node.nodeName === wanted.nodeName && classOf(node) === classOf(wanted)) return node;
  }
  return null;
}

function classOf(node) {
  return node.getAttribute?.("class");
}

function removeUntil(place, end) {
  while (place !== end) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
  return end;
}

function morphNode(node, wanted) {
  if (node.isEqualNode(wanted)) return;
  if (node.nodeType !== Node.ELEMENT_NODE) {
    node.nodeValue = wanted.nodeValue;
    return;
  }
  for (const { name } of [...node.attributes]) {
    if (!wanted.hasAttribute(name) && !isOurs(node, name)) node.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (node.getAttribute(name) !== value && !isOurs(node, name)) node.setAttribute(name, value);
  }
  morphChildren(node, wanted);
}

// What a person or this page's modules have set, and the server does not know of.
function isOurs(node, name) {
  if (name === "open") return node.nodeName === "DETAILS";
  if (name === "title") return node.hasAttribute("data-local");
  return ["data-local", "data-fresh", "data-done"].includes(name);
}
