// A document's text, loaded around a range and further on while scrolling, with ranges marked.

import * as api from "./api.js";
import { element } from "./dom.js";
import { firstLineStart, lastLineEnd, segments } from "./marks.js";
import { slice } from "./offsets.js";

/** Code points loaded on either side of a range, and each time that scrolling comes near an end. */
const AROUND = 6_000;
const MORE = 16_000;

/** How many of them the page holds at most: what is far behind is dropped, and loaded again on the way back. */
const MOST = 160_000;

/** Shows one document in `scroller`. `ranges` are `{start, end, number?}`; one of them is the active one. */
export class Reader {
  #scroller;
  #body;
  #watcher;
  #abort = new AbortController();
  #id = "";
  #ranges = [];
  #active = 0;
  #pages = [];
  #chunks = []; // what is on the page, in order: {start, end, node}
  #length = 0;
  #busy = { before: false, after: false };
  #before = element("p", { class: "edge before" });
  #after = element("p", { class: "edge after" });

  constructor(scroller) {
    this.#scroller = scroller;
    this.#body = element("div", { class: "text", lang: "", translate: "no" });
    this.#watcher = new IntersectionObserver((seen) => this.#reached(seen), {
      root: scroller,
      rootMargin: "900px 0px",
    });
  }

  get #start() {
    return this.#chunks[0]?.start ?? 0;
  }

  get #end() {
    return this.#chunks.at(-1)?.end ?? 0;
  }

  /** Loads what is around the active range and shows it. Resolves to the document's `{title, uri, …}`. */
  async open(id, ranges, active) {
    this.close();
    this.#abort = new AbortController();
    this.#id = id;
    this.#ranges = ranges;
    this.#active = active;
    return this.#load();
  }

  /** Makes another range of the same document the active one; loads around it where it is not there yet. */
  async activate(active) {
    this.#active = active;
    const range = this.#ranges[active];
    if (this.#chunks.length && range.start >= this.#start && range.end <= this.#end) {
      this.#highlight();
      this.reveal();
      return;
    }
    this.#abort.abort();
    this.#abort = new AbortController();
    await this.#load();
  }

  close() {
    this.#abort.abort();
    this.#watcher.disconnect();
    this.#chunks = [];
    this.#body.replaceChildren();
    this.#body.remove();
    this.#before.remove();
    this.#after.remove();
  }

  /** Brings the active range into view, a third from the top, without moving the page around it. */
  reveal() {
    const mark = this.#body.querySelector("mark.active");
    if (!mark) return;
    const { top, height } = this.#scroller.getBoundingClientRect();
    this.#scroller.scrollTop += mark.getBoundingClientRect().top - top - height * 0.3;
  }

  async #load() {
    const { signal } = this.#abort;
    const range = this.#ranges[this.#active];
    const found = await api.text(this.#id, Math.max(0, range.start - AROUND), range.end + AROUND, signal);
    const part = this.#cut(found, found.start, found.text, range.start, range.end);
    this.#length = found.length;
    this.#pages = found.pages ?? [];
    this.#watcher.disconnect();
    this.#chunks = [this.#chunk(part)];
    this.#body.replaceChildren(this.#chunks[0].node);
    this.#busy = { before: false, after: false };
    this.#scroller.append(this.#before, this.#body, this.#after);
    this.#highlight();
    this.#edges();
    this.reveal();
    this.#watcher.observe(this.#before);
    this.#watcher.observe(this.#after);
    return found;
  }

  /** Where the text goes on, it is cut at a line break, so that no line is torn; never inside `from..to`. */
  #cut(found, start, text, from, to) {
    let first = start;
    let kept = text;
    if (start > 0) {
      const skipped = firstLineStart(text);
      if (start + skipped <= from) {
        kept = slice(kept, skipped);
        first = start + skipped;
      }
    }
    let last = found.end;
    if (found.end < found.length) {
      const length = lastLineEnd(kept);
      if (first + length >= to) {
        kept = slice(kept, 0, length);
        last = first + length;
      }
    }
    return { start: first, end: last, text: kept };
  }

  #chunk({ start, end, text }) {
    // A page's number stands before its first character, out of the text: in a style, not in a node.
    const pages = this.#pages.filter((page) => page.start >= start && page.start < end);
    const cuts = pages.map((page) => ({ start: page.start, end: page.start }));
    const ranges = [...this.#ranges, ...cuts];
    const numbers = new Map(pages.map((page) => [page.start, page.number]));
    const chunk = element("div", { class: text.endsWith("\n") || end === this.#length ? "chunk" : "chunk torn" });
    for (const part of segments(text, start, ranges)) {
      const number = numbers.get(part.start);
      if (number !== undefined) {
        numbers.delete(part.start);
        chunk.append(element("span", { class: "page", "data-page": number }));
      }
      const inside = part.inside.filter((index) => index < this.#ranges.length);
      if (!inside.length) {
        chunk.append(part.text);
        continue;
      }
      const mark = element("mark", { "data-ranges": inside.join(" "), "data-start": part.start }, part.text);
      chunk.append(mark);
    }
    return { start, end, node: chunk };
  }

  #highlight() {
    for (const mark of this.#body.querySelectorAll("mark")) {
      const inside = mark.dataset.ranges.split(" ").map(Number);
      mark.classList.toggle("active", inside.includes(this.#active));
      const begins = inside.find((index) => this.#ranges[index].start === Number(mark.dataset.start));
      const number = this.#ranges[begins]?.number;
      if (number) mark.dataset.number = number;
    }
  }

  /** What a range has as marked text so far: equal to the cited text once it is all loaded. */
  marked(index = this.#active) {
    return [...this.#body.querySelectorAll("mark")]
      .filter((mark) => mark.dataset.ranges.split(" ").map(Number).includes(index))
      .map((mark) => mark.textContent)
      .join("");
  }

  #edges() {
    this.#before.textContent = this.#start > 0 ? "Loading what stands before …" : "";
    this.#after.textContent = this.#end < this.#length ? "Loading more …" : "";
  }

  #reached(seen) {
    for (const one of seen) {
      if (!one.isIntersecting) continue;
      if (one.target === this.#before && this.#start > 0) this.#more("before");
      if (one.target === this.#after && this.#end < this.#length) this.#more("after");
    }
  }

  async #more(side) {
    if (this.#busy[side]) return;
    this.#busy[side] = true;
    const { signal } = this.#abort;
    const edge = side === "before" ? this.#before : this.#after;
    try {
      await (side === "before" ? this.#moreBefore(signal) : this.#moreAfter(signal));
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return;
      edge.replaceChildren(
        `${error.message} `,
        element("button", { type: "button", onclick: () => this.#more(side) }, "Try again"),
      );
      return;
    } finally {
      if (!signal.aborted) this.#busy[side] = false;
    }
    // The observer reports changes only: look again, should the end still be near.
    this.#watcher.unobserve(edge);
    this.#watcher.observe(edge);
  }

  async #moreBefore(signal) {
    const end = this.#start;
    const found = await api.text(this.#id, Math.max(0, end - MORE), end, signal);
    // Dropped in the meantime, or another document is open: what has come does not fit any more.
    if (signal.aborted || end !== this.#start) return;
    const chunk = this.#chunk(this.#cut({ ...found, end, length: end }, found.start, found.text, end - 1, end));
    this.#unmoved(() => {
      this.#chunks.unshift(chunk);
      this.#body.prepend(chunk.node);
      this.#edges();
    });
    while (this.#isLong()) this.#chunks.pop().node.remove();
    this.#highlight();
    this.#edges();
  }

  async #moreAfter(signal) {
    const start = this.#end;
    const found = await api.text(this.#id, start, start + MORE, signal);
    if (signal.aborted || start !== this.#end) return;
    const chunk = this.#chunk(this.#cut(found, start, found.text, start, start + 1));
    this.#chunks.push(chunk);
    this.#body.append(chunk.node);
    this.#unmoved(() => {
      while (this.#isLong()) this.#chunks.shift().node.remove();
      this.#edges();
    });
    this.#highlight();
  }

  #isLong() {
    return this.#end - this.#start > MOST && this.#chunks.length > 2;
  }

  /** Changes what stands above, or beyond, without moving what is read. */
  #unmoved(change) {
    const { node } = this.#chunks.at(-1);
    const before = node.getBoundingClientRect().bottom;
    change();
    this.#scroller.scrollTop += node.getBoundingClientRect().bottom - before;
  }
}
