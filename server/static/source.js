// The right-hand side: the sources of a question, and a document opened at the words that were cited.

import { element } from "./dom.js";
import { pageAt } from "./marks.js";
import { announce } from "./notices.js";
import { Reader } from "./reader.js";
import { headOf, placesOf, SourceFoot } from "./source_frame.js";
import { SourceList } from "./source_list.js";
import { citationsOf, placeOf } from "./turns.js";

const NARROW = matchMedia("(max-width: 47.99rem)");

/** One panel for the whole page. It hears of footnotes that are hovered, and tells when it opens and closes. */
export class SourcePanel extends EventTarget {
  #panel;
  #head = element("header", { class: "source-head" });
  #scroller = element("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Text of the source" });
  #foot = element("footer", { class: "source-foot" });
  #controls = new SourceFoot(this.#foot, (by) => this.step(by));
  #reader;
  #turn = null;
  #stops = []; // what previous and next go through: citations of one turn, or one range
  #at = 0;
  #loaded = null; // the stops of which the reader shows the text
  #now = null; // the id of what the file says now, where what is shown is how it was when it was cited
  #list;
  #opened = 0; // counts openings, so that a slow one does not overwrite a later one
  #returnTo = null;

  constructor(panel) {
    super();
    this.#panel = panel;
    panel.append(this.#head, this.#scroller, this.#foot);
    this.#reader = new Reader(this.#scroller);
    // What is pressed in the list goes with it: the focus will return to what opened the list.
    this.#list = new SourceList(this.#scroller, (one) => this.openRange(one, { turn: this.#turn }));
    panel.addEventListener("keydown", (event) => this.#key(event));
    NARROW.addEventListener("change", () => this.#layer());
    addEventListener("popstate", () => this.isOpen && NARROW.matches && this.#shut());
  }

  get isOpen() {
    return !this.#panel.hidden;
  }

  /** The sources of a turn, as they are now; `turn.evidence` is null while they are looked for. On a narrow
      screen they stand in the turn itself, and the panel opens only when asked to. */
  showSources(turn, { asked = false, from = null } = {}) {
    if (NARROW.matches && !asked) return;
    this.#opened += 1;
    this.#turn = turn;
    this.#stops = [];
    this.#unload();
    this.#show(from ?? (asked ? null : document.activeElement));
    this.#panel.dataset.mode = "sources";
    this.#head.replaceChildren(...headOf("Sources", [], () => this.close()));
    this.#foot.hidden = true;
    this.#scroller.scrollTop = 0;
    this.#list.show(turn);
    this.#tell("opened", { turn: null, number: null });
    if (asked) this.#scroller.focus({ preventScroll: true });
  }

  /** The same turn has gone on: more is known of it. */
  update(turn) {
    if (this.#turn?.id !== turn.id) return;
    this.#turn = turn;
    if (this.isOpen && this.#panel.dataset.mode === "sources") this.#list.show(turn);
  }

  /** The document of a citation, with exactly its characters marked. Focus goes to the text. */
  openCitation(turn, number, { from = null } = {}) {
    const stops = citationsOf(turn);
    const at = stops.findIndex((one) => one.number === number);
    if (at >= 0) return this.#open(turn, stops, at, from);
    return Promise.resolve();
  }

  /** A range that no footnote names: a source, a nearest passage, or what a link addresses. */
  openRange(range, { turn = null, from = null } = {}) {
    const cited = turn ? citationsOf(turn) : [];
    const same = (one) =>
      one.document_id === range.document_id && one.start === range.start && one.end === range.end;
    const at = cited.findIndex(same);
    return at >= 0 ? this.#open(turn, cited, at, from) : this.#open(turn, [range], 0, from);
  }

  async #open(turn, wanted, at, from) {
    const stops = this.#loaded && keyOf(this.#loaded) === keyOf(wanted) ? this.#loaded : wanted;
    const stop = stops[at];
    const stays = this.#loaded === stops && stops[this.#at].document_id === stop.document_id;
    this.#opened += 1;
    const opening = this.#opened;
    this.#turn = turn;
    this.#stops = stops;
    this.#at = at;
    this.#show(from);
    this.#panel.dataset.mode = "document";
    this.#tell("opened", { turn: turn?.id ?? null, number: turn ? (stop.number ?? null) : null });
    if (!stays) {
      this.#now = null;
      this.#heading(stop, { title: stop.title || "Opening …" });
    }
    this.#foot.hidden = false;
    this.#controls.show(stops, at, stop.cited_text !== undefined);
    const isStepping = document.activeElement?.closest(".step");
    const here = stops.filter((one) => one.document_id === stop.document_id);
    try {
      if (stays) {
        await this.#reader.activate(here.indexOf(stop));
        if (opening !== this.#opened) return;
        this.#heading(stop, stop);
      } else {
        this.#loaded = null;
        this.#scroller.replaceChildren();
        const ranges = here.map(({ start, end, number }) => ({ start, end, number }));
        const found = await this.#reader.open(stop.document_id, ranges, here.indexOf(stop));
        if (opening !== this.#opened) return;
        const page = stop.page ?? pageAt(found.pages ?? [], stop.start);
        this.#now = found.current ?? null;
        this.#heading({ ...stop, page }, found);
      }
      this.#loaded = stops;
      if (!isStepping) this.#scroller.focus({ preventScroll: true });
      const marked = stop.cited_text ?? stop.text ?? this.#reader.marked();
      const changed = this.#now ? " It has changed since it was cited; this is how it was." : "";
      announce(`Opened ${placeOf(stop)}.${changed} ${marked && `Marked: ${marked}`}`);
    } catch (error) {
      if (error.name === "AbortError" || opening !== this.#opened) return;
      this.#failed(stop, error);
    }
  }

  #failed(stop, error) {
    const isGone = error.status === 404;
    const kept = stop.cited_text ?? stop.text;
    this.#unload();
    this.#scroller.replaceChildren(
      element(
        "div",
        { class: "trouble", role: "alert" },
        element("p", {}, isGone ? "This document is no longer in the collection." : error.message),
        !isGone &&
          element("button", { type: "button", onclick: () => this.#open(this.#turn, this.#stops, this.#at) }, "Try again"),
      ),
      kept
        ? element(
            "figure",
            { class: "kept" },
            element("figcaption", {}, "What was cited from it"),
            element("blockquote", { dir: "auto" }, kept),
          )
        : "",
    );
  }

  #heading(stop, found) {
    const title = found.title || stop.title || found.uri || "Untitled";
    const back =
      this.#turn?.evidence &&
      element(
        "button",
        { type: "button", class: "back", onclick: () => this.showSources(this.#turn, { asked: true }) },
        "All sources",
      );
    const facts = [...placesOf(stop), back, this.#now && this.#changed(stop, title)].filter(Boolean);
    this.#head.replaceChildren(...headOf(title, facts, () => this.close()));
  }

  /** Shown is the text that was cited; its file says something else now. */
  #changed({ uri }, title) {
    const range = { document_id: this.#now, title, uri, page: null, start: 0, end: 0 };
    return element(
      "span",
      { class: "changed" },
      "changed since it was cited: this is how it was. ",
      element("button", { type: "button", class: "back", onclick: () => this.openRange(range) }, "See what it says now"),
    );
  }

  /** To the next or the previous citation; at an end it stays. */
  step(by) {
    const at = this.#at + by;
    if (this.#stops[at]) this.#open(this.#turn, this.#stops, at, null);
  }

  /** Shows that a footnote is hovered or focused; null ends it. */
  light(turn, number) {
    if (this.#turn?.id !== turn.id) return;
    this.#list.light(number);
    for (const mark of this.#scroller.querySelectorAll("mark")) {
      const numbers = mark.dataset.ranges.split(" ").map((index) => this.#numberHere(Number(index)));
      mark.classList.toggle("lit", number !== null && numbers.includes(number));
    }
  }

  #numberHere(index) {
    const id = this.#stops[this.#at]?.document_id;
    return this.#stops.filter((one) => one.document_id === id)[index]?.number;
  }

  #key(event) {
    if (event.target.closest("input, textarea") || event.altKey || event.ctrlKey || event.metaKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.close();
    else if (step && this.#panel.dataset.mode === "document") this.step(step);
    else return;
    event.preventDefault();
  }

  /** The focus will go back to `from`, or else to where it was when the panel opened. */
  #show(from) {
    const focused = document.activeElement;
    this.#returnTo = from ?? this.#returnTo ?? (this.#panel.contains(focused) ? null : focused);
    if (this.isOpen) return;
    this.#panel.hidden = false;
    document.body.dataset.source = "open";
    this.#layer();
    // On a narrow screen the source covers the page: going back uncovers it.
    if (NARROW.matches) history.pushState({ source: true }, "");
  }

  /** On a narrow screen what the panel covers cannot be reached. */
  #layer() {
    const covers = this.isOpen && NARROW.matches;
    for (const covered of document.querySelectorAll(".masthead, main, .skip")) covered.inert = covers;
  }

  /** Back to where the source was opened from. */
  close() {
    if (!this.isOpen) return;
    if (NARROW.matches && history.state?.source) history.back();
    else this.#shut();
  }

  /** Closes without moving the focus: another view has taken it. */
  dismiss() {
    this.#returnTo = null;
    if (this.isOpen) this.#shut({ moves: false });
  }

  #shut({ moves = true } = {}) {
    this.#opened += 1;
    this.#unload();
    this.#panel.hidden = true;
    delete document.body.dataset.source;
    this.#layer();
    const back = this.#returnTo;
    this.#returnTo = null;
    this.#tell("closed");
    if (!moves) return;
    if (back?.isConnected && back !== document.body) back.focus();
    else document.getElementById("main").focus({ preventScroll: true });
  }

  #unload() {
    this.#loaded = null;
    this.#reader.close();
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** The same for the same ranges of the same documents. */
function keyOf(stops) {
  return stops.map(({ document_id, start, end, number }) => [document_id, start, end, number]).join(" ");
}
