// The conversations kept in this browser: listed, opened, renamed, exported, deleted with a way back.

import { download, element, focusKept, replaceKept } from "./dom.js";
import { conversationAsMarkdown, fileName } from "./markdown.js";
import { notice } from "./notices.js";

const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

export class Conversations {
  #store;
  #list = element("div", { class: "kept-list" });
  #renaming = null;
  #title = element("h1", { id: "conversations-title", tabindex: "-1" }, "Conversations");

  constructor(section, store) {
    this.section = section;
    this.#store = store;
    section.append(
      element(
        "header",
        { class: "section-head" },
        this.#title,
        element(
          "p",
          { class: "lead" },
          store.keepsNothing
            ? "This browser keeps nothing for this page: these are gone when it is closed."
            : "Kept in this browser, and nowhere else.",
        ),
      ),
      this.#list,
    );
    store.addEventListener("change", () => !section.hidden && !this.#renaming && this.show());
  }

  async show() {
    const found = await this.#store.conversations();
    this.#renaming = null; // its row goes with the others
    if (!found.length) {
      this.#list.replaceChildren(
        element("p", { class: "nothing" }, "No conversations yet. ", element("a", { href: "/#ask" }, "Ask something"), "."),
      );
      return;
    }
    const days = Map.groupBy
      ? Map.groupBy(found, (one) => DAY.format(one.updated))
      : found.reduce((all, one) => {
          const day = DAY.format(one.updated);
          return all.set(day, [...(all.get(day) ?? []), one]);
        }, new Map());
    replaceKept(
      this.#list,
      ...[...days].map(([day, conversations]) =>
        element(
          "section",
          {},
          element("h2", { class: "day" }, day),
          element("ul", { class: "rows" }, conversations.map((one) => this.#row(one))),
        ),
      ),
      element(
        "p",
        { class: "actions" },
        element("button", { type: "button", "data-key": "all", onclick: () => this.#exportAll() }, "Export all as JSON"),
      ),
    );
  }

  #row(one) {
    const link = element("a", { class: "title", href: `/#conversation=${one.id}`, dir: "auto", "data-key": one.id }, one.title);
    const name = (word) => `${word} “${one.title}”`;
    const act = (word, work) =>
      element("button", { type: "button", "aria-label": name(word), "data-key": `${word} ${one.id}`, onclick: work }, word);
    const row = element(
      "li",
      { class: "row" },
      element("div", { class: "what" }, link, element("span", { class: "facts" }, TIME.format(one.updated))),
      element(
        "div",
        { class: "acts" },
        act("Rename", () => this.#rename(row, one)),
        act("Export", () => this.#export(one)),
        act("Delete", () => this.#remove(row, one)),
      ),
    );
    return row;
  }

  #rename(row, one) {
    const field = element("input", { type: "text", "aria-label": "New name", maxlength: "200", dir: "auto" });
    field.value = one.title;
    this.#renaming = one.id;
    let over = false;
    const end = async (keeps) => {
      if (over) return;
      over = true;
      this.#renaming = null;
      const title = field.value.trim();
      if (keeps && title && title !== one.title) await this.#store.rename(one.id, title);
      await this.show();
      focusKept(this.#list, one.id);
    };
    const form = element(
      "form",
      { class: "renaming" },
      field,
      element("button", { class: "primary", type: "submit" }, "Rename"),
      element("button", { type: "button", onclick: () => end(false) }, "Cancel"),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      end(true);
    });
    form.addEventListener("keydown", (event) => event.key === "Escape" && end(false));
    row.replaceChildren(form);
    field.select();
  }

  async #export(one) {
    const found = await this.#store.conversation(one.id);
    if (!found) return;
    const text = conversationAsMarkdown(found.conversation, found.turns, location.origin);
    download(fileName(one.title, "md"), text, "text/markdown");
  }

  async #exportAll() {
    const all = await this.#store.conversations();
    const whole = await Promise.all(all.map((one) => this.#store.conversation(one.id)));
    const text = JSON.stringify({ conversations: whole.filter(Boolean) }, null, 1);
    download("footnote-conversations.json", text, "application/json");
  }

  async #remove(row, one) {
    const next = (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("a").dataset.key;
    const removed = await this.#store.remove(one.id);
    await this.show();
    if (!next || !focusKept(this.#list, next)) this.#title.focus();
    if (!removed) return;
    notice(`Deleted “${one.title}”.`, {
      undo: async () => {
        await this.#store.restore(removed);
        await this.show();
        focusKept(this.#list, one.id);
      },
    });
  }
}
