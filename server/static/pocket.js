// Small things that the browser keeps for us by name; where it keeps nothing, for as long as the page lives.

/** `find` gives a Storage, and may throw where the person has forbidden it. */
export function pocket(find) {
  let kept;
  try {
    kept = find();
  } catch {
    kept = null;
  }
  const held = new Map();
  return {
    get: (name) => held.get(name) ?? kept?.getItem(name) ?? null,
    set(name, value) {
      try {
        kept.setItem(name, value);
      } catch {
        held.set(name, value);
      }
    },
    remove(name) {
      held.delete(name);
      kept?.removeItem(name);
    },
  };
}
