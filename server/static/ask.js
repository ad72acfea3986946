// The conversation on the left: questions asked, answers as they come, and the box for the next question.

import * as api from "./api.js";
import { TurnView } from "./answer.js";
import { counted, element, newId } from "./dom.js";
import { announce } from "./notices.js";
import { advance, historyBefore, newTurn } from "./turns.js";
import { greet } from "./welcome.js";

/** A turn of another tab that has said nothing for so long is not being answered any more. */
const SILENT_MS = 120_000;

const INTERRUPTED = { message: "The page was closed before the answer was finished." };

/** Names this tab for as long as it lives, reloads included. */
function tabName() {
  const kept = sessionStorage.getItem("footnote.tab");
  if (kept) return kept;
  const name = newId();
  sessionStorage.setItem("footnote.tab", name);
  return name;
}

export class Ask {
  #store;
  #panel;
  #tab = tabName();
  #id = newId();
  #views = new Map();
  #running = null; // {turn, abort} while a question is being answered here
  #thread = element("div", { class: "thread" });
  #heading = element("h1", { class: "unseen" }, "Conversation");
  #welcome = element("div", { class: "welcome" });
  #field;
  #quote = element("input", { type: "checkbox", id: "quote" });
  #button = element("button", { class: "primary", type: "submit" }, "Ask");
  #fresh = element("button", { type: "button", class: "fresh" }, "New conversation");
  #form;

