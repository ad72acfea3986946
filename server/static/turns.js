// A turn is one question and what became of it; here it grows with the events of its answer. Pure.

import { slice } from "./offsets.js";

/** Sentences that cite less than this share of their words are shown as loosely supported. */
const LOOSE = 0.9;

/** How many earlier turns go along with a question. */
const REMEMBERED = 6;

/** A question that has just been asked. `tab` names the page that is asking. */
export function newTurn({ id, conversation, question, mode, now, tab, scope = null }) {
  return {
    id,
    conversation,
    question,
    mode,
    scope,
    created: now,
    updated: now,
    tab,
    state: "asking",
    evidence: null,
    sentences: [],
    answer: null,
    error: null,
  };
}

/** What the server is asked to keep a question to; null is everything. A document is named by where it came
    from, so that it is the same one after an edit. */
export function filtersOf(scope) {
  if (!scope) return null;
  return scope.kind === "tag" ? { tags: [scope.value] } : { paths: [scope.value] };
}

/** The last part of a folder's path; others as they are. */
export function shortName({ kind, name }) {
  return kind === "folder" ? name.split("/").filter(Boolean).at(-1) ?? name : name;
}

/** The turn after one event of the stream; what it does not know changes nothing. */
export function advance(turn, event) {
  switch (event.event) {
    case "evidence":
      return { ...turn, evidence: event.evidence };
    case "sentence":
      return { ...turn, sentences: [...turn.sentences, event] };
    case "answer":
      return { ...turn, answer: event.answer, sentences: sentencesOf(event.answer), state: "done" };
    default:
      return turn;
  }
}

/** The sentences of a finished answer in the shape in which they were streamed. */
function sentencesOf(answer) {
  return answer.sentences.map((sentence) => ({
    text: slice(answer.answer, sentence.start, sentence.end),
    sentence,
    citations: answer.citations.filter((one) => one.answer_start === sentence.start),
  }));
}

/**
 * A sentence as `{body, numbers, final}`: "They met in Kazan [1]." is "They met in Kazan", [1] and ".".
 * Text in brackets that is no footnote of this sentence stays text.
 */
export function partsOf({ text, sentence, citations }) {
  const numbers = sentence.citations;
  const first = citations[0];
  if (first) {
    const length = first.answer_end - sentence.start;
    const body = slice(text, 0, length);
    const rest = text.slice(body.length);
    const marker = ` ${numbers.map((number) => `[${number}]`).join("")}`;
    if (rest.startsWith(marker)) return { body, numbers, final: rest.slice(marker.length) };
  }
  return { body: text, numbers, final: "" };
}

/** Each citation once, by its number. */
export function citationsOf(turn) {
  const found = new Map();
  for (const { citations } of turn.sentences) {
    for (const citation of citations) if (!found.has(citation.number)) found.set(citation.number, citation);
  }
  return [...found.values()].sort((one, other) => one.number - other.number);
}

export function isLoose(sentence) {
  return sentence.verdict !== "supported" || sentence.score < LOOSE;
}

/** The answer without its footnote numbers, as the model should see it later. */
export function plainAnswer(turn) {
  if (!turn.sentences.length) return turn.answer?.answer ?? "";
  return turn.sentences
    .map(partsOf)
    .map(({ body, final }) => body + final)
    .join(" ");
}

/** The conversation before a turn, as the server takes it. Only what was answered to the end counts. */
export function historyBefore(turns, turn) {
  const before = turns.filter((one) => one.state === "done" && one.id !== turn.id && one.created <= turn.created);
  return before.slice(-REMEMBERED).flatMap((one) => [
    { role: "user", content: one.question },
    { role: "assistant", content: plainAnswer(one) },
  ]);
}

/** What to call the document of a source. */
export function titleOf(source) {
  return source.title || source.uri || "Untitled";
}

/** "page 3"; empty where the document has no pages. */
export function pageOf(source) {
  return source.page === null || source.page === undefined ? "" : `page ${source.page}`;
}

/** "Title, page 3". */
export function placeOf(source) {
  return [titleOf(source), pageOf(source)].filter(Boolean).join(", ");
}

/** The address that opens a document with these characters marked. */
export function addressOf(source) {
  return `/documents/${encodeURIComponent(source.document_id)}?start=${source.start}&end=${source.end}`;
}
