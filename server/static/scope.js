// What questions are kept to: everything, or one folder, tag or document. A quiet line under the question.

import * as api from "./api.js";
import { counted, element } from "./dom.js";
import { announce } from "./notices.js";
import { shortName } from "./turns.js";

const MOST = 6;
const PAUSE_MS = 200;
const EVERYTHING = "All documents";

/** A scope is `{kind: "folder" | "tag" | "document", name, value}`; null is everything. */
export class ScopeChoice {
  #chosen = null;
  #summary = element("summary", {}, EVERYTHING);
  #search = element("input", { type: "search", id: "scope-search", autocomplete: "off", dir: "auto" });
  #found = element("div", { class: "scopes" });
  #looking = new AbortController();
  #timer = 0;

  constructor() {
    this.element = element(
      "details",
      { class: "scope" },
      this.#summary,
      element(
        "div",
        { class: "scope-panel" },
        element("label", { for: "scope-search" }, "Ask only in"),
        this.#search,
        this.#found,
      ),
    );
    this.element.addEventListener("toggle", () => (this.element.open ? this.#opened() : this.#closed()));
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.element.addEventListener("focusout", ({ relatedTarget }) => {
      if (relatedTarget && !this.element.contains(relatedTarget)) this.element.open = false;
    });
    document.addEventListener("pointerdown", ({ target }) => {
      if (!this.element.contains(target)) this.element.open = false;
    });
    this.#search.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#look(), PAUSE_MS);
    });
  }

  get chosen() {
    return this.#chosen;
  }

  #opened() {
    this.#search.focus();
    this.#look();
  }

  /** Emptied now and not when it is opened: whoever is quick types before the browser says that it is open. */
  #closed() {
    clearTimeout(this.#timer);
    this.#looking.abort();
    this.#search.value = "";
    this.#found.replaceChildren();
  }

  #key(event) {
    if (event.isComposing) return;
    if (event.key === "Escape" && this.element.open) {
      event.preventDefault(); // the source stays open
      this.#close();
    } else if (event.key === "Enter" && event.target === this.#search) {
      event.preventDefault(); // this is no question
      this.#found.querySelector("button")?.click();
    }
  }

  #close() {
    this.element.open = false;
    this.#summary.focus({ preventScroll: true });
  }

  async #look() {
    this.#looking.abort();
    this.#looking = new AbortController();
    const { signal } = this.#looking;
    const q = this.#search.value.trim();
    try {
      const [{ folders, tags }, { documents }] = await Promise.all([
        api.scopes(q, signal),
        api.documents({ q, limit: MOST }, signal),
      ]);
      if (signal.aborted) return;
      const row = (kind) => (one) => ({ kind, name: one.name, value: one.name, facts: counted(one.documents, "document") });
      this.#show([
        ["Folders", folders.slice(0, MOST).map(row("folder"))],
        ["Tags", tags.slice(0, MOST).map(row("tag"))],
        ["Documents", documents.map(({ title, uri }) => ({ kind: "document", name: title || uri, value: uri, facts: "" }))],
      ]);
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return;
      this.#found.replaceChildren(element("p", { class: "facts", role: "alert" }, error.message));
    }
  }

  #show(groups) {
    const full = groups.filter(([, rows]) => rows.length);
    const lists = full.map(([name, rows]) =>
      element(
        "section",
        { "aria-label": name },
        element("p", { class: "kind" }, name),
        element("ul", {}, rows.map((one) => element("li", {}, this.#button(one)))),
      ),
    );
    const all = this.#chosen && element("button", { type: "button", onclick: () => this.#choose(null) }, EVERYTHING);
    const nothing = !full.length && element("p", { class: "facts" }, "Nothing is called so.");
    this.#found.replaceChildren(...[all, ...lists, nothing].filter(Boolean));
  }

  #button({ facts, ...one }) {
    const words = [element("bdi", {}, one.name), facts && element("span", { class: "facts" }, facts)];
    return element("button", { type: "button", title: one.name, onclick: () => this.#choose(one) }, words);
  }

  #choose(scope) {
    this.#chosen = scope;
    this.#summary.replaceChildren(scope ? element("bdi", {}, `Only in ${shortName(scope)}`) : EVERYTHING);
    this.#summary.title = scope ? scope.name : "";
    announce(scope ? `Questions are kept to ${scope.name}.` : "Questions go to all documents.");
    this.#close();
  }
}
