// Answers as Markdown with footnotes. What comes from documents and models is escaped, so it stays text.

import { addressOf, citationsOf, isLoose, partsOf, placeOf } from "./turns.js";

const SPECIAL = /[\\`*_{}[\]<>#+\-!|~&$^]/g;

/** Text that Markdown shows as it is, on one line. */
export function escaped(text) {
  return text
    .replace(/\s+/g, " ")
    .replace(SPECIAL, (sign) => `\\${sign}`)
    .replace(/^(\d+)([.)])/, "$1\\$2")
    .replace(/(https?|ftp|mailto|www)([:.])/gi, "$1\\$2");
}

/** One turn; `origin` stands before the links, `label` before each footnote's name ("1-" gives [^1-2]). */
export function turnAsMarkdown(turn, origin, label = "") {
  const lines = [];
  if (turn.sentences.length) {
    const said = turn.sentences.map((one) => {
      const { body, numbers, final } = partsOf(one);
      const notes = numbers.map((number) => `[^${label}${number}]`).join("");
      return `${escaped(body)}${escaped(final)}${notes}${isLoose(one.sentence) ? " (loosely supported)" : ""}`;
    });
    lines.push(said.join(" "), "");
    for (const one of citationsOf(turn)) {
      lines.push(
        `[^${label}${one.number}]: [${escaped(placeOf(one))}](<${origin}${addressOf(one)}>): “${escaped(one.cited_text)}”`,
      );
    }
  } else if (turn.answer) {
    lines.push(escaped(turn.answer.answer));
    if (turn.answer.nearest.length) lines.push("", "Nearest passages:", "");
    for (const one of turn.answer.nearest) {
      lines.push(`- [${escaped(placeOf(one))}](<${origin}${addressOf(one)}>): “${escaped(one.text)}”`);
    }
  } else {
    lines.push("*Not answered.*");
  }
  return `${lines.join("\n").trimEnd()}\n`;
}

/** A whole conversation. */
export function conversationAsMarkdown(conversation, turns, origin) {
  const parts = [`# ${escaped(conversation.title)}\n`];
  turns.forEach((turn, index) => {
    parts.push(`## ${escaped(turn.question)}\n`, turnAsMarkdown(turn, origin, turns.length > 1 ? `${index + 1}-` : ""));
  });
  return parts.join("\n");
}

/** A name that every file system takes. */
export function fileName(title, ending) {
  const name = title.normalize("NFC").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");
  return `${[...name].slice(0, 60).join("") || "conversation"}.${ending}`;
}
