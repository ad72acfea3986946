// Conversations, kept in this browser's IndexedDB. Tabs share them: a turn is a record of its own and is
// written in one transaction with its conversation, so two tabs that write at once lose nothing.

const STORES = ["conversations", "turns"];

function opened(name) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("conversations", { keyPath: "id" });
      request.result.createObjectStore("turns", { keyPath: "id" }).createIndex("conversation", "conversation");
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("blocked"));
  });
}

const answered = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** Use `openStore`. Listeners hear of what this and other tabs change. */
class Store extends EventTarget {
  #database;
  #channel;

  constructor(database, channel) {
    super();
    this.#database = database;
    this.#channel = channel;
    channel.onmessage = ({ data }) => this.#tell(data, true);
  }

  /** `change` events carry `{kind: "turn" | "conversation" | "removed", conversation, turn?, elsewhere}`. */
  #tell(change, elsewhere) {
    this.dispatchEvent(new CustomEvent("change", { detail: { ...change, elsewhere } }));
  }

  #changed(change) {
    this.#channel.postMessage(change);
    this.#tell(change, false);
  }

  /** Runs `work` in one transaction over both stores and resolves to its value once that is on disk. */
  #within(mode, work) {
    return new Promise((resolve, reject) => {
      const transaction = this.#database.transaction(STORES, mode);
      const result = work(transaction.objectStore("conversations"), transaction.objectStore("turns"));
      result.catch(() => {});
      transaction.oncomplete = () => resolve(result);
      transaction.onabort = () => reject(transaction.error ?? new Error("aborted"));
    });
  }

  /** Every conversation, the latest first. */
  async conversations() {
    const found = await this.#within("readonly", (conversations) => answered(conversations.getAll()));
    return found.sort((one, other) => other.updated - one.updated);
  }

  /** `{conversation, turns}` in the order asked; null where there is none. */
  async conversation(id) {
    return this.#within("readonly", async (conversations, turns) => {
      const conversation = await answered(conversations.get(id));
      if (!conversation) return null;
      const found = await answered(turns.index("conversation").getAll(id));
      found.sort((one, other) => one.created - other.created || (one.id < other.id ? -1 : 1));
      return { conversation, turns: found };
    });
  }

  turn(id) {
    return this.#within("readonly", (_, turns) => answered(turns.get(id)));
  }

  /** Keeps a turn as it is now; the first one of a conversation begins it and names it. */
  async putTurn(turn) {
    await this.#within("readwrite", async (conversations, turns) => {
      const kept = await answered(conversations.get(turn.conversation));
      const conversation = kept ?? { id: turn.conversation, title: turn.question, created: turn.created };
      conversations.put({ ...conversation, updated: Math.max(conversation.updated ?? 0, turn.updated) });
      turns.put(turn);
    });
    this.#changed({ kind: "turn", conversation: turn.conversation, turn: turn.id });
  }

  async rename(id, title) {
    await this.#within("readwrite", async (conversations) => {
      const kept = await answered(conversations.get(id));
      if (kept) conversations.put({ ...kept, title });
    });
    this.#changed({ kind: "conversation", conversation: id });
  }

  /** Removes a conversation and gives it back, for `restore`; null where there was none. */
  async remove(id) {
    const removed = await this.#within("readwrite", async (conversations, turns) => {
      const conversation = await answered(conversations.get(id));
      if (!conversation) return null;
      const found = await answered(turns.index("conversation").getAll(id));
      conversations.delete(id);
      for (const turn of found) turns.delete(turn.id);
      return { conversation, turns: found };
    });
    this.#changed({ kind: "removed", conversation: id });
    return removed;
  }

  async restore({ conversation, turns: removed }) {
    await this.#within("readwrite", async (conversations, turns) => {
      conversations.put(conversation);
      for (const turn of removed) turns.put(turn);
    });
    this.#changed({ kind: "conversation", conversation: conversation.id });
  }
}

/** What keeps nothing beyond this page, where the browser keeps nothing for us; the same methods. */
class Fleeting extends EventTarget {
  keepsNothing = true;
  #conversations = new Map();
  #turns = new Map();

  async conversations() {
    return [...this.#conversations.values()].sort((one, other) => other.updated - one.updated);
  }

  async conversation(id) {
    const conversation = this.#conversations.get(id);
    if (!conversation) return null;
    const turns = [...this.#turns.values()].filter((turn) => turn.conversation === id);
    return { conversation, turns: turns.sort((one, other) => one.created - other.created) };
  }

  async turn(id) {
    return this.#turns.get(id);
  }

  async putTurn(turn) {
    const { conversation: id, question, created, updated } = turn;
    const kept = this.#conversations.get(id) ?? { id, title: question, created };
    this.#conversations.set(id, { ...kept, updated });
    this.#turns.set(turn.id, turn);
    this.#changed("turn", id);
  }

  async rename(id, title) {
    const kept = this.#conversations.get(id);
    if (kept) this.#conversations.set(id, { ...kept, title });
    this.#changed("conversation", id);
  }

  async remove(id) {
    const removed = await this.conversation(id);
    this.#conversations.delete(id);
    for (const turn of removed?.turns ?? []) this.#turns.delete(turn.id);
    this.#changed("removed", id);
    return removed;
  }

  async restore({ conversation, turns }) {
    this.#conversations.set(conversation.id, conversation);
    for (const turn of turns) this.#turns.set(turn.id, turn);
    this.#changed("conversation", conversation.id);
  }

  #changed(kind, conversation) {
    this.dispatchEvent(new CustomEvent("change", { detail: { kind, conversation, elsewhere: false } }));
  }
}

/** The conversations of this browser; where it keeps nothing, those of this page. */
export async function openStore(name = "footnote") {
  try {
    return new Store(await opened(name), new BroadcastChannel(name));
  } catch {
    return new Fleeting();
  }
}
