// Marks what somebody looks for in a text, without touching it.

export function highlight(element, wanted) {
  if (!CSS.highlights) return; // an older browser: found all the same
  const words = (wanted.match(/"[^"]+"|[^"\s]+/g) ?? []).map((word) => word.replace(/^"|["*]$/g, "")).filter(Boolean);
  if (!words.length) {
    CSS.highlights.delete("found");
    return;
  }
  const anyOf = new RegExp(words.map((word) => word.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|"), "giu");
  const ranges = [];
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    for (const { index, 0: found } of texts.currentNode.data.matchAll(anyOf)) {
      const range = new StaticRange({ startContainer: texts.currentNode, startOffset: index, endContainer: texts.currentNode, endOffset: index + found.length });
      ranges.push(range);
      texts.currentNode.parentElement.closest("details.repeated")?.setAttribute("open", "");
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}
