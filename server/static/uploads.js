// Files on their way into the collection: one after another, each with its progress and its result.

import * as api from "./api.js";
import { counted, element, inBytes } from "./dom.js";
import { announce } from "./notices.js";

const SAID = {
  added: "Added",
  unchanged: "Already there",
  updated: "Updated",
  failed: "Not added",
};

export class Uploads {
  #list = element("ul", { class: "uploads", "aria-label": "Files on their way" });
  #waiting = [];
  #busy = false;
  #changed;
  #tally = {};

  /** `changed()` is called after each file that has changed the collection. */
  constructor(changed) {
    this.#changed = changed;
    this.element = this.#list;
    this.#list.hidden = true;
  }

  /** Files from an input or a drop. */
  add(files) {
    if (!files.length) return;
    if (!this.#busy) {
      this.#list.replaceChildren();
      this.#tally = {};
    }
    this.#list.hidden = false;
    for (const file of files) {
      const said = element("span", { class: "said" }, "Waiting");
      const bar = element("progress", { max: "1", value: "0", "aria-label": `Sending ${file.name}` });
      const row = element(
        "li",
        {},
        element("span", { class: "name", dir: "auto" }, file.name),
        element("span", { class: "facts" }, inBytes(file.size)),
        said,
        bar,
      );
      this.#list.append(row);
      this.#waiting.push({ file, row, said, bar });
    }
    this.#work();
  }

  async #work() {
    if (this.#busy) return;
    this.#busy = true;
    for (let one = this.#waiting.shift(); one; one = this.#waiting.shift()) await this.#send(one);
    this.#busy = false;
    const parts = Object.entries(this.#tally).map(([status, count]) => `${count} ${status}`);
    announce(`${parts.join(", ")}.`);
  }

  async #send({ file, row, said, bar }) {
    said.textContent = "Sending";
    row.dataset.state = "sending";
    let result;
    try {
      result = await api.upload(file, (share) => {
        bar.value = share;
        // What has arrived is then read and indexed, which takes its time and says nothing.
        if (share === 1) {
          said.textContent = "Reading";
          bar.removeAttribute("value");
        }
      });
    } catch (error) {
      result = { status: "failed", document: null, error: { message: error.message } };
    }
    bar.remove();
    const { status, document: added, error } = result;
    this.#tally[status] = (this.#tally[status] ?? 0) + 1;
    row.dataset.state = status;
    said.textContent = SAID[status] ?? status;
    const more = error?.message ?? (added?.passages ? counted(added.passages, "passage") : "");
    if (more) row.append(element("span", { class: "more", dir: "auto" }, more));
    if (status === "added" || status === "updated") this.#changed();
  }
}
