// Goes through a session again: a slider over its time, steps, and playing.

const WHOLE_SECONDS = 20; // how long playing all of it takes
const STEP_MILLIS = 1200; // between two steps, for those who want no motion

const bar = document.getElementById("replay-bar");
const slider = document.getElementById("replay-at");
const said = document.getElementById("replay-said");
const play = document.getElementById("replay-play");
const still = matchMedia("(prefers-reduced-motion: reduce)");

let session = null; // what is replayed, and how it is shown
let at = 0;
let playing = 0; // the timer or frame that goes on
let last = 0;

// Opens or closes the replay of `{ timeline, show(moment), event(event) }`; says which.
export function toggleReplay(what) {
  session = what;
  bar.hidden = !bar.hidden;
  if (bar.hidden) {
    stop();
    session.show(null);
    return false;
  }
  goTo(session.timeline.window.from);
  slider.focus();
  return true;
}

function goTo(moment) {
  const { from, to } = session.timeline.window;
  at = Math.min(Math.max(moment, from), to);
  slider.value = ((at - from) / (to - from)) * slider.max;
  const running = session.timeline.order.filter((event) => event.start <= at && session.timeline.endOf(event) > at && !event.children.length);
  const names = running.slice(0, 3).map((event) => event.name);
  const more = running.length > names.length ? ` and ${running.length - names.length} more` : "";
  said.textContent = `${seconds(at)} of ${seconds(to)}${names.length ? ` · ${names.join(", ")}${more}` : ""}`;
  slider.setAttribute("aria-valuetext", said.textContent);
  session.show(at);
}

function seconds(micros) {
  return `${(micros / 1e6).toFixed(2)} s`;
}

// To where the next event began, or the one before.
function step(by) {
  const starts = session.timeline.order.toSorted((a, b) => a.start - b.start);
  const next = by > 0 ? starts.find((event) => event.start > at) : starts.findLast((event) => event.start < at);
  if (next) {
    goTo(next.start);
    session.event(next);
  } else {
    goTo(by > 0 ? session.timeline.window.to : session.timeline.window.from);
  }
  return Boolean(next);
}

function start() {
  const { from, to } = session.timeline.window;
  if (at >= to) goTo(from);
  sayPlaying(true);
  if (still.matches) {
    playing = setInterval(() => step(1) || stop(), STEP_MILLIS);
    return;
  }
  last = performance.now();
  playing = requestAnimationFrame(frame);
}

function frame(now) {
  const { from, to } = session.timeline.window;
  goTo(at + ((now - last) / 1000 / WHOLE_SECONDS) * (to - from));
  last = now;
  if (at >= to) stop();
  else playing = requestAnimationFrame(frame);
}

function stop() {
  cancelAnimationFrame(playing);
  clearInterval(playing);
  playing = 0;
  sayPlaying(false);
}

function sayPlaying(isPlaying) {
  play.querySelector("use").setAttribute("href", isPlaying ? "#icon-pause" : "#icon-play");
  play.setAttribute("aria-label", isPlaying ? "Pause" : "Play");
}

function toggle() {
  if (playing) stop();
  else start();
}

function stepBy(by) {
  stop();
  step(by);
}

play.addEventListener("click", toggle);
document.getElementById("replay-back").addEventListener("click", () => stepBy(-1));
document.getElementById("replay-on").addEventListener("click", () => stepBy(1));

slider.addEventListener("input", () => {
  const { from, to } = session.timeline.window;
  stop();
  goTo(from + (slider.value / slider.max) * (to - from));
});

const keys = { ",": () => stepBy(-1), ".": () => stepBy(1), " ": toggle };

document.addEventListener("keydown", (press) => {
  const act = bar.hidden || press.metaKey || press.ctrlKey || press.altKey ? null : keys[press.key];
  if (!act || press.defaultPrevented || press.target.closest("input:not([type=range]), select, button, dialog")) return;
  press.preventDefault();
  act();
});
