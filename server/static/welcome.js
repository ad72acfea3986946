// What there is to ask: shown where nothing has been asked yet.

import { collection } from "./api.js";
import { counted, element } from "./dom.js";

/** Fills `place` with what this program promises and what its collection holds. */
export async function greet(place) {
  const words = element(
    "p",
    { class: "lead" },
    "Every sentence of an answer carries a footnote to the exact words that support it. What your documents do not support is not said.",
  );
  const state = element("p", { class: "holdings" }, "\u00a0");
  place.replaceChildren(element("h1", {}, "Ask your documents"), words, state);
  try {
    const found = await collection();
    state.replaceChildren(
      ...(found.documents
        ? [
            element("a", { href: "/#documents" }, counted(found.documents, "document")),
            `, ${counted(found.passages, "passage")}. `,
            found.model ? `Answers are written by ${found.model}.` : "Answers are quotations; no model runs.",
          ]
        : ["There is nothing to read yet. ", element("a", { href: "/#documents" }, "Add documents"), "."]),
    );
  } catch (error) {
    state.replaceChildren(error.message);
  }
}
