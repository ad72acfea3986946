// A button that waits: where the server said when asking again makes sense.

import { announce } from "./notices.js";

/** Until the moment `until` (milliseconds), `button` does nothing and says how long that is, at most `seconds`. */
export function holdBack(button, until, seconds) {
  const words = button.textContent;
  const hear = (event) => event.stopImmediatePropagation();
  const tick = (isFirst) => {
    // A clock that was set back in the meantime holds nobody for longer than was asked.
    const left = Math.min(until - Date.now(), seconds * 1000);
    if (left > 0 && (isFirst || button.isConnected)) {
      button.textContent = `${words} in ${Math.ceil(left / 1000)} s`;
      setTimeout(tick, left % 1000 || 1000);
      return;
    }
    button.removeEventListener("click", hear, { capture: true });
    button.removeAttribute("aria-disabled");
    button.textContent = words;
    if (button.isConnected && !isFirst) announce("You can try again now.");
  };
  button.addEventListener("click", hear, { capture: true });
  button.setAttribute("aria-disabled", "true");
  tick(true);
}
