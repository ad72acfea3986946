// The runs of `footnote eval`, the latest first, each a page of its own.

import * as api from "./api.js";
import { element, listed } from "./dom.js";

const WHEN = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeStyle: "short" });

/** What was asked for, by what a run calls it. */
const ASKED = { compose: "written answers", quote: "quotations", retrieval: "retrieval only", claims: "the verifier alone" };

export class Evaluations {
  #list = element("div");

  constructor(section) {
    this.section = section;
    section.append(
      element(
        "header",
        { class: "section-head" },
        element("h1", { id: "evaluations-title", tabindex: "-1" }, "Evaluations"),
        element("p", { class: "lead" }, "How well questions with known answers were answered."),
      ),
      this.#list,
    );
  }

  async show() {
    let found;
    try {
      found = (await api.evaluations()).reports;
    } catch (error) {
      const again = element("button", { type: "button", onclick: () => this.show() }, "Try again");
      this.#list.replaceChildren(element("p", { class: "actions" }, element("span", { role: "alert" }, error.message), again));
      return;
    }
    if (!found.length) {
      this.#list.replaceChildren(
        element("p", { class: "nothing" }, "No runs yet. ", element("code", {}, "footnote eval GOLD.jsonl"), " makes one."),
      );
      return;
    }
    this.#list.replaceChildren(element("ul", { class: "rows" }, found.map(row)));
  }
}

function row(one) {
  const facts = [one.gold, WHEN.format(new Date(one.created)), ASKED[one.asking] ?? one.asking, one.model];
  return element(
    "li",
    { class: "row" },
    element(
      "div",
      { class: "what" },
      element("a", { class: "title", href: one.url, target: "_blank", rel: "noopener" }, one.title),
      element("span", { class: "facts", dir: "auto" }, listed(facts)),
    ),
  );
}
