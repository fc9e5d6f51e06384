"use strict";
// What all scripts of the section make elements with, and the heat maps: each token of a text with
// how likely the model was to refuse in its place. A hidden text gives bars and no words.
const pageParts = (() => {
  // Strings become text nodes and attributes, never markup.
  function make(name, attributes, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children.filter((child) => child !== ""));
    return node;
  }
  const unseen = (words) => make("span", { class: "unseen" }, words);
  const plain = (number) => number.toLocaleString("en").replace(/,/g, "\u202f");
  const several = (number, one) => `${plain(number)} ${one}${number === 1 ? "" : "s"}`;
  // In the place of a word; the policy of the page allows styles that are set like this.
  function bar(characters) {
    const node = make("span", { class: "bar" });
    node.style.inlineSize = `${Math.max(1, Math.min(characters, 24)) * 0.55}em`;
    return node;
  }
  return { make, unseen, plain, several, bar };
})();

// data: the content of the script element; text: gives the text of a number.
function tokenMaps(data, text) {
  const { make, unseen, plain, several, bar } = pageParts;
  const MANY_TOKENS = 1200; // so many are shown at first
  const LEVELS = [0.01, 0.1, 0.5, 0.9]; // where the colours change

  const places = new Map([...data.alphabet].map((character, place) => [character, place]));
  const base = data.alphabet.length;
  const unpack = (packed, width, index) => {
    let value = 0;
    for (let at = index * width; at < (index + 1) * width; at++) value = value * base + places.get(packed[at]);
    return value;
  };
  const probability = (packed, index) => {
    const limit = data.log_odds_limit;
    const odds = (unpack(packed, 2, index) / (base ** 2 - 1)) * 2 * limit - limit;
    return 1 / (1 + Math.exp(-odds));
  };
  const rank = (packed, index) => unpack(packed, 2, index) + 1;

  function percent(value) {
    if (value < 0.0001) return "under 0.01\u00a0%";
    if (value > 0.9995) return value > 0.99999 ? "100\u00a0%" : "over 99.9\u00a0%";
    return `${(value * 100).toFixed(value < 0.001 ? 3 : value < 0.01 ? 2 : 1)}\u00a0%`;
  }
  const placed = (value) => (value >= base ** 2 ? `${plain(value)} or beyond` : plain(value));

  // What the model thinks at each of its contexts, from the first that is kept.
  function contexts(answer) {
    const [pieces, first, start, mouth, total, refusal, refusalRank, top, tokenRank, tokenProbability, choice] = data.heat[answer.heat];
    const lengths = data.pieces[pieces];
    const content = text(answer.prefilled) + text(answer.response);
    const read = [];
    let at = start, others = 0;
    for (let index = 0; index <= total - first; index++) {
      const ends = index === total - first;
      let piece = "";
      if (!ends && typeof lengths === "string") {
        const length = places.get(lengths[index]);
        piece = content.slice(at, at + length);
        at += length;
      } else if (!ends) piece = lengths[index];
      const own = ends ? null : rank(tokenRank, index);
      const likeliest = probability(top, index);
      const other = ends || own > 1;
      read.push({
        piece, ends, own,
        number: first + index + 1,
        mouth: first + index < mouth,
        refusal: probability(refusal, index),
        refusalRank: rank(refusalRank, index),
        likeliest,
        likely: ends ? null : other ? probability(tokenProbability, others) : likeliest,
        choice: other ? data.choices[unpack(choice, 3, others)] : piece,
      });
      if (other) others++;
    }
    return { read, total, first };
  }

  const levelOf = (value) => LEVELS.filter((bound) => value >= bound).length;
  // In an element of its own, so that its direction is its own, too.
  const quoted = (piece) => [
    "“", make("bdi", {}, piece.replace(/\n/g, "↵").replace(/\t/g, "⇥") || "(no text)"), "”",
  ];

  // What a context's details line says, as strings and nodes.
  function sentence(each, total, shown) {
    const refuses = `refusal here: ${percent(each.refusal)}` +
      (each.refusalRank === 1 ? ", its first choice" : `, rank ${placed(each.refusalRank)}`);
    const choice = [...(shown ? quoted(each.choice) : ["hidden,"]), ` ${percent(each.likeliest)}.`];
    if (each.ends) return [`After the text: ${refuses}. Its first choice: `, ...choice];
    const what = shown ? [" ", ...quoted(each.piece)] : [];
    const rank = each.own === 1 ? "its first choice" : `rank ${placed(each.own)}`;
    return [
      `Token ${plain(each.number)} of ${plain(total)}`, ...what,
      each.mouth ? ", put into its mouth: " : ": ",
      `${refuses}; this token: ${percent(each.likely)}, ${rank}.`,
      ...(each.own === 1 ? [] : [" First choice: ", ...choice]),
    ];
  }

  function tokenNode(each, shown) {
    const classes = ["token", `heat-${levelOf(each.refusal)}`];
    if (each.refusalRank === 1) classes.push("first");
    if (each.mouth) classes.push("mouth");
    if (each.ends) classes.push("end");
    const node = make("span", { class: classes.join(" "), role: "option", tabindex: "-1", "aria-selected": "false" });
    if (each.ends) node.append(make("span", { "aria-hidden": "true" }, "∎"), unseen("after the text"));
    else if (shown) node.append(each.piece.replace(/\n/g, "↵\n") || "▯");
    else {
      const word = each.piece.trim();
      node.append(word && /^\s/.test(each.piece) ? " " : "", bar(word.length), unseen(`token ${each.number}, hidden`));
    }
    return node;
  }

  function view(answer, shown, whole) {
    const { read, total, first } = contexts(answer);
    const end = whole ? read.length : Math.min(read.length, MANY_TOKENS);
    const node = make("div", { class: "tokens", role: "listbox", "aria-label": `Tokens of ${answer.name}, arrow keys go through them`, "aria-orientation": "horizontal" });
    const line = make("p", { class: "token-line", "aria-live": "polite", dir: "ltr" },
      "Point at a token, or go through them with the arrow keys.");
    const before = first ? [make("p", { class: "quiet" }, `(${several(first, "token")} before)`)] : [];
    const spans = read.slice(0, end).map((each) => tokenNode(each, shown));
    node.append(...spans);
    let current = 0;
    if (spans.length) spans[0].tabIndex = 0;
    const indices = new Map(spans.map((span, index) => [span, index]));
    const at = (event) => indices.get(event.target.closest(".token"));
    const tell = (index) => {
      line.replaceChildren(...sentence(read[index], total, shown));
      line.classList.add("told");
    };
    // It stays in sight only as long as it is read.
    const leave = () => line.classList.toggle("told", node.contains(document.activeElement));
    const go = (index) => {
      spans[current].tabIndex = -1;
      spans[current].setAttribute("aria-selected", "false");
      current = index;
      spans[current].tabIndex = 0;
      spans[current].setAttribute("aria-selected", "true");
      tell(current);
    };
    node.addEventListener("mouseover", (event) => { const index = at(event); if (index !== undefined) tell(index); });
    node.addEventListener("focusin", (event) => { const index = at(event); if (index !== undefined) go(index); });
    node.addEventListener("mouseleave", leave);
    node.addEventListener("focusout", () => setTimeout(leave));
    node.addEventListener("keydown", (event) => {
      const next = keyTarget(event.key, current, spans);
      if (next === null || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      spans[next].focus();
    });
    return { nodes: [...before, node, line], left: end < read.length, total };
  }

  function keyTarget(key, current, spans) {
    const last = spans.length - 1;
    if (key === "ArrowRight") return Math.min(current + 1, last);
    if (key === "ArrowLeft") return Math.max(current - 1, 0);
    if (key === "Home") return 0;
    if (key === "End") return last;
    if (key === "ArrowDown" || key === "ArrowUp") return otherLine(current, spans, key === "ArrowDown" ? 1 : -1);
    return null;
  }

  // The token of the next line, or the one before, that is nearest to the current one.
  function otherLine(current, spans, step) {
    // A blank at a line's end belongs to a token whose word is on the next: its last box counts.
    const box = (span) => [...span.getClientRects()].pop() || span.getBoundingClientRect();
    const from = box(spans[current]);
    let line = null, best = current, distance = Infinity;
    for (let index = current + step; index >= 0 && index < spans.length; index += step) {
      const { bottom, left } = box(spans[index]);
      if (line === null && Math.abs(bottom - from.bottom) < 8) continue;
      if (line === null) line = bottom;
      if (Math.abs(bottom - line) >= 8) break;
      const away = Math.abs(left - from.left);
      if (away < distance) [best, distance] = [index, away];
    }
    return best;
  }

  function legend() {
    const words = ["under 1\u00a0%", "1 to 10\u00a0%", "10 to 50\u00a0%", "50 to 90\u00a0%", "90\u00a0% or more"];
    const node = make("p", { class: "legend" }, "How likely the model is to refuse here, instead of this token: ");
    words.forEach((range, level) => node.append(make("span", { class: `token heat-${level}` }, range), " "));
    node.append(make("span", { class: "token first" }, "line above"), " a refusal is its first choice ",
      make("span", { class: "token mouth" }, "slanted"), " put into its mouth (hollow while it is hidden)");
    return node;
  }

  // At how many of its places the model would refuse, had it the choice; null: it isn't known.
  function stops(answer) {
    if (answer.heat < 0) return null;
    const ranks = data.heat[answer.heat][6];
    const of = ranks.length / 2;
    let count = 0;
    for (let index = 0; index < of; index++) if (rank(ranks, index) === 1) count++;
    return { count, of };
  }

  return { view, legend, stops };
}
