// One turn as it is read: the question, its sources, the sentences with their footnotes, what follows them.

import { footnotes, passages, refusal, withheldOf } from "./apparatus.js";
import { copyText, counted, element, listed } from "./dom.js";
import { holdBack } from "./hold.js";
import { turnAsMarkdown } from "./markdown.js";
import { notice } from "./notices.js";
import { isLoose, partsOf, placeOf, shortName } from "./turns.js";

/** How many sources stand in the turn while it waits, where there is no room beside it. */
const PEEKED = 3;

/**
 * Keeps an article as its turn is. `hooks` are `open(turn, number, from)`, `openRange(turn, range, from)`,
 * `sources(turn, from)`, `light(turn, number | null)` and `retry(turn)`.
 */
export class TurnView {
  #hooks;
  #turn;
  #shown = []; // the sentences on the page, as text and as elements
  #question = element("h2", { class: "question", dir: "auto", tabindex: "-1" });
  #sources = element("div", { class: "looked" });
  #answer = element("p", { class: "answer", dir: "auto" });
  #peek = element("ol", { class: "peek", "aria-label": "The nearest sources", hidden: true });
  #state = element("div", { class: "state" });
  #after = element("div", { class: "after" });

  constructor(turn, hooks) {
    this.#hooks = hooks;
    this.#question.id = `question-${turn.id}`;
    this.article = element(
      "article",
      { class: "turn", "aria-labelledby": this.#question.id },
      this.#question,
      this.#sources,
      this.#answer,
      this.#peek,
      this.#state,
      this.#after,
    );
    this.article.addEventListener("pointerover", (event) => this.#point(event.target));
    this.article.addEventListener("pointerleave", () => this.#light(null));
    this.article.addEventListener("focusin", (event) => this.#point(event.target));
    this.article.addEventListener("focusout", () => this.#light(null));
    this.update(turn);
  }

  get turn() {
    return this.#turn;
  }

  /** Shows what is new. What is on the page already and has not changed stays as it is, focus included. */
  update(turn) {
    const before = this.#turn;
    this.#turn = turn;
    this.article.dataset.state = turn.state === "done" ? turn.answer.status : turn.state;
    this.article.setAttribute("aria-busy", String(turn.state === "asking"));
    if (before?.question !== turn.question) this.#question.textContent = turn.question;
    const goesOn = before?.state === turn.state || turn.evidence;
    if (!before || before.evidence !== turn.evidence || !goesOn) this.#showSources();
    this.#showSentences();
    this.#showPeek();
    if (!before || before.state !== turn.state || before.answer !== turn.answer) this.#showEnd();
  }

  focus() {
    this.#question.focus({ preventScroll: true });
  }

  /** Marks the footnote that is open beside the text; null for none. */
  opened(number) {
    for (const button of this.article.querySelectorAll("[data-number]")) {
      if (Number(button.dataset.number) === number) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  #showSources() {
    const { evidence, state } = this.#turn;
    this.#sources.hidden = !evidence && state !== "asking";
    if (!evidence) {
      this.#sources.replaceChildren(element("p", { class: "line" }, "Looking through the documents …"));
    } else if (!evidence.length) {
      this.#sources.replaceChildren(element("p", { class: "line" }, "No passage resembles the question."));
    } else {
      const documents = new Set(evidence.map((one) => one.document_id)).size;
      const words = `${counted(evidence.length, "source")} in ${counted(documents, "document")}`;
      const all = element("button", { type: "button", class: "all" }, words);
      all.addEventListener("click", () => this.#hooks.sources(this.#turn, all));
      this.#sources.replaceChildren(element("p", { class: "line" }, all));
    }
  }

  /** On a narrow screen the nearest sources stand where the answer will, until there is something to read. */
  #showPeek() {
    const { evidence, sentences, state } = this.#turn;
    const shown = state === "asking" && !sentences.length && evidence ? evidence.slice(0, PEEKED) : [];
    if (this.#peek.hidden === !shown.length) return;
    if (this.#peek.contains(document.activeElement)) this.#sources.querySelector("button").focus({ preventScroll: true });
    this.#peek.hidden = !shown.length;
    this.#peek.replaceChildren(...passages(shown, (one, from) => this.#hooks.openRange(this.#turn, one, from)));
  }

  #showSentences() {
    const { evidence, sentences, state } = this.#turn;
    const same = sentences.findIndex((one, index) => this.#shown[index]?.text !== one.text);
    const from = same < 0 ? sentences.length : same;
    for (const { node, gap } of this.#shown.splice(from)) {
      node.remove();
      gap?.remove();
    }
    for (const one of sentences.slice(from)) {
      const node = this.#sentence(one);
      const gap = this.#shown.length ? document.createTextNode(" ") : null;
      // The sign of waiting is taken away and set anew: were it moved, the text would seem to shift.
      this.#answer.querySelector(".pending")?.remove();
      for (const added of [gap, node]) if (added) this.#answer.append(added);
      this.#shown.push({ text: one.text, node, gap });
    }
    const pending = this.#answer.querySelector(".pending");
    if (state === "asking" && evidence && !pending) {
      // In words where nothing else stands, later as a sign.
      const words = element("span", { class: sentences.length ? "unseen" : "words" }, "The answer is being written and checked");
      this.#answer.append(element("span", { class: "pending" }, words));
    } else if (state !== "asking") {
      pending?.remove();
    }
    this.#answer.hidden = !this.#answer.childNodes.length;
  }

  #sentence(one) {
    const { body, numbers, final } = partsOf(one);
    const loose = isLoose(one.sentence);
    const notes = numbers.map((number) => {
      const citation = one.citations.find((found) => found.number === number);
      const place = citation ? `: ${placeOf(citation)}` : "";
      const button = element(
        "button",
        { type: "button", class: "note", "data-number": number, "aria-label": `Footnote ${number}${place}` },
        String(number),
      );
      button.addEventListener("click", () => this.#hooks.open(this.#turn, number, button));
      return button;
    });
    const words = loose && element("span", { class: "unseen" }, " (loosely supported)");
    // The last word, its mark and its numbers stay on one line.
    const split = body.search(/\S+$/);
    const tail = element("span", { class: "tail" }, body.slice(split), final, element("sup", {}, notes));
    return element(
      "span",
      { class: loose ? "sentence loose" : "sentence", "data-numbers": numbers.join(" ") },
      split < 0 ? body : body.slice(0, split),
      split < 0 ? [final, element("sup", {}, notes)] : tail,
      words,
    );
  }

  #showEnd() {
    const { state, answer, sentences } = this.#turn;
    this.#state.replaceChildren();
    this.#after.replaceChildren();
    if (state === "asking") return;
    if (state === "done" && answer.status !== "answered") {
      this.#state.append(...refusal(answer, (one, from) => this.#hooks.openRange(this.#turn, one, from)));
    }
    if (state === "stopped") this.#state.append(this.#said("You stopped this answer.", this.#kept()));
    if (state === "failed") {
      const { message } = this.#turn.error;
      this.#state.append(element("div", { class: "trouble", role: "alert" }, this.#said(message, this.#kept())));
    }
    if (sentences.length) {
      this.#after.append(footnotes(this.#turn, (number, from) => this.#hooks.open(this.#turn, number, from)));
    }
    if (answer?.withheld.length) this.#after.append(withheldOf(answer));
    this.#after.append(this.#actions());
  }

  #said(...texts) {
    return element("p", {}, texts.filter(Boolean).join(" "));
  }

  #kept() {
    return this.#turn.sentences.length ? "What stands above was checked and holds." : "";
  }

  #actions() {
    const { state, answer, error, updated } = this.#turn;
    const copy = element("button", { type: "button" }, "Copy with footnotes");
    copy.addEventListener("click", async () => {
      const copied = await copyText(turnAsMarkdown(this.#turn, location.origin));
      notice(copied ? "Copied as Markdown." : "The browser did not let us copy.", { seconds: 3 });
    });
    const retry = element("button", { type: "button" }, state === "done" ? "Ask again" : "Try again");
    if (state === "failed") retry.className = "primary";
    if (error?.wait) holdBack(retry, updated + error.wait * 1000, error.wait);
    retry.addEventListener("click", () => this.#hooks.retry(this.#turn));
    const took = answer && `${(answer.timings_ms.total / 1000).toFixed(1)} s`;
    const kept = this.#turn.scope && `only in ${shortName(this.#turn.scope)}`;
    const facts = answer && listed([took, answer.model || "quoted, no model", kept]);
    const hasText = this.#turn.sentences.length > 0 || state === "done";
    return element("p", { class: "actions" }, hasText && copy, retry, facts && element("span", { class: "facts" }, facts));
  }

  #point(target) {
    const one = target.closest?.("[data-number]");
    this.#light(one ? Number(one.dataset.number) : null);
  }

  #light(number) {
    for (const one of this.article.querySelectorAll(".sentence, .footnote")) {
      const numbers = (one.dataset.numbers ?? one.dataset.number).split(" ");
      one.classList.toggle("lit", number !== null && numbers.includes(String(number)));
    }
    this.#hooks.light(this.#turn, number);
  }
}
