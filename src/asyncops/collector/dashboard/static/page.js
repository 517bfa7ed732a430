// What every page does: times that go on, and buttons that copy.

import { duration, relativeTime } from "./format.js";

function tick() {
  const now = Date.now();
  for (const time of document.querySelectorAll("time[data-relative]")) {
    say(time, relativeTime(Date.parse(time.dateTime), now));
  }
  for (const elapsed of document.querySelectorAll("[data-elapsed]")) {
    say(elapsed, duration((now - Date.parse(elapsed.dataset.elapsed)) * 1000));
  }
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// The exact moment stands in UTC in the page; who hovers over it reads their own time beside it.
function tellLocalTime(event) {
  const time = event.target.closest?.("time");
  if (!time || time.dataset.local) return;
  time.dataset.local = "told";
  const local = new Date(time.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  time.title += `\n${local} here`;
}

async function copy(event) {
  const button = event.target.closest("button[data-copy], button[data-copy-from]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy ?? (await partOf(button.dataset)));
  } catch {
    return; // not allowed here (a page served over plain HTTP from elsewhere): the text can be selected
  }
  button.dataset.done = "";
  setTimeout(() => delete button.dataset.done, 1200);
}

// What a payload says, whole: the page has its beginning only where it is long.
async function partOf({ copyFrom, copyPart }) {
  const response = await fetch(copyFrom);
  const part = (await response.json())[copyPart];
  return typeof part === "string" ? part : JSON.stringify(part, null, 2);
}

document.documentElement.classList.add("scripted");
document.addEventListener("mouseover", tellLocalTime, { passive: true });
document.addEventListener("click", copy);
setInterval(() => document.hidden || tick(), 1000);
