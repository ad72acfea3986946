// The conversation on the left: questions asked, answers as they come, and the box for the next question.

import * as api from "./api.js";
import { TurnView } from "./answer.js";
import { Composer } from "./composer.js";
import { counted, element, newId } from "./dom.js";
import { announce, notice } from "./notices.js";
import { pocket } from "./pocket.js";
import { advance, filtersOf, historyBefore, newTurn } from "./turns.js";
import { greet } from "./welcome.js";

/** A turn of another tab that has said nothing for so long is not being answered any more. */
const SILENT_MS = 120_000;

const INTERRUPTED = { message: "The page was closed before the answer was finished." };

/** Names this tab for as long as it lives, reloads included. */
function tabName() {
  const ofTab = pocket(() => sessionStorage);
  const kept = ofTab.get("footnote.tab");
  if (kept) return kept;
  const name = newId();
  ofTab.set("footnote.tab", name);
  return name;
}

export class Ask {
  #store;
  #panel;
  #tab = tabName();
  #id = newId();
  #wanted = null; // the conversation that is to be shown, while it is being looked up
  #views = new Map();
  #running = null; // {turn, abort} while a question is being answered here
  #losesTurns = false; // whether it was said that the browser does not keep what is asked
  #thread = element("div", { class: "thread" });
  #heading = element("h1", { class: "unseen" }, "Conversation");
  #welcome = element("div", { class: "welcome" });
  #composer = new Composer({
    ask: (text) => this.ask(text),
    stop: () => this.stop(),
    begin: () => this.begin(),
  });

  constructor(section, store, panel) {
    this.section = section;
    this.#store = store;
    this.#panel = panel;
    section.append(this.#heading, this.#welcome, this.#thread, this.#composer.element);
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
    this.#composer.focus();
  }

  /** An empty conversation; what is being answered in the one before is stopped. */
  begin() {
    this.#wanted = null;
    this.#become(newId());
    this.#panel.close();
    history.replaceState(history.state, "", "/#ask");
    scrollTo(0, 0);
    this.focus();
  }

  /** Shows a kept conversation; whether there is one. */
  async open(id) {
    this.#wanted = id;
    if (id === this.#id && !this.isEmpty) return true;
    const found = await this.#store.conversation(id);
    if (this.#wanted !== id) return true; // another was asked for in the meantime
    if (!found) return false;
    this.#become(id, found.turns);
    const last = [...this.#views.values()].at(-1);
    if (last) this.#scrollTo(last);
    return true;
  }

  /** Another conversation takes the place of the one that was shown. */
  #become(id, turns = []) {
    this.stop();
    this.#id = id;
    this.#views.clear();
    this.#thread.replaceChildren();
    for (const turn of turns) this.#show(this.#awake(turn));
    this.#settle();
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
        sources: (of, from) => this.#panel.showSources(of, { asked: true, from }),
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
    this.#composer.clear();
    await this.#run(
      newTurn({
        id: newId(),
        conversation: this.#id,
        question,
        mode: this.#composer.mode,
        scope: this.#composer.scope,
        now: Date.now(),
        tab: this.#tab,
      }),
    );
  }

  /** The same question once more, in its place. The button that was pressed goes, so the question is focused. */
  #again(turn) {
    if (this.#running) return;
    this.#views.get(turn.id)?.focus();
    this.#run({ ...newTurn({ ...turn, now: turn.created, tab: this.#tab }), updated: Date.now() });
  }

  async #run(asked) {
    const abort = new AbortController();
    const running = { turn: asked, abort, isForgotten: false };
    this.#running = running;
    const view = this.#show(asked);
    this.#settle();
    this.#scrollTo(view);
    this.#panel.showSources(asked);
    history.replaceState(history.state, "", `/#conversation=${this.#id}`);
    announce("Looking through the documents.");
    const keep = async (turn) => {
      running.turn = { ...turn, updated: Date.now() };
      const kept = running.isForgotten ? null : this.#keep(running.turn);
      // What is shown as finished is on disk: a reload at that very moment does not lose it.
      if (turn.state !== "asking") await kept;
      if (this.#views.get(turn.id) === view) {
        view.update(running.turn);
        this.#panel.update(running.turn);
      }
    };
    keep(asked);
    const body = {
      question: asked.question,
      history: historyBefore(this.#turns(), asked),
      mode: asked.mode,
      filters: filtersOf(asked.scope),
    };
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

  /** Where the browser has no room for it, that is said once; the answer is shown all the same. */
  async #keep(turn) {
    try {
      await this.#store.putTurn(turn);
    } catch {
      const words = "This browser has no room for this conversation: it is gone when the page is closed.";
      if (!this.#losesTurns) notice(words, { seconds: 20 });
      this.#losesTurns = true;
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

  /** Ends what is being answered. The next question may be asked at once. */
  stop() {
    const running = this.#running;
    this.#running = null;
    running?.abort.abort();
    this.#settle();
  }

  /** Another tab, or another part of this page, has changed what is kept. */
  async #changed({ kind, conversation, turn, elsewhere }) {
    if (conversation !== this.#id) return;
    if (kind === "removed") {
      if (this.#running) this.#running.isForgotten = true;
      if (this.isEmpty) return;
      this.#become(newId());
      this.#panel.dismiss();
      if (location.hash === `#conversation=${conversation}`) history.replaceState(history.state, "", "/#ask");
      return;
    }
    if (kind !== "turn" || !elsewhere || turn === this.#running?.turn.id) return;
    const found = await this.#store.turn(turn);
    if (!found || found.conversation !== this.#id || turn === this.#running?.turn.id) return;
    // What has not changed is the same object still, so that it is not made anew on the page.
    const shown = this.#views.get(turn)?.turn.evidence;
    if (JSON.stringify(shown) === JSON.stringify(found.evidence)) found.evidence = shown;
    const now = this.#awake(found);
    this.#show(now);
    this.#panel.update(now);
    this.#settle();
  }

  #opened({ turn, number }) {
    for (const view of this.#views.values()) view.opened(view.turn.id === turn ? number : null);
  }

  #settle() {
    this.#heading.hidden = this.isEmpty;
    this.#welcome.hidden = !this.isEmpty;
    this.section.classList.toggle("empty", this.isEmpty);
    this.#composer.settle({ isRunning: this.#running !== null, isEmpty: this.isEmpty });
  }

  async greet() {
    this.#settle();
    await greet(this.#welcome);
  }
}
