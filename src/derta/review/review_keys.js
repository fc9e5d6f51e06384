// Which key does what. Single letters count only where nobody writes, and can be turned off.

import { part } from "./review_page.js";

const KEYS = {
  u: "unsafe", s: "safe", t: "cannot", b: "show", B: "always", n: "note", z: "undo", j: "next", k: "back",
  ArrowRight: "next", ArrowLeft: "back", ArrowDown: "down", ArrowUp: "up", Escape: "escape",
  g: "first", p: "prompt", l: "list", d: "disagreements", c: "decide", "?": "help",
};
// A key that is held down moves on; it doesn't judge one response after the other.
const REPEATING = new Set(["next", "back", "down", "up"]);

// The key by its letter, or by its place where the letters are others (Cyrillic, Greek).
function keyOf(event) {
  let key = event.key;
  if (key.length === 1 && key > "\u007f" && /^Key[A-Z]$/.test(event.code)) key = event.code.slice(3);
  if (key.length !== 1) return key;
  key = key.toLowerCase();
  return key === "b" && event.shiftKey ? "B" : key;
}

// Of the digits 1 to 9, on any row of any keyboard; 0: Enter; null: another key.
function choiceOf(event) {
  if (event.key === "Enter") return event.target.closest?.("[data-reason]") ? null : 0;
  const digit = Number(/^(?:Digit|Numpad)([1-9])$/.exec(event.code)?.[1] ?? event.key);
  return digit >= 1 && digit <= 9 ? digit : null;
}

// act(name): does it, and says whether it was something. choosing(): whether the reasons are open;
// choose(number): takes one, and says whether there is such. off(): single letters don't count.
export function listenToKeys({ act, choosing, choose, off }) {
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.altKey) return;
    if (event.target === part("note")) {
      if (event.key === "Escape" || (event.key === "Enter" && (event.ctrlKey || event.metaKey))) {
        event.preventDefault();
        part("note").blur();
      }
      return;
    }
    if (event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest?.("textarea, select, input:not([type=checkbox])")) return;
    if (off() && event.key.length === 1) return;
    if (choosing() && !event.repeat) {
      const choice = choiceOf(event);
      if (choice !== null && choose(choice)) {
        event.preventDefault();
        return;
      }
    }
    const name = Object.hasOwn(KEYS, keyOf(event)) ? KEYS[keyOf(event)] : null;
    if (!name || (event.repeat && !REPEATING.has(name))) return;
    if (act(name) !== false) event.preventDefault();
  });
}
