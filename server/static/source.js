// The right-hand side: the sources of a question, and a document opened at the words that were cited.

import { copyText, element } from "./dom.js";
import { pageAt } from "./marks.js";
import { announce, notice } from "./notices.js";
import { Reader } from "./reader.js";
import { SourceList } from "./source_list.js";
import { addressOf, citationsOf, placeOf } from "./turns.js";

const NARROW = matchMedia("(max-width: 47.99rem)");

/** One panel for the whole page. It hears of footnotes that are hovered, and tells when it opens and closes. */
export class SourcePanel extends EventTarget {
  #panel;
  #head = element("header", { class: "source-head" });
  #scroller = element("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Text of the source" });
  #foot = element("footer", { class: "source-foot" });
  #reader;
  #turn = null;
  #stops = []; // what previous and next go through: citations of one turn, or one range
  #at = 0;
  #list;
  #opened = 0; // counts openings, so that a slow one does not overwrite a later one
  #returnTo = null;

  constructor(panel) {
    super();
    this.#panel = panel;
    panel.append(this.#head, this.#scroller, this.#foot);
    this.#reader = new Reader(this.#scroller);
    this.#list = new SourceList(this.#scroller, (one, from) => this.openRange(one, { turn: this.#turn, from }));
    panel.addEventListener("keydown", (event) => this.#key(event));
    NARROW.addEventListener("change", () => this.#layer());
    addEventListener("popstate", () => this.isOpen && NARROW.matches && this.#shut());
  }

  get isOpen() {
    return !this.#panel.hidden;
  }

  /** The reader, for who wants to know what is marked. */
  get reader() {
    return this.#reader;
  }

  /** The sources of a turn, as they are now; `turn.evidence` is null while they are looked for. On a narrow
      screen they stand in the turn itself, and the panel opens only when asked to. */
  showSources(turn, { asked = false } = {}) {
    if (NARROW.matches && !asked) return;
    this.#opened += 1;
    this.#turn = turn;
    this.#stops = [];
    this.#reader.close();
    this.#show();
    this.#panel.dataset.mode = "sources";
    this.#head.replaceChildren(
      element("div", { class: "source-title" }, element("h2", { tabindex: "-1" }, "Sources")),
      this.#closeButton(),
    );
    this.#foot.replaceChildren();
    this.#scroller.scrollTop = 0;
    this.#list.show(turn);
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

  async #open(turn, stops, at, from) {
    const stop = stops[at];
    const isSame = this.isOpen && this.#panel.dataset.mode === "document" && this.#stops[this.#at];
    const stays = isSame && this.#stops === stops && isSame.document_id === stop.document_id;
    if (from) this.#returnTo = from;
    this.#opened += 1;
    const opening = this.#opened;
    this.#turn = turn;
    this.#stops = stops;
    this.#at = at;
    this.#show();
    this.#panel.dataset.mode = "document";
    this.#tellOpened();
    this.#heading(stop, { title: stop.title || "Opening …" });
    this.#controls();
    const here = stops.filter((one) => one.document_id === stop.document_id);
    try {
      if (stays) {
        await this.#reader.activate(here.indexOf(stop));
        this.#heading(stop, stop);
      } else {
        this.#scroller.replaceChildren();
        const ranges = here.map(({ start, end, number }) => ({ start, end, number }));
        const found = await this.#reader.open(stop.document_id, ranges, here.indexOf(stop));
        if (opening !== this.#opened) return;
        const page = stop.page ?? pageAt(found.pages ?? [], stop.start);
        this.#heading({ ...stop, page }, found);
      }
      this.#scroller.focus({ preventScroll: true });
      const marked = stop.cited_text ?? stop.text ?? this.#reader.marked();
      announce(`Opened ${placeOf(stop)}. ${marked && `Marked: ${marked}`}`);
    } catch (error) {
      if (error.name === "AbortError" || opening !== this.#opened) return;
      this.#failed(stop, error);
    }
  }

  #failed(stop, error) {
    const isGone = error.status === 404;
    const kept = stop.cited_text ?? stop.text;
    this.#reader.close();
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
    const facts = [
      stop.page === null || stop.page === undefined ? null : `Page ${stop.page}`,
      stop.end > stop.start && `characters ${stop.start.toLocaleString("en")} to ${stop.end.toLocaleString("en")}`,
    ].filter(Boolean);
    const back =
      this.#turn?.evidence &&
      element(
        "button",
        { type: "button", class: "back", onclick: () => this.showSources(this.#turn, { asked: true }) },
        "All sources",
      );
    this.#head.replaceChildren(
      element(
        "div",
        { class: "source-title" },
        element("h2", { dir: "auto" }, found.title || stop.title || found.uri || "Untitled"),
        element("p", { class: "facts" }, facts.join(" · "), back ? " · " : null, back),
      ),
      this.#closeButton(),
    );
  }

  #controls() {
    const stop = this.#stops[this.#at];
    const many = this.#stops.length > 1;
    const step = (by, words, sign) =>
      element(
        "button",
        {
          type: "button", class: "step", "aria-label": words,
          "aria-disabled": String(!this.#stops[this.#at + by]), onclick: () => this.step(by),
        },
        sign,
      );
    const link = element("a", { href: addressOf(stop), class: "address" }, "Copy link");
    link.addEventListener("click", async (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const copied = await copyText(link.href);
      notice(copied ? "The link is copied." : link.href, { seconds: copied ? 3 : 20 });
    });
    const number = stop.number && this.#turn && stop.cited_text !== undefined ? stop.number : null;
    this.#foot.replaceChildren(
      ...(number !== null
        ? [
            element(
              "div",
              { class: "steps" },
              many && step(-1, "Previous footnote", "←"),
              element("span", { class: "where" }, many ? `Footnote ${this.#at + 1} of ${this.#stops.length}` : "Footnote 1"),
              many && step(1, "Next footnote", "→"),
            ),
          ]
        : [element("span", { class: "where" })]),
      link,
    );
  }

  /** To the next or the previous citation; at an end it stays. */
  step(by) {
    const at = this.#at + by;
    if (!this.#stops[at]) return;
    const held = document.activeElement?.closest?.(".step")?.getAttribute("aria-label");
    this.#open(this.#turn, this.#stops, at, null).then(() => {
      if (held) this.#foot.querySelector(`[aria-label="${held}"]`)?.focus();
    });
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

  #closeButton() {
    const words = "Close the source";
    return element("button", { type: "button", class: "close", "aria-label": words, onclick: () => this.close() }, "×");
  }

  #show() {
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
    this.#reader.close();
    this.#panel.hidden = true;
    delete document.body.dataset.source;
    this.#layer();
    const back = this.#returnTo;
    this.#returnTo = null;
    this.#tell("closed");
    if (!moves) return;
    if (back?.isConnected) back.focus();
    else document.getElementById("main").focus({ preventScroll: true });
  }

  #tellOpened() {
    const stop = this.#stops[this.#at];
    const detail = { turn: this.#turn?.id ?? null, number: this.#turn ? (stop.number ?? null) : null };
    this.dispatchEvent(new CustomEvent("opened", { detail }));
  }

  #tell(name) {
    this.dispatchEvent(new CustomEvent(name));
  }
}
