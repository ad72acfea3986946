// What the collection holds: added by drop, by choice or by paste, searched, opened, deleted with a way back.

import * as api from "./api.js";
import { counted, element, focusKept, inBytes, listed, replaceKept } from "./dom.js";
import { announce, notice } from "./notices.js";
import { Uploads } from "./uploads.js";

const PAGE = 50;
const MOST = 200; // that the server gives at once
const TYPING_MS = 200;

export class Documents {
  #panel;
  #state = element("p", { class: "lead", role: "status" }, "\u00a0");
  #list = element("ul", { class: "rows" });
  #rest = element("p", { class: "actions" });
  #search;
  #dropped;
  #uploads;
  #searching = new AbortController();
  #shownFor = ""; // the search of which the list shows what was found
  #leaving = new Set(); // ids of documents that are to be deleted

  constructor(section, panel) {
    this.section = section;
    this.#panel = panel;
    this.#uploads = new Uploads(() => this.show());
    this.#search = element("input", {
      type: "search", id: "search", placeholder: "Search titles", autocomplete: "off", dir: "auto",
      maxlength: "200",
    });
    let typing = 0;
    this.#search.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.#load(), TYPING_MS);
    });
    section.append(
      element(
        "header",
        { class: "section-head" },
        element("h1", { id: "documents-title", tabindex: "-1" }, "Documents"),
        this.#state,
      ),
      this.#adding(),
      this.#uploads.element,
      element("div", { class: "searching" }, element("label", { for: "search", class: "unseen" }, "Search"), this.#search),
      this.#list,
      this.#rest,
    );
    addEventListener("pagehide", () => {
      for (const id of this.#leaving) api.removeDocument(id, { keepalive: true }).catch(() => {});
    });
  }

  #adding() {
    const chosen = element("input", { type: "file", multiple: true, id: "files", class: "unseen", tabindex: "-1" });
    chosen.addEventListener("change", () => {
      this.#uploads.add([...chosen.files]);
      chosen.value = "";
    });
    const choose = element("button", { type: "button", class: "primary", onclick: () => chosen.click() }, "Choose files");
    const paste = this.#pasting();
    const open = element(
      "button",
      {
        type: "button", "aria-expanded": "false", "aria-controls": paste.id,
        onclick: () => {
          paste.hidden = !paste.hidden;
          open.setAttribute("aria-expanded", String(!paste.hidden));
          if (!paste.hidden) paste.querySelector("textarea").focus();
        },
      },
      "Paste text",
    );
    this.#dropped = element(
      "div",
      { class: "drop" },
      element("p", {}, "Drop files here: text, Markdown, HTML, PDF or Word."),
      element("p", { class: "buttons" }, choose, open),
      element("label", { for: "files", class: "unseen" }, "Files to add"),
      chosen,
    );
    this.#accept();
    return element("div", { class: "adding" }, this.#dropped, paste);
  }

  /** Files may be dropped anywhere on this view. */
  #accept() {
    const carries = (event) => !this.section.hidden && [...event.dataTransfer.types].includes("Files");
    let depth = 0;
    const over = (is) => this.#dropped.classList.toggle("over", is);
    addEventListener("dragenter", (event) => {
      if (!carries(event)) return;
      depth += 1;
      over(true);
    });
    addEventListener("dragleave", (event) => {
      if (!carries(event)) return;
      depth -= 1;
      if (depth <= 0) over(false);
    });
    addEventListener("dragover", (event) => carries(event) && event.preventDefault());
    addEventListener("drop", (event) => {
      // Never let a dropped file take the place of the page.
      if ([...event.dataTransfer.types].includes("Files")) event.preventDefault();
      depth = 0;
      over(false);
      if (carries(event)) this.#uploads.add([...event.dataTransfer.files]);
    });
  }

  #pasting() {
    const title = element("input", { type: "text", id: "paste-title", maxlength: "300", dir: "auto", required: true });
    const text = element("textarea", { id: "paste-text", rows: "8", dir: "auto", required: true });
    const said = element("span", { class: "facts", role: "status" });
    const form = element(
      "form",
      { class: "pasting", id: "pasting", hidden: true, "aria-label": "Paste text" },
      element("label", { for: "paste-title" }, "Title"),
      title,
      element("label", { for: "paste-text" }, "Text"),
      text,
      element("p", { class: "buttons" }, element("button", { class: "primary", type: "submit" }, "Add"), said),
    );
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      said.textContent = "Reading …";
      try {
        const result = await api.paste(title.value.trim(), text.value);
        if (result.status === "failed") throw new api.Failure(result.error.message);
        said.textContent = result.status === "unchanged" ? "Already there." : "Added.";
        form.reset();
        this.show();
      } catch (error) {
        said.textContent = error.message;
      }
    });
    return form;
  }

  /** Loads what the collection holds now. */
  async show() {
    await Promise.all([this.#describe(), this.#load()]);
  }

  async #describe() {
    try {
      const found = await api.collection();
      const model = found.model ? `answered by ${found.model}` : "quotations only";
      const facts = [counted(found.documents, "document"), counted(found.passages, "passage"), inBytes(found.bytes), model];
      this.#state.replaceChildren(listed(facts));
      if (api.hasKey()) {
        const forget = element("button", { type: "button" }, "Forget the key");
        forget.addEventListener("click", () => {
          api.forgetKey();
          forget.remove();
          notice("The key is forgotten.", { seconds: 3 });
        });
        this.#state.append("\u00a0· ", forget);
      }
    } catch (error) {
      this.#state.textContent = error.message;
    }
  }

  async #load(after = "") {
    this.#searching.abort();
    this.#searching = new AbortController();
    const q = this.#search.value.trim();
    // What is looked at again is as long as it was, so that nothing under the eyes goes away.
    const limit = after || q !== this.#shownFor ? PAGE : Math.min(Math.max(PAGE, this.#list.childElementCount), MOST);
    let found;
    try {
      found = await api.documents({ q, after, limit }, this.#searching.signal);
    } catch (error) {
      if (error.name !== "AbortError") {
        const again = element("button", { type: "button", onclick: () => this.#load(after) }, "Try again");
        this.#rest.replaceChildren(element("span", { role: "alert" }, error.message), again);
      }
      return;
    }
    const rows = found.documents.filter((one) => !this.#leaving.has(one.id)).map((one) => this.#row(one));
    if (after) this.#list.append(...rows);
    else replaceKept(this.#list, ...rows);
    this.#shownFor = q;
    const words = q
      ? [`No document is called “${q}”.`]
      : ["The collection is empty. Add a document, and ask about it a few seconds later."];
    const nothing = !this.#list.childElementCount && element("span", { class: "nothing", dir: "auto" }, words);
    const next =
      found.next && element("button", { type: "button", onclick: () => this.#more(found.next) }, "Show more");
    const count = q && found.documents.length > 0 && element("span", { class: "facts" }, `${found.total} found`);
    this.#rest.replaceChildren(...[nothing, next, count].filter(Boolean));
    if (q) announce(`${counted(found.total, "document")} found.`);
  }

  /** The next page of the list. Its first document is focused, since the button that was pressed goes. */
  async #more(next) {
    const count = this.#list.childElementCount;
    await this.#load(next);
    this.#list.children[count]?.querySelector("button").focus({ preventScroll: true });
  }

  #row(one) {
    const title = one.title || one.uri;
    const range = { document_id: one.id, title, uri: one.uri, page: null, start: 0, end: 0 };
    const file = fileOf(one.uri, title);
    const open = element("button", { type: "button", class: "title", dir: "auto", "data-key": one.id }, title);
    open.addEventListener("click", () => this.#panel.openRange(range, { from: open }));
    const name = { "aria-label": `Delete “${title}”`, "data-key": `Delete ${one.id}` };
    const remove = element("button", { type: "button", ...name }, "Delete");
    const row = element(
      "li",
      { class: "row" },
      element(
        "div",
        { class: "what" },
        open,
        element(
          "span",
          { class: "facts" },
          file && element("bdi", {}, file),
          file && "\u00a0· ",
          listed([counted(one.passages, "passage"), counted(one.characters, "character")]),
        ),
      ),
      element("div", { class: "acts" }, remove),
    );
    remove.addEventListener("click", () => this.#remove(row, one, title));
    return row;
  }

  /** Gone from the list at once, from the collection when the time to take it back is over. */
  #remove(row, one, title) {
    const before = row.nextElementSibling;
    const beside = before ?? row.previousElementSibling;
    row.remove();
    (beside?.querySelector("button") ?? document.getElementById("documents-title")).focus();
    this.#leaving.add(one.id);
    notice(`Deleted “${title}”.`, {
      undo: async () => {
        this.#leaving.delete(one.id);
        // Where it was, unless the list has been loaded anew: then where it belongs.
        if (before ? before.isConnected : this.#list.isConnected) this.#list.insertBefore(row, before);
        else await this.#load();
        focusKept(this.#list, one.id);
      },
      done: async () => {
        try {
          await api.removeDocument(one.id);
          this.#leaving.delete(one.id);
          if (this.#list.childElementCount) this.#describe();
          else this.show();
        } catch (error) {
          this.#leaving.delete(one.id);
          if (error.status === 404) return;
          notice(`“${title}” was not deleted. ${error.message}`);
          this.show();
        }
      },
    });
  }
}

/** The last part of where a document came from, or its ending alone where the title says the rest. */
function fileOf(uri, title) {
  let name = uri.split(/[/\\]/).at(-1) ?? "";
  try {
    name = decodeURIComponent(name);
  } catch {
    // It stays as it is.
  }
  const ending = name.startsWith(title) ? /^\.(\w{1,8})$/.exec(name.slice(title.length)) : null;
  if (ending) return ending[1].toUpperCase();
  return name === title ? "" : name;
}
