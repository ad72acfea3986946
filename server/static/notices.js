// What is said in passing: to screen readers politely, and to everybody in a corner, with a way back.

import { element } from "./dom.js";

const SECONDS = 8;
const SAID = 20;

/** Says `text` to a screen reader when it has finished what it is saying: each a line, so that none is lost. */
export function announce(text) {
  const region = document.getElementById("announcer");
  region.append(element("span", {}, `${text} `));
  if (region.childElementCount > SAID) region.firstElementChild.remove();
}

/**
 * A line in the corner. With `undo` it offers the way back for some seconds, during which nothing is final;
 * hovering or focusing it stops the clock. `done` is called once when the time is over, never after `undo`.
 * Returns a function that ends it at once.
 */
export function notice(text, { undo = null, done = () => {}, seconds = SECONDS } = {}) {
  const button = undo && element("button", { type: "button" }, "Undo");
  const line = element("p", { class: "notice" }, element("span", { dir: "auto" }, text), button);
  let timer = 0;
  let over = false;
  const end = (finish) => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    line.remove();
    finish();
  };
  const start = () => {
    clearTimeout(timer);
    if (line.matches(":hover, :focus-within")) return;
    timer = setTimeout(() => end(done), seconds * 1000);
  };
  button?.addEventListener("click", () => end(undo));
  line.addEventListener("pointerenter", () => clearTimeout(timer));
  line.addEventListener("pointerleave", start);
  line.addEventListener("focusin", () => clearTimeout(timer));
  line.addEventListener("focusout", start);
  document.getElementById("notices").append(line);
  announce(undo ? `${text} Undo is offered.` : text);
  start();
  return () => end(done);
}
