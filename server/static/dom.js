// Elements from data. Strings become text nodes and nothing else: no text is ever read as markup.

/** `element("p", {class: "quiet", onclick: …}, "text", other)`. A property that is null or false is left out. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/**
 * Puts these children in the place of others. Where one of them has the focus, the new one of the same `data-key`
 * has it then.
 */
export function replaceKept(place, ...children) {
  const focused = document.activeElement;
  const key = place.contains(focused) ? focused.dataset.key : null;
  place.replaceChildren(...children);
  if (key) focusKept(place, key);
}

/** Focuses what has this `data-key`; whether there is such a one. */
export function focusKept(place, key) {
  const found = place.querySelector(`[data-key="${CSS.escape(key)}"]`);
  found?.focus();
  return Boolean(found);
}

/** "1 passage", "2 passages", "3,400 passages". */
export function counted(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** With a capital first letter. */
export function capitalised(words) {
  const [first = "", ...rest] = words;
  return first.toUpperCase() + rest.join("");
}

/** Facts in a row; a line never begins with the dot between two. What is empty is left out. */
export function listed(facts) {
  return facts.filter(Boolean).join("\u00a0· ");
}

/** A size for people, in powers of a thousand, as the command line says it. */
export function inBytes(count) {
  const units = ["bytes", "kB", "MB", "GB"];
  let size = count;
  while (size >= 1000 && units.length > 1) {
    size /= 1000;
    units.shift();
  }
  return `${units[0] === "GB" ? size.toFixed(1) : Math.round(size)} ${units[0]}`;
}

/** An id that no other tab makes; `crypto.randomUUID` is not there outside secure contexts. */
export function newId() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Copies where the browser lets us; whether it did. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = element("textarea", { class: "unseen", "aria-hidden": "true", tabindex: "-1" });
    field.value = text;
    const focused = document.activeElement;
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    focused?.focus?.();
    return copied;
  }
}

/** Hands a file to the person. */
export function download(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = element("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
