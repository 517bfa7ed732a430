// What a session's events were given and gave is not in the page: the collector looks there.

const TYPING_MILLIS = 150; // it is not asked at every letter
const AGAIN_MILLIS = 1000; // how long it may take to make searchable what has just arrived

export class Texts {
  // Of the session at `page`; tells `found(more)` whenever there is an answer, or none: whether it
  // finds more than the one before.
  constructor(page, found) {
    this.text = "";
    this.state = ""; // "asking", "whole", "behind": not all can be searched yet, "away": no answer
    this.#page = page;
    this.#found = found;
  }

  #page;
  #found;
  #seqs = new Set(); // of the events that were found
  #timer = 0;
  #asked = null; // the question under way: what an earlier one brings no longer counts

  look(text) {
    if (text === this.text) return;
    this.text = text;
    this.state = text ? "asking" : "";
    this.#seqs = new Set();
    this.#asked?.abort();
    clearTimeout(this.#timer);
    this.#timer = text ? setTimeout(() => this.#ask(), TYPING_MILLIS) : 0;
  }

  // There are other events than before.
  again() {
    if (this.text) this.#timer ||= setTimeout(() => this.#ask(), AGAIN_MILLIS);
  }

  has(event) {
    return this.#seqs.has(event.seq);
  }

  async #ask() {
    this.#timer = 0;
    this.#asked?.abort();
    const asked = (this.#asked = new AbortController());
    let answer = null;
    try {
      // what is being typed is the beginning of a word
      const response = await fetch(`${this.#page}/matches.json?q=${encodeURIComponent(`${this.text}*`)}`, { signal: asked.signal });
      if (response.ok) answer = await response.json();
    } catch {
      // given up for another question, or the collector is away: said below
    }
    if (asked.signal.aborted) return;
    const more = Boolean(answer) && answer.seqs.length > this.#seqs.size;
    if (answer) this.#seqs = new Set(answer.seqs);
    this.state = !answer ? "away" : answer.whole ? "whole" : "behind";
    if (this.state === "behind") this.again();
    this.#found(more);
  }
}
