// Puts the page together, and shows the part that its address names.

import { Ask } from "./ask.js";
import { Conversations } from "./conversations.js";
import { Documents } from "./documents.js";
import { Evaluations } from "./evaluations.js";
import { notice } from "./notices.js";
import { SourcePanel } from "./source.js";
import { openStore } from "./store.js";

const TITLES = { ask: "Ask", conversations: "Conversations", documents: "Documents", evaluations: "Evaluations" };

const store = await openStore();
const panel = new SourcePanel(document.getElementById("source"));
const ask = new Ask(document.getElementById("ask"), store, panel);
const views = {
  ask,
  conversations: new Conversations(document.getElementById("conversations"), store),
  documents: new Documents(document.getElementById("documents"), panel),
  evaluations: new Evaluations(document.getElementById("evaluations")),
};

let shows = 0; // counts, so that a slow one does not overwrite a later one
let shownAt = location.href;

/** Shows the view that the part of the address after # names; "conversation=ID" is a conversation. */
async function show({ moves }) {
  shows += 1;
  const showing = shows;
  const [name, id = ""] = location.hash.slice(1).split("=");
  const shown = Object.hasOwn(views, name) ? name : "ask";
  const isMissing = name === "conversation" && !(await ask.open(id));
  if (showing !== shows) return;
  if (isMissing) notice("This conversation is not in this browser.");
  // The address says what is shown, so that a reload shows it again.
  if (isMissing || name === "ask") {
    history.replaceState(history.state, "", ask.isEmpty ? "/#ask" : `/#conversation=${ask.conversation}`);
  }
  shownAt = location.href;
  for (const [key, view] of Object.entries(views)) view.section.hidden = key !== shown;
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === shown) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = shown === "ask" ? "Footnote" : `${TITLES[shown]} · Footnote`;
  if (moves) panel.dismiss();
  if (shown !== "ask") {
    views[shown].show();
    if (moves) document.getElementById(`${shown}-title`).focus({ preventScroll: true });
  } else if (moves && !panel.isOpen) {
    ask.focus();
  }
  if (moves && shown !== "ask") scrollTo(0, 0);
}

/** `/documents/ID?start=S&end=E` opens the document with these characters marked. */
function addressed() {
  const found = /^\/documents\/([\w-]+)$/.exec(location.pathname);
  if (!found) return null;
  const query = new URLSearchParams(location.search);
  const number = (name) => Math.max(0, Number.parseInt(query.get(name) ?? "", 10) || 0);
  const start = number("start");
  return { document_id: found[1], title: "", uri: "", page: null, start, end: Math.max(start, number("end")) };
}

for (const link of document.querySelectorAll("[data-view], .wordmark")) {
  link.addEventListener("click", (event) => {
    // The same page serves every view: no need to load it again.
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    const view = link.dataset.view ?? "ask";
    const isBack = view === "ask" && !ask.isEmpty;
    history.pushState({}, "", isBack ? `/#conversation=${ask.conversation}` : `/#${view}`);
    show({ moves: true });
  });
}
document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="/#"]:not([data-view])');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  history.pushState({}, "", link.getAttribute("href"));
  show({ moves: true });
});
addEventListener("popstate", async () => {
  // The same address again: what covered the page has been put away, and nothing else.
  const isElsewhere = location.href !== shownAt;
  if (isElsewhere) panel.dismiss();
  await show({ moves: false });
  const range = addressed();
  if (range && isElsewhere) panel.openRange(range);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented || event.isComposing || !panel.isOpen) return;
  if (!event.target.closest('dialog, .renaming, [type="search"]')) panel.close();
});

ask.greet();
const range = addressed();
await show({ moves: !range });
if (range) panel.openRange(range);
document.documentElement.dataset.ready = "";
