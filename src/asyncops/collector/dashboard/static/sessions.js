// The list of sessions: refreshes itself, and applies filters when they are chosen.

import { fetchText, follow, morph, soon } from "./live.js";

const list = document.getElementById("sessions");
const form = document.getElementById("filters");

const refresh = soon(async () => {
  const before = new Set([...list.querySelectorAll("tr[id]")].map((row) => row.id));
  morph(list, await fetchText(list.dataset.url));
  if (!before.size) return;
  for (const row of list.querySelectorAll("tr[id]")) {
    if (!before.has(row.id)) row.dataset.fresh = "";
  }
}, 400);

follow(() => "/api/stream", { refresh, session: refresh });

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
