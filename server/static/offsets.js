// Offsets in every answer count Unicode code points; JavaScript strings count UTF-16 units.
// A character outside the basic plane is one of the former and two of the latter.

/** Translates between both for one text. Building it costs one pass, each question a binary search. */
export class Offsets {
  #astral; // the code point offset of each character that takes two units

  constructor(text) {
    const astral = [];
    let points = 0;
    for (let unit = 0; unit < text.length; unit += 1, points += 1) {
      if (text.codePointAt(unit) > 0xffff) {
        astral.push(points);
        unit += 1;
      }
    }
    this.#astral = astral;
    /** How many code points the text has. */
    this.length = points;
  }

  /** The unit at which the code point at `point` begins. */
  unit(point) {
    return point + this.#before(point);
  }

  #before(point) {
    let low = 0;
    let high = this.#astral.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#astral[middle] < point) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** `text[start:end]` as Python has it: by code points. */
export function slice(text, start, end) {
  const offsets = new Offsets(text);
  return text.slice(offsets.unit(start), end === undefined ? undefined : offsets.unit(end));
}

/** The number of code points. */
export function length(text) {
  return new Offsets(text).length;
}
