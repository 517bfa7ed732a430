// The list of sessions: refreshes itself, applies filters when they are chosen, and is worked by
// keys; what is chosen of it (columns, views with a name) is kept in this browser.

import { fetchText, follow, morph, soon } from "./live.js";

const VIEWS = "asyncops.views";
const MAX_COMPARED = 4;

const list = document.getElementById("sessions");
const form = document.getElementById("filters");
const columns = document.getElementById("columns");
const compare = document.getElementById("compare");
const views = document.getElementById("views");
const keys = document.getElementById("keys");
const naming = document.getElementById("name-view");

const refresh = soon(async () => {
  const before = new Set([...list.querySelectorAll("tr[id]")].map((row) => row.id));
  morph(list, await fetchText(list.dataset.url));
  tellPicked();
  if (!before.size) return;
  for (const row of list.querySelectorAll("tr[id]")) {
    if (!before.has(row.id)) row.dataset.fresh = "";
  }
}, 400);

follow(() => "/api/stream", { refresh, session: refresh });

// -- filters and columns ------------------------------------------------------------------

form.addEventListener("change", (event) => {
  if (event.target.matches("input[type=checkbox], select")) form.requestSubmit();
});

// Fields nobody filled in have no business in the address.
form.addEventListener("formdata", ({ formData }) => {
  for (const [name, value] of [...formData]) {
    if (value === "") {
      const kept = formData.getAll(name).filter(Boolean);
      formData.delete(name);
      for (const item of kept) formData.append(name, item);
    }
  }
});

columns.addEventListener("change", () => {
  const chosen = new FormData(columns).getAll("column");
  document.cookie = `asyncops_columns=${chosen.join(".")}; path=/; max-age=31536000; samesite=lax`;
  columns.requestSubmit();
});

// -- what is selected ---------------------------------------------------------------------

function picked() {
  return list.querySelectorAll(".pick:checked");
}

function tellPicked() {
  const number = picked().length;
  compare.querySelector("button").disabled = number < 2 || number > MAX_COMPARED;
  document.getElementById("picked").textContent = number ? ` ${number}` : "";
}

list.addEventListener("change", tellPicked);
// A browser that goes back brings the selection with it.
window.addEventListener("pageshow", tellPicked);

// Several ids are one word in the address.
compare.addEventListener("submit", (event) => {
  event.preventDefault();
  location.assign(`/compare?ids=${[...picked()].map((box) => box.value).join(",")}`);
});

// -- keys ---------------------------------------------------------------------------------

function go(step) {
  const rows = [...list.querySelectorAll("tbody tr")];
  const here = rows.indexOf(current());
  const next = rows[here < 0 ? 0 : Math.min(Math.max(here + step, 0), rows.length - 1)];
  next?.querySelector("a.name").focus();
}

function current() {
  return list.contains(document.activeElement) ? document.activeElement.closest("tbody tr") : null;
}

const ON_KEY = {
  j: () => go(1),
  k: () => go(-1),
  x: () => current()?.querySelector(".pick").click(),
  c: () => compare.querySelector("button").click(),
  "/": () => form.elements.q.select(),
  "?": () => keys.showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input:not([type=checkbox]), select, textarea") || document.querySelector("dialog[open]")) return;
  const act = ON_KEY[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

document.getElementById("show-keys").addEventListener("click", () => keys.showModal());

// -- views with a name --------------------------------------------------------------------

// What this browser keeps, without what is no view: anything on this origin may write there.
function savedViews() {
  try {
    const found = JSON.parse(localStorage.getItem(VIEWS) ?? "[]");
    return found.filter(({ name, address }) => typeof name === "string" && /^\/(\?|$)/.test(address));
  } catch {
    return [];
  }
}

function keepViews(kept) {
  localStorage.setItem(VIEWS, JSON.stringify(kept));
  showViews();
}

function showViews() {
  for (const old of views.querySelectorAll("span.view")) old.remove();
  for (const { name, address } of savedViews()) {
    const view = document.createElement("span");
    view.className = "view";
    if (address === views.dataset.here) view.setAttribute("aria-current", "true");
    const link = document.createElement("a");
    link.href = address;
    link.textContent = name;
    const forget = document.createElement("button");
    forget.type = "button";
    forget.textContent = "×";
    forget.title = `Forget the view ${name}`;
    forget.setAttribute("aria-label", forget.title);
    forget.addEventListener("click", () => keepViews(savedViews().filter((other) => other.name !== name)));
    view.append(link, forget);
    document.getElementById("save-view").before(view);
  }
}

document.getElementById("save-view").addEventListener("click", () => {
  naming.returnValue = "";
  naming.showModal();
});

document.getElementById("name-nothing").addEventListener("click", () => naming.close());

naming.addEventListener("close", () => {
  const field = naming.querySelector("input");
  const name = field.value.trim();
  field.value = "";
  if (naming.returnValue !== "save" || !name) return;
  keepViews([...savedViews().filter((other) => other.name !== name), { name, address: views.dataset.here }]);
});

tellPicked();
showViews();
