// Texts of models and data files, as text. They are hostile: they become text nodes and nothing
// else, and characters that can't be seen but turn a line around are written out. A hidden text is
// not on the page at all; letters without meaning stand in its place, so that its shape is seen.

// Controls, what turns the direction of writing, and letters that nobody sees.
const UNSEEN = /([\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]|[\u{e0000}-\u{e007f}])/u;
const FENCE = /^\s{0,3}(?:```|~~~)/;
// Lines that look like a program: where most do, it is written as one.
const CODE_LINE = /^\s*(?:(?:def|class|import|from|return|for|while|if|elif|else|try|except|with|public|private|static|function|const|let|var|int|void)\b.*|#.*|\/\/.*|[\w.[\]]+\s*[-+]?=[^=].*|[\w.]+\(.*|[)\]}]+[;,]?|@\w+|"""|'''|["'].*["'],?|pass|[{[])\s*$/;
const SURE_CODE = /^\s*(?:def \w+\(|class \w+[(:]|import \w|from [\w.]+ import|#include|[\w.[\]]+\s*[-+]?=[^=]|[\w.]+\(.*\)\s*[;:]?$)/;
const LETTERS = /\p{M}|\p{Lu}|[^\s\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e]/gu;

export function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== "" && child !== null));
  return node;
}

const code = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

// Text nodes, with a mark in the place of each character that isn't seen.
export function written(text) {
  const nodes = document.createDocumentFragment();
  for (const part of text.split(UNSEEN)) {
    if (part === "") continue;
    nodes.append(UNSEEN.test(part)
      ? make("span", { class: "unseen-character", title: "a character that is not seen" }, code(part))
      : document.createTextNode(part));
  }
  return nodes;
}

// The shape of a text without what it says.
export const scrambled = (text) => text.replace(LETTERS, (letter) => (
  /\p{M}/u.test(letter) ? "" : /\p{Lu}/u.test(letter) ? "N" : "n"
));

const plain = (text) => text.replace(/\r\n/g, "\n");

// Stretches of a text: prose, and code between fences.
function blocksOf(text) {
  const blocks = [];
  let from = 0, at = 0, fenced = false;
  const close = (end) => {
    if (end > from) blocks.push({ from, to: end, fenced });
    from = end;
  };
  for (const line of text.split("\n")) {
    const end = Math.min(at + line.length + 1, text.length);
    if (FENCE.test(line)) {
      close(fenced ? end : at);
      fenced = !fenced;
    }
    at = end;
  }
  close(text.length);
  return blocks;
}

function looksLikeCode(text) {
  const lines = text.split("\n").filter((line) => line.trim() !== "").map((line) => line.slice(0, 200));
  return lines.length > 2 && lines.some((line) => SURE_CODE.test(line)) &&
    lines.filter((line) => CODE_LINE.test(line)).length >= 0.6 * lines.length;
}

// parts: [text, whether it repeats the prompt], as the server cuts a response.
export function writeText(node, parts, hidden) {
  const original = parts.map(([part]) => plain(part)).join("");
  const isCode = blocksOf(original).map(({ from, to, fenced }) => fenced || looksLikeCode(original.slice(from, to)));
  const shown = parts.map(([part, repeats]) => [hidden ? scrambled(plain(part)) : plain(part), repeats]);
  const text = shown.map(([part]) => part).join("");
  const blocks = blocksOf(text).map((block, at) => ({
    ...block, node: make("div", isCode[at] ? { class: "code", dir: "ltr" } : { class: "prose", dir: "auto" }),
  }));
  let at = 0, index = 0;
  for (const [part, repeats] of shown) {
    const end = at + part.length;
    while (at < end) {
      while (blocks[index].to <= at) index++;
      const upTo = Math.min(end, blocks[index].to);
      const nodes = written(text.slice(at, upTo));
      blocks[index].node.append(repeats ? make("span", { class: "echo" }, nodes) : nodes);
      at = upTo;
    }
  }
  const whole = document.createDocumentFragment();
  for (const block of blocks) whole.append(block.node);
  node.replaceChildren(whole);
}

export const words = (text) => (text.match(/\S+/g) || []).length;
