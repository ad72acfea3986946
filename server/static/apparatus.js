// What stands under an answer: its footnotes, what was withheld, and the nearest passages of a refusal.

import { capitalised, counted, element } from "./dom.js";
import { citationsOf, isLoose, placeOf } from "./turns.js";

/** The footnotes of a turn, each a button; `open(number, button)` is called for the one that is pressed. */
export function footnotes(turn, open) {
  const items = citationsOf(turn).map((one) => {
    const button = element(
      "button",
      { type: "button", class: "footnote", dir: "auto", "data-number": one.number },
      element("span", { class: "number" }, String(one.number)),
      element("span", { class: "place" }, placeOf(one)),
      element("q", {}, one.cited_text.replace(/\s+/g, " ")),
    );
    button.addEventListener("click", () => open(one.number, button));
    return element("li", {}, button);
  });
  const loose = turn.sentences.filter((one) => isLoose(one.sentence)).length;
  const about =
    loose > 0 &&
    element(
      "p",
      { class: "loosely" },
      element("span", { class: "sample", "aria-hidden": "true" }, "Dotted"),
      `: ${loose === 1 ? "one sentence is" : `${loose} sentences are`} loosely supported. Compare with the source.`,
    );
  return element("section", { "aria-label": "Footnotes" }, element("ol", { class: "footnotes" }, items), about);
}

/** The sentences that failed the check, folded away. */
export function withheldOf(answer) {
  const { withheld } = answer;
  return element(
    "details",
    { class: "withheld" },
    element("summary", {}, `${counted(withheld.length, "sentence was", "sentences were")} withheld`),
    element("p", { class: "quiet" }, "The model wrote this, and the documents do not support it."),
    element(
      "ul",
      {},
      withheld.map((one) =>
        element(
          "li",
          {},
          element("b", { class: "unsupported" }, "Unsupported"),
          element("span", { class: "unsaid", dir: "auto" }, one.text),
          element("span", { class: "why", dir: "auto" }, sentenceOf(one.reason)),
        ),
      ),
    ),
  );
}

/** That the documents do not answer it, why, and what comes nearest. */
export function refusal(answer, open) {
  return [
    element("p", { class: "refusal" }, "Your documents do not answer this."),
    answer.reason && element("p", { class: "reason" }, sentenceOf(answer.reason)),
    ...(answer.nearest.length
      ? [
          element("h3", {}, "What comes nearest"),
          element("ol", { class: "nearest" }, passages(answer.nearest, open)),
        ]
      : []),
  ].filter(Boolean);
}

/** Passages as list items, each a button with its words and where they stand. */
export function passages(found, open) {
  return found.map((one) => {
    const button = element(
      "button",
      { type: "button", class: "nearby" },
      element("span", { class: "passage", dir: "auto" }, one.text),
      element("span", { class: "place", dir: "auto" }, placeOf(one)),
    );
    button.addEventListener("click", () => open(one, button));
    return element("li", {}, button);
  });
}

/** A reason that begins small and has no full stop, as a sentence of its own. */
function sentenceOf(words) {
  const text = capitalised(words);
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}
