// The server as the page speaks to it. Every failure is a `Failure` with words for a person.

import { element } from "./dom.js";
import { eventsOf } from "./events.js";
import { pocket } from "./pocket.js";

const KEY = "footnote.key";
const OF_BROWSER = pocket(() => localStorage);

/** What went wrong, in words for a person; `status` is 0 where the server could not be reached. */
export class Failure extends Error {
  constructor(message, { status = 0, code = "", wait = 0 } = {}) {
    super(message);
    this.name = "Failure";
    this.status = status;
    this.code = code;
    /** Seconds until asking again makes sense, 0 where the server did not say. */
    this.wait = wait;
  }
}

const UNREACHABLE = "The server cannot be reached. It may have stopped, or be starting again.";
const BROKEN_OFF = "The connection broke off before the answer was finished.";

/** The envelope's words, or plain ones for a body that is none. */
function failureOf(status, text, header) {
  const wait = Number.parseInt(header("Retry-After") ?? "", 10) || 0;
  try {
    const { message, code } = JSON.parse(text).error;
    if (typeof message === "string") return new Failure(message, { status, code: code ?? "", wait });
  } catch {
    // Not ours: something between us and the server has answered.
  }
  return new Failure(`The server answered with status ${status} and said no more.`, { status, wait });
}

const keptKey = () => OF_BROWSER.get(KEY);

function withKey(key, headers = {}) {
  return key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
}

/** Asks for the key once, whoever waits for it, and says so where `sent` was refused. Resolves to whether one was
    given; at once where another than `sent` has been given in the meantime. */
let asking = null;
function askForKey(sent) {
  if (!asking && hasKey() && keptKey() !== sent) return true;
  asking ??= new Promise((resolve) => {
    const field = element("input", {
      type: "password", name: "key", id: "key", autocomplete: "current-password", required: true,
    });
    const dialog = element(
      "dialog",
      { class: "key", "aria-labelledby": "key-title" },
      element(
        "form",
        { method: "dialog" },
        element("h2", { id: "key-title" }, "This server asks for a key"),
        sent && element("p", { role: "alert" }, "That key was not accepted."),
        element("p", {}, "It is kept in this browser and sent to this server only."),
        element("label", { for: "key" }, "API key"),
        field,
        element(
          "p",
          { class: "buttons" },
          element("button", { class: "primary", value: "use" }, "Use this key"),
          element("button", { value: "", formnovalidate: true }, "Cancel"),
        ),
      ),
    );
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "use" && field.value.trim() !== "";
      if (given) OF_BROWSER.set(KEY, field.value.trim());
      dialog.remove();
      asking = null;
      resolve(given);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
  return asking;
}

export function hasKey() {
  return keptKey() !== null;
}

export function forgetKey() {
  OF_BROWSER.remove(KEY);
}

/** A response that went well. Rejects with Failure, or with the AbortError of `signal`. */
async function request(path, options = {}) {
  for (;;) {
    const key = keptKey();
    let response;
    try {
      response = await fetch(path, { ...options, headers: withKey(key, options.headers), cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Failure(UNREACHABLE);
    }
    if (response.ok) return response;
    const text = await response.text().catch(() => "");
    if (response.status === 401 && (await askForKey(key))) continue;
    throw failureOf(response.status, text, (name) => response.headers.get(name));
  }
}

async function json(path, options) {
  const response = await request(path, options);
  return response.json().catch(() => {
    throw new Failure("The server's answer cannot be read.", { status: response.status });
  });
}

/** The events of one question. Rejects with Failure, also where the stream ends without an answer. */
export async function* ask(body, signal) {
  const response = await request("/api/ask", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify(body),
    signal,
  });
  let finished = false;
  try {
    for await (const { event, data } of eventsOf(response.body)) {
      if (event === "error") throw failureOf(response.status, data, () => null);
      const found = JSON.parse(data);
      finished ||= event === "answer";
      yield { ...found, event };
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Failure) throw error;
    throw new Failure(BROKEN_OFF);
  }
  if (!finished) throw new Failure(BROKEN_OFF);
}

export const collection = () => json("/api/collection");

export function documents({ q = "", after = "", limit = 50 } = {}, signal) {
  const query = new URLSearchParams({ limit });
  if (q) query.set("q", q);
  if (after) query.set("after", after);
  return json(`/api/documents?${query}`, { signal });
}

/** Folders and tags that a question can be kept to, `{folders, tags}` of `{name, documents}`. */
export const scopes = (q, signal) => json(`/api/scopes?${new URLSearchParams({ q })}`, { signal });

/** A stretch of a document's text, by code points. */
export function text(id, start, end, signal) {
  const query = new URLSearchParams({ start, end });
  return json(`/api/documents/${encodeURIComponent(id)}/text?${query}`, { signal });
}

/** `keepalive` lets it outlive the page. */
export async function removeDocument(id, { keepalive = false } = {}) {
  await request(`/api/documents/${encodeURIComponent(id)}`, { method: "DELETE", keepalive });
}

export async function paste(title, pasted) {
  const { results } = await json("/api/documents", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ title, text: pasted }),
  });
  return results[0];
}

export const evaluations = () => json("/api/evaluations");

/** Sends one file; `progress` is called with the share that has left. Resolves to its result. */
export async function upload(file, progress) {
  for (;;) {
    const key = keptKey();
    const { status, body, header } = await send(file, key, progress);
    if (status === 401 && (await askForKey(key))) continue;
    try {
      const { results } = JSON.parse(body);
      if (results?.length) return results[0];
    } catch {
      // Said below.
    }
    throw failureOf(status, body, header);
  }
}

function send(file, key, progress) {
  // fetch does not tell how much has left.
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open("POST", "/api/documents");
    for (const [name, value] of Object.entries(withKey(key))) sending.setRequestHeader(name, value);
    sending.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    sending.onload = () =>
      resolve({
        status: sending.status,
        body: sending.responseText,
        header: (name) => sending.getResponseHeader(name),
      });
    sending.onerror = () => reject(new Failure(UNREACHABLE));
    const form = new FormData();
    form.append("files", file, file.name);
    sending.send(form);
  });
}
