// Server-sent events from the body of a POST, which EventSource cannot make.

/** Takes the text of a stream as it comes, in any pieces, and gives back each finished event. */
class EventParser {
  #rest = "";
  #event = "";
  #data = [];

  /** The events that `text` finishes, as `{event, data}`; comments and other fields are passed over. */
  push(text) {
    this.#rest += text;
    // A carriage return at the very end may be half of a line break.
    const whole = this.#rest.endsWith("\r") ? this.#rest.slice(0, -1) : this.#rest;
    const lines = whole.split(/\r\n|\r|\n/);
    this.#rest = lines.pop() + this.#rest.slice(whole.length);
    const found = [];
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) found.push({ event: this.#event || "message", data: this.#data.join("\n") });
        this.#event = "";
        this.#data = [];
        continue;
      }
      const colon = line.indexOf(":");
      if (colon === 0) continue;
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "event") this.#event = value;
      else if (field === "data") this.#data.push(value);
    }
    return found;
  }
}

/** The events of a response body. Ends where the body ends; rejects where the connection breaks. */
export async function* eventsOf(body) {
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
