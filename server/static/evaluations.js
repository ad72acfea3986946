// The runs of `footnote eval`, the latest first, each a page of its own.

import * as api from "./api.js";
import { counted, element } from "./dom.js";

const WHEN = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeStyle: "short" });

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
  const judged = one.judged > 0 ? `${one.right.toLocaleString("en")} of ${one.judged.toLocaleString("en")} right` : "not judged";
  return element(
    "li",
    { class: "row" },
    element(
      "div",
      { class: "what" },
      element("a", { class: "title", href: one.url, target: "_blank", rel: "noopener", dir: "auto" }, one.name),
      element(
        "span",
        { class: "facts" },
        [WHEN.format(new Date(one.created)), counted(one.questions, "question"), judged, one.model].filter(Boolean).join(" · "),
      ),
    ),
  );
}
