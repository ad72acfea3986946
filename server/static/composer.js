// The box for the next question, and what stands under it.

import { element } from "./dom.js";
import { ScopeChoice } from "./scope.js";

export class Composer {
  #field = element("textarea", {
    id: "question", rows: "1", dir: "auto", placeholder: "Ask your documents",
    "aria-describedby": "question-hint", enterkeyhint: "send", autocomplete: "off",
  });
  #quote = element("input", { type: "checkbox", id: "quote" });
  #button = element("button", { class: "primary", type: "submit" }, "Ask");
  #fresh = element("button", { type: "button", class: "fresh" }, "New conversation");
  #scope = new ScopeChoice();
  #isRunning = false;

  /** `hooks` are `ask(text)`, `stop()` and `begin()`. */
  constructor({ ask, stop, begin }) {
    this.element = element(
      "form",
      { class: "composer", "aria-label": "Ask a question" },
      element("label", { class: "unseen", for: "question" }, "Your question"),
      element("div", { class: "box" }, this.#field, this.#button),
      element(
        "div",
        { class: "under" },
        element("label", { for: "quote", title: "Answer with the documents’ own sentences; no model writes" }, this.#quote, "Quote only"),
        this.#scope.element,
        element("span", { id: "question-hint", class: "hint" }, "Enter asks, Shift and Enter begin a line"),
        this.#fresh,
      ),
    );
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#isRunning) stop();
      else ask(this.#field.value);
    });
    this.#field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      if (!this.#isRunning) ask(this.#field.value);
    });
    this.#field.addEventListener("input", () => this.#grow());
    this.#fresh.addEventListener("click", begin);
  }

  get mode() {
    return this.#quote.checked ? "quote" : "compose";
  }

  /** What the question is kept to; null is everything. */
  get scope() {
    return this.#scope.chosen;
  }

  focus() {
    this.#field.focus({ preventScroll: true });
  }

  clear() {
    this.#field.value = "";
    this.#grow();
  }

  /** As it is while a question is being answered, and where something was asked already. */
  settle({ isRunning, isEmpty }) {
    this.#isRunning = isRunning;
    this.#fresh.hidden = isEmpty;
    this.#button.textContent = isRunning ? "Stop" : "Ask";
    this.#button.classList.toggle("stop", isRunning);
    this.#field.placeholder = isEmpty ? "Ask your documents" : "Ask a follow-up";
  }

  #grow() {
    this.#field.style.height = "auto";
    this.#field.style.height = `${this.#field.scrollHeight + 2}px`;
  }
}
