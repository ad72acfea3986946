// What stands above and below the text of a source: its name, where in it we are, and the ways on.

import { capitalised, copyText, element } from "./dom.js";
import { notice } from "./notices.js";
import { addressOf, pageOf } from "./turns.js";

/** The head of the panel; `facts` stand under the title, and may hold elements. */
export function headOf(title, facts, close) {
  return [
    element(
      "div",
      { class: "source-title" },
      element("h2", { dir: "auto" }, title),
      facts.length ? element("p", { class: "facts" }, facts.flatMap((one, at) => (at ? ["\u00a0· ", one] : [one]))) : null,
    ),
    element("button", { type: "button", class: "close", "aria-label": "Close the source", onclick: close }, "×"),
  ];
}

/** Which page and which characters of it are marked, as words. */
export function placesOf(range) {
  const { start, end } = range;
  const characters = `characters ${start.toLocaleString("en")} to ${end.toLocaleString("en")}`;
  const words = [pageOf(range), end > start && characters].filter(Boolean);
  return words.map((one, at) => (at ? one : capitalised(one)));
}

/** The foot: which footnote of how many, those beside it, and a link to these words. */
export class SourceFoot {
  #back;
  #on;
  #where = element("span", { class: "where" });
  #steps;
  #link = element("a", { class: "address" }, "Copy link");

  /** `step(by)` is called for the arrows. */
  constructor(foot, step) {
    const arrow = (by, words, sign) =>
      element("button", { type: "button", class: "step", "aria-label": words, onclick: () => step(by) }, sign);
    this.#back = arrow(-1, "Previous footnote", "←");
    this.#on = arrow(1, "Next footnote", "→");
    this.#steps = element("div", { class: "steps" }, this.#back, this.#where, this.#on);
    foot.append(this.#steps, this.#link);
    this.#link.addEventListener("click", (event) => this.#copy(event));
  }

  /** What is opened: `stops[at]`; `isCited` where these are footnotes. */
  show(stops, at, isCited) {
    const many = isCited && stops.length > 1;
    this.#where.textContent = !isCited ? "" : many ? `Footnote ${at + 1} of ${stops.length}` : `Footnote ${stops[at].number}`;
    this.#back.hidden = this.#on.hidden = !many;
    // Not disabled: what is disabled loses the focus.
    this.#back.setAttribute("aria-disabled", String(at === 0));
    this.#on.setAttribute("aria-disabled", String(at === stops.length - 1));
    this.#link.href = addressOf(stops[at]);
  }

  async #copy(event) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const { href } = this.#link;
    const copied = await copyText(href);
    notice(copied ? "The link is copied." : href, { seconds: copied ? 3 : 20 });
  }
}
