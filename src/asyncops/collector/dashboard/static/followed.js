// A page with one part that is made anew as what it tells of changes: the overview, sessions side by
// side. The stream tells only that something changed; the part says when it was made.

import { fetchText, follow, morph, soon } from "./live.js";

const REST_MILLIS = 2000;

const part = document.getElementById("followed");
let told = 0; // when the last change was told of, as the collector's clock has it

const seen = () => Number(document.getElementById("seen").value);

const refresh = soon(async () => {
  morph(part, await fetchText(part.dataset.url));
  if (seen() < told) refresh(); // it was made for somebody else, before that change
}, REST_MILLIS);

function address() {
  const query = new URLSearchParams({ brief: 1, seen: seen() });
  if (part.dataset.ids) query.set("ids", part.dataset.ids);
  return `/api/stream?${query}`;
}

let connected = false; // whether the stream has ever been open

if (part) {
  follow(address, {
    refresh() {
      if (connected) refresh();
      connected = true;
    },
    changed(data) {
      told = JSON.parse(data).at;
      refresh();
    },
  });
}