  constructor(section, store, panel) {
    this.section = section;
    this.#store = store;
    this.#panel = panel;
    this.#field = element("textarea", {
      id: "question", rows: "1", dir: "auto", placeholder: "Ask your documents",
      "aria-describedby": "question-hint", enterkeyhint: "send", autocomplete: "off",
    });
    this.#form = element(
      "form",
      { class: "composer", "aria-label": "Ask a question" },
      element("label", { class: "unseen", for: "question" }, "Your question"),
      element("div", { class: "box" }, this.#field, this.#button),
      element(
        "div",
        { class: "under" },
        element("label", { for: "quote", title: "Answer with the documents’ own sentences; no model writes" }, this.#quote, "Quote only"),
        element("span", { id: "question-hint", class: "hint" }, "Enter asks, Shift and Enter begin a line"),
        this.#fresh,
      ),
    );
    section.append(this.#heading, this.#welcome, this.#thread, this.#form);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#running) this.stop();
      else this.ask(this.#field.value);
    });
    this.#field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      if (!this.#running) this.ask(this.#field.value);
    });
    this.#field.addEventListener("input", () => this.#grow());
    this.#fresh.addEventListener("click", () => this.begin());
    store.addEventListener("change", ({ detail }) => this.#changed(detail));
    panel.addEventListener("opened", ({ detail }) => this.#opened(detail));
    panel.addEventListener("closed", () => this.#opened({ turn: null, number: null }));
  }

  get conversation() {
    return this.#id;
  }

  get isEmpty() {
    return this.#views.size === 0;
  }

  focus() {
    this.#field.focus({ preventScroll: true });
  }

  /** An empty conversation; what is being answered in the one before is stopped. */
  begin() {
    this.stop();
    this.#id = newId();
    this.#views.clear();
    this.#thread.replaceChildren();
    this.#panel.close();
    this.#settle();
    history.replaceState(history.state, "", "/#ask");
    scrollTo(0, 0);
    this.focus();
  }

  /** Shows a kept conversation; whether there is one. */
  async open(id) {
    if (id === this.#id && !this.isEmpty) return true;
    const found = await this.#store.conversation(id);
    if (!found) return false;
    this.stop();
    this.#id = id;
    this.#views.clear();
    this.#thread.replaceChildren();
    for (const turn of found.turns) this.#show(this.#awake(turn));
    this.#settle();
    const last = [...this.#views.values()].at(-1);
    if (last) this.#scrollTo(last);
    return true;
  }

  /** What an earlier page of this tab, or a tab that is gone, was waiting for is not coming any more. */
  #awake(turn) {
    const waits = turn.state === "asking" && turn.id !== this.#running?.turn.id;
    const abandoned = turn.tab === this.#tab || Date.now() - turn.updated > SILENT_MS;
    return waits && abandoned ? { ...turn, state: "failed", error: INTERRUPTED } : turn;
  }

  #show(turn) {
    let view = this.#views.get(turn.id);
    if (view) {
      view.update(turn);
    } else {
      view = new TurnView(turn, {
        open: (of, number, from) => this.#panel.openCitation(of, number, { from }),
        openRange: (of, range, from) => this.#panel.openRange(range, { turn: of, from }),
        sources: (of) => this.#panel.showSources(of, { asked: true }),
        light: (of, number) => this.#panel.light(of, number),
        retry: (of) => this.#again(of),
      });
      this.#views.set(turn.id, view);
      const later = [...this.#views.values()].find((one) => one.turn.created > turn.created);
      this.#thread.insertBefore(view.article, later?.article ?? null);
    }
    return view;
  }

  #turns() {
    return [...this.#views.values()].map((view) => view.turn).sort((one, other) => one.created - other.created);
  }

  #scrollTo(view) {
    view.article.scrollIntoView({ block: "start", behavior: "instant" });
  }

  /** Asks a question of one's own. */
  async ask(text) {
    const question = text.trim();
    if (!question || this.#running) return;
    this.#field.value = "";
    this.#grow();
    await this.#run(
      newTurn({
        id: newId(),
        conversation: this.#id,
        question,
        mode: this.#quote.checked ? "quote" : "compose",
        now: Date.now(),
        tab: this.#tab,
      }),
    );
  }

  /** The same question once more, in its place. */
  #again(turn) {
    if (this.#running) return;
    this.#run({ ...newTurn({ ...turn, now: turn.created, tab: this.#tab }), updated: Date.now() });
  }

  async #run(asked) {
    const abort = new AbortController();
    this.#running = { turn: asked, abort };
    const running = this.#running;
    const view = this.#show(asked);
    this.#settle();
    this.#scrollTo(view);
    this.#panel.showSources(asked);
    history.replaceState(history.state, "", `/#conversation=${this.#id}`);
    announce("Looking through the documents.");
    const keep = async (turn) => {
      running.turn = { ...turn, updated: Date.now() };
      const kept = running.forgotten ? null : this.#store.putTurn(running.turn).catch(() => {});
      // What is shown as finished is on disk: a reload at that very moment does not lose it.
      if (turn.state !== "asking") await kept;
      if (this.#views.get(turn.id) === view) {
        view.update(running.turn);
        this.#panel.update(running.turn);
      }
    };
    keep(asked);
    const body = { question: asked.question, history: historyBefore(this.#turns(), asked), mode: asked.mode };
    try {
      for await (const event of api.ask(body, abort.signal)) {
        await keep(advance(running.turn, event));
        this.#tell(event, running.turn);
      }
    } catch (error) {
      const stopped = error.name === "AbortError";
      await keep({
        ...running.turn,
        state: stopped ? "stopped" : "failed",
        error: stopped ? null : { message: error.message, status: error.status ?? 0, wait: error.wait ?? 0 },
      });
      if (stopped) announce("Stopped.");
    } finally {
      if (this.#running === running) this.#running = null;
      this.#settle();
    }
  }

  #tell(event, turn) {
    if (event.event === "evidence") announce(`${counted(event.evidence.length, "source")} found.`);
    if (event.event === "sentence") announce(event.text);
    if (event.event === "answer") {
      const { status, reason, withheld } = event.answer;
      const kept = withheld.length ? ` ${counted(withheld.length, "sentence was", "sentences were")} withheld.` : "";
      announce(
        status === "answered"
          ? `The answer is complete: ${counted(turn.sentences.length, "sentence")}.${kept}`
          : `Your documents do not answer this. ${reason}.${kept}`,
      );
    }
  }

  stop() {
    this.#running?.abort.abort();
  }

  /** Another tab, or another part of this page, has changed what is kept. */
  async #changed({ kind, conversation, turn, elsewhere }) {
    if (conversation !== this.#id) return;
    if (kind === "removed") {
      if (this.#running) this.#running.forgotten = true;
      if (this.isEmpty) return;
      this.stop();
      this.#id = newId();
      this.#views.clear();
      this.#thread.replaceChildren();
      this.#settle();
      return;
    }
    if (kind !== "turn" || !elsewhere || turn === this.#running?.turn.id) return;
    const found = await this.#store.turn(turn);
    if (!found || found.conversation !== this.#id || turn === this.#running?.turn.id) return;
    this.#show(this.#awake(found));
    this.#panel.update(found);
    this.#settle();
  }

  #opened({ turn, number }) {
    for (const view of this.#views.values()) view.opened(view.turn.id === turn ? number : null);
  }

  #settle() {
    this.#heading.hidden = this.isEmpty;
    this.#welcome.hidden = !this.isEmpty;
    this.#fresh.hidden = this.isEmpty;
    this.section.classList.toggle("empty", this.isEmpty);
    this.#button.textContent = this.#running ? "Stop" : "Ask";
    this.#button.classList.toggle("stop", this.#running !== null);
    this.#field.placeholder = this.isEmpty ? "Ask your documents" : "Ask a follow-up";
  }

  #grow() {
    this.#field.style.height = "auto";
    this.#field.style.height = `${this.#field.scrollHeight + 2}px`;
  }

  async greet() {
    this.#settle();
    await greet(this.#welcome);
  }
}
