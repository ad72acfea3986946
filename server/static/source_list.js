// The sources of a question, the nearest first, each with the footnotes that cite it.

import { capitalised, counted, element } from "./dom.js";
import { citationsOf, pageOf, placeOf, titleOf } from "./turns.js";

export class SourceList {
  #place;
  #open;
  #evidence = null;
  #cards = [];

  /** Stands in `place`; `open(source, button)` is called for the one that is pressed. */
  constructor(place, open) {
    this.#place = place;
    this.#open = open;
  }

  /** Shows the sources of a turn. What is there already is not made anew, so focus stays. */
  show(turn) {
    const isThere = this.#cards.length > 0 && this.#cards[0].button.isConnected;
    if (!turn.evidence) {
      this.#say(turn.state === "asking" ? "Looking through the documents …" : "No sources have come.");
    } else if (!turn.evidence.length) {
      this.#say("Nothing in the collection resembles the question.");
    } else {
      if (this.#evidence !== turn.evidence || !isThere) this.#make(turn.evidence);
      this.#number(citationsOf(turn));
    }
  }

  #say(words) {
    this.#cards = [];
    this.#place.replaceChildren(element("p", { class: "quiet" }, words));
  }

  #make(evidence) {
    this.#evidence = evidence;
    const documents = new Set(evidence.map((one) => one.document_id)).size;
    // What is said of all of them at the top is not said again of each.
    const placed = (one) => (documents > 1 ? placeOf(one) : capitalised(pageOf(one)));
    this.#cards = evidence.map((one) => {
      const number = element("span", { class: "cited-as" });
      const button = element(
        "button",
        { type: "button", class: "card" },
        element("span", { class: "passage", dir: "auto" }, one.text),
        placed(one) && element("span", { class: "place", dir: "auto" }, placed(one)),
      );
      button.addEventListener("click", () => this.#open(one, button));
      return { one, number, button };
    });
    const from = documents > 1 ? `${documents} documents` : element("bdi", {}, `“${titleOf(evidence[0])}”`);
    const count = `${counted(evidence.length, "passage")} from `;
    this.#place.replaceChildren(
      element("p", { class: "quiet" }, count, from, evidence.length > 1 ? ", the nearest first." : "."),
      element(
        "ol",
        { class: "cards" },
        this.#cards.map(({ number, button }) => element("li", {}, number, button)),
      ),
    );
  }

  #number(citations) {
    for (const { one, number, button } of this.#cards) {
      const citing = citations
        .filter((cited) => cited.document_id === one.document_id && cited.start < one.end && one.start < cited.end)
        .map((cited) => cited.number);
      const words = `Cited in footnote ${citing.join(", ")}.`;
      number.replaceChildren(
        ...(citing.length
          ? [element("span", { "aria-hidden": "true" }, citing.join(" ")), element("span", { class: "unseen" }, words)]
          : []),
      );
      button.dataset.numbers = citing.join(" ");
    }
  }

  /** Shows which source a hovered footnote cites; null for none. */
  light(number) {
    for (const { button } of this.#cards) {
      const numbers = (button.dataset.numbers ?? "").split(" ");
      button.classList.toggle("lit", number !== null && numbers.includes(String(number)));
    }
  }
}
