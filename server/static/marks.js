// Which characters of a stretch of text stand in which ranges: pure, by code points.

import { Offsets } from "./offsets.js";

/**
 * Cuts `text`, which begins at `start` of its document, wherever a range begins or ends.
 * Each part holds the indices of the ranges that it stands in; the parts joined are the text.
 */
export function segments(text, start, ranges) {
  const offsets = new Offsets(text);
  const end = start + offsets.length;
  const cuts = new Set([start, end]);
  for (const range of ranges) {
    for (const cut of [range.start, range.end]) {
      if (cut > start && cut < end) cuts.add(cut);
    }
  }
  const places = [...cuts].sort((one, other) => one - other);
  const parts = [];
  for (let index = 0; index + 1 < places.length; index += 1) {
    const from = places[index];
    const to = places[index + 1];
    parts.push({
      start: from,
      end: to,
      text: text.slice(offsets.unit(from - start), offsets.unit(to - start)),
      inside: ranges.flatMap((range, place) => (range.start <= from && to <= range.end ? [place] : [])),
    });
  }
  return parts;
}

/**
 * Where to end a stretch that goes on: after its last line break, if one is near enough to its end,
 * else where it ends. In code points from its beginning.
 */
export function lastLineEnd(text, within = 4000) {
  const at = text.lastIndexOf("\n");
  if (at < 0 || text.length - at > within) return new Offsets(text).length;
  return new Offsets(text.slice(0, at + 1)).length;
}

/** Where to begin a stretch that has text before it: after its first line break, if one is near. */
export function firstLineStart(text, within = 4000) {
  const at = text.indexOf("\n");
  if (at < 0 || at > within || at + 1 === text.length) return 0;
  return new Offsets(text.slice(0, at + 1)).length;
}

/** The number of the page that holds the character at `offset`; null without pages. */
export function pageAt(pages, offset) {
  return pages.find((page) => page.start <= offset && offset < page.end)?.number ?? null;
}
