// Sends what a person says of a session without leaving its page.

const saved = document.getElementById("saved");

// Whether what `form` says was saved; if not, the page tells why.
export async function sendWord(form) {
  if (form.ariaBusy) return false; // pressed twice
  form.ariaBusy = "true";
  const problem = await send(form);
  form.ariaBusy = null;
  saved.className = problem ? "notice warn" : "hidden";
  saved.textContent = problem ?? "Saved";
  if (!problem) clear(form);
  return !problem;
}

// What went wrong, in words; null if nothing did.
async function send(form) {
  try {
    const body = new URLSearchParams(new FormData(form));
    const response = await fetch(form.action, { method: "POST", body, headers: { Accept: "*/*" } });
    if (response.status === 401 || response.status === 404) location.reload(); // the whole page says so best
    if (response.ok) return null;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    return page.querySelector("h1 + p")?.textContent ?? "The collector could not save it. Try again in a while.";
  } catch {
    return "The collector does not answer, and nothing was saved. Try again in a while.";
  }
}

// Who says something says the next in the same name.
function clear(form) {
  const name = form.elements.by?.value;
  form.reset();
  if (name) form.elements.by.value = name;
}
