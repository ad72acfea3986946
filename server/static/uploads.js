// Files on their way into the collection: one after another, each with its progress and its result.

import * as api from "./api.js";
import { counted, element, inBytes } from "./dom.js";
import { holdBack } from "./hold.js";
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
      const one = {
        file,
        row: element("li", { tabindex: "-1" }),
        said: element("span", { class: "said" }),
        bar: element("progress", { max: "1", "aria-label": `Sending ${file.name}` }),
        more: element("span", { class: "more", dir: "auto" }),
      };
      const name = element("span", { class: "name", dir: "auto" }, file.name);
      one.row.append(name, element("span", { class: "facts" }, inBytes(file.size)), one.said);
      this.#list.append(one.row);
      this.#queue(one);
    }
    this.#work();
  }

  #queue(one) {
    one.said.textContent = "Waiting";
    one.bar.setAttribute("value", "0");
    one.more.remove();
    one.row.append(one.bar);
    one.row.dataset.state = "waiting";
    this.#waiting.push(one);
  }

  async #work() {
    if (this.#busy) return;
    this.#busy = true;
    for (let one = this.#waiting.shift(); one; one = this.#waiting.shift()) await this.#send(one);
    this.#busy = false;
    const parts = Object.entries(this.#tally).map(([status, count]) => `${count} ${status}`);
    announce(`${parts.join(", ")}.`);
  }

  async #send(one) {
    const { file, row, said, bar, more } = one;
    said.textContent = "Sending";
    row.dataset.state = "sending";
    let result;
    let failure = null;
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
      failure = error;
      result = { status: "failed", document: null, error: { message: error.message } };
    }
    bar.remove();
    const { status, document: added, error } = result;
    this.#tally[status] = (this.#tally[status] ?? 0) + 1;
    row.dataset.state = status;
    said.textContent = SAID[status] ?? status;
    const words = error?.message ?? (added?.passages ? counted(added.passages, "passage") : "");
    more.replaceChildren(words);
    if (failure && mayPass(failure)) more.append(" ", this.#again(one, failure.wait));
    if (words) row.append(more);
    if (status === "added" || status === "updated") this.#changed();
  }

  #again(one, wait) {
    const button = element("button", { type: "button" }, "Try again");
    if (wait) holdBack(button, Date.now() + wait * 1000, wait);
    button.addEventListener("click", () => {
      one.row.focus();
      this.#queue(one);
      this.#work();
    });
    return button;
  }
}

/** Whether it is not the file's fault, so that the same file may be taken later. */
function mayPass({ status, wait }) {
  return wait > 0 || status === 0 || status >= 500;
}
