// The responses, side by side, on request. The texts are hostile and may be harmful: they become
// text nodes and nothing else, and a harmful one isn't on the page before it is asked for; bars
// stand in its place. The data is read when the browser has time, or when it is needed.
// The heat maps are in explorer_tokens.js, which stands before this.
(() => {
  const { make, unseen, plain, several, bar } = pageParts;
  const section = document.getElementById("responses");
  const source = document.getElementById("responses-data");
  const list = document.getElementById("responses-list");
  if (!section || !source || !list) return;

  const PAGE = 25; // questions that are added at a time
  const LONG_TEXT = 4000; // characters of a text that are shown at first
  const LONG_QUESTION = 400; // characters of a question in the list
  const BARS = 90; // words that bars are drawn for
  const REFUSED = 1, TRUNCATED = 2;
  const SAID = {
    UNSAFE: ["✗", "gives harmful help"],
    SAFE: ["✓", "no harmful help"],
    UNREADABLE: ["?", "no verdict: can’t be read"],
    ERROR: ["!", "no verdict: it failed"],
  };

  const count = document.getElementById("responses-count");
  const more = document.getElementById("responses-more");
  const reveal = document.getElementById("reveal-all");
  const clear = document.getElementById("filter-clear");
  const choices = [...section.querySelectorAll("[data-filter]")];
  const search = make("input", { type: "search", id: "filter-q", autocomplete: "off", spellcheck: "false" });

  const alphabet = new Intl.Collator("en");

  let data = null; // the content of the script element
  let tokens = null; // draws heat maps of it
  let items = []; // all of them, in the order of the file
  let found = []; // those that match
  let matching = 0; // responses that do
  let drawn = 0; // how many of the items are on the page
  let revealed = false;
  let shownHash = ""; // of the filters as they are
  let numbered = 0; // for ids
  let veils = []; // the texts on the page that can be hidden

  const identify = () => `responses-${++numbered}`;

  // --- the data ---------------------------------------------------------------------------

  function load() {
    if (data) return;
    data = JSON.parse(source.textContent);
    tokens = tokenMaps(data, text);
    items = data.items.map(readItem);
    const again = new Set(items.filter((item) => item.draw).map((item) => item.key));
    for (const item of items) item.drawn = again.has(item.key);
  }

  const text = (number) => {
    const entry = data.texts[number];
    return typeof entry === "string" ? entry : data.texts[entry[0]].slice(0, entry[1]);
  };

  function readItem([scenario, cell, category, question, draw, answers], place) {
    const [name, title, summary] = data.scenarios[scenario];
    const item = {
      place, draw, title, summary,
      scenario: name,
      cell: data.cells[cell][0],
      setting: data.cells[cell][1],
      category: data.categories[category],
      question: text(question),
      key: `${scenario} ${cell} ${question}`,
      answers: answers.map(readAnswer),
    };
    item.harmful = item.category === "harmful";
    item.differs = disagreement(item);
    return item;
  }

  function readAnswer(row) {
    const [model, response, verdict, reason, flags, prefilled, prompt, heat, exposed, from, to, people] = row;
    const answer = {
      model: data.models[model][0], look: data.models[model][1], name: data.models[model][2], response, prefilled, prompt, heat, exposed,
      verdict: data.verdicts[verdict],
      reason: data.reasons[reason],
      people: people === undefined ? "" : data.verdicts[people],
      refused: flags < 0 ? null : Boolean(flags & REFUSED),
      truncated: flags > 0 && Boolean(flags & TRUNCATED),
      mark: from < 0 ? null : [from, to],
    };
    answer.read = answer.refused === null && answer.verdict === "NOT_JUDGED"; // and not written
    answer.stops = answer.read ? tokens.stops(answer) : null;
    return answer;
  }

  // 0: all models do the same; up to 1 for verdicts and up to 0.5 for refusals. Of texts that were
  // only read: by how much the shares of the places differ at which the models would refuse.
  function disagreement(item) {
    const split = (flags) => {
      const yes = flags.filter(Boolean).length;
      return (2 * Math.min(yes, flags.length - yes)) / data.models.length;
    };
    if (item.answers.every((answer) => answer.read)) {
      const shares = item.answers.map((answer) => (answer.stops ? answer.stops.count / answer.stops.of : 0));
      return Math.max(...shares) - Math.min(...shares);
    }
    const judged = item.answers.filter((answer) => answer.verdict === "UNSAFE" || answer.verdict === "SAFE");
    const wrote = item.answers.filter((answer) => answer.refused !== null);
    return split(judged.map((answer) => answer.verdict === "UNSAFE")) +
      split(wrote.map((answer) => answer.refused)) / 2;
  }

  // --- filters ----------------------------------------------------------------------------

  const initial = () => ({
    q: "", ...Object.fromEntries(choices.map((choice) => [choice.dataset.filter, choice.options[0].value])),
  });
  const state = () => ({
    q: search.value.trim(),
    ...Object.fromEntries(choices.map((choice) => [choice.dataset.filter, choice.value])),
  });

  function hashOf(values) {
    const usual = initial();
    const pairs = Object.entries(values).filter(([key, value]) => value !== usual[key]);
    return pairs.length ? `#${new URLSearchParams(pairs)}` : "#responses=all";
  }

  // Only what is among the choices is taken from the address; null: it is no view of ours.
  function stateOf(hash) {
    if (!hash.includes("=")) return null;
    const given = new URLSearchParams(hash.slice(1));
    const values = initial();
    for (const choice of choices) {
      const value = given.get(choice.dataset.filter);
      if ([...choice.options].some((option) => option.value === value)) values[choice.dataset.filter] = value;
    }
    values.q = (given.get("q") || "").slice(0, 200);
    return values;
  }

  function setControls(values) {
    search.value = values.q;
    for (const choice of choices) choice.value = values[choice.dataset.filter];
    offerSettings();
    const cell = choices.find((choice) => choice.dataset.filter === "cell");
    if (cell) cell.value = cell.disabled ? "" : values.cell;
  }

  // A setting belongs to a scenario: there is nothing to choose before one is chosen.
  function offerSettings() {
    const cell = choices.find((choice) => choice.dataset.filter === "cell");
    const scenario = choices.find((choice) => choice.dataset.filter === "scenario");
    if (!cell || !scenario || !data) return;
    const there = new Set(items.filter((item) => item.scenario === scenario.value).map((item) => item.cell));
    for (const option of cell.options) option.hidden = option.disabled = option.value !== "" && !there.has(option.value);
    cell.disabled = there.size < 2;
    if (cell.disabled || cell.selectedOptions[0].disabled) cell.value = "";
  }

  function answersShown(item, filters) {
    return item.answers.filter((answer) => !filters.model || answer.model === filters.model);
  }

  function matches(answer, filters) {
    if (filters.verdict && answer.verdict !== filters.verdict) return false;
    if (filters.refused && answer.refused !== (filters.refused === "yes")) return false;
    if (filters.people && !peopleMatch(answer, filters.people)) return false;
    return true;
  }

  function peopleMatch(answer, wanted) {
    if (wanted === "none") return answer.people === "" && !answer.read;
    if (wanted === "differs") {
      return answer.people !== "" && (answer.verdict === "UNSAFE" || answer.verdict === "SAFE") && answer.people !== answer.verdict;
    }
    return answer.people === wanted;
  }

  function apply() {
    load();
    offerSettings();
    const filters = state();
    const words = filters.q.toLowerCase();
    let responses = 0;
    found = [];
    for (const item of items) {
      if (filters.scenario && item.scenario !== filters.scenario) continue;
      if (filters.cell && item.cell !== filters.cell) continue;
      if (filters.category && item.category !== filters.category) continue;
      let shown = answersShown(item, filters).filter((answer) => matches(answer, filters));
      if (words && !item.question.toLowerCase().includes(words)) {
        // Hidden texts aren't searched: what matches would say what they hold.
        shown = revealed ? shown.filter((answer) => text(answer.response).toLowerCase().includes(words)) : [];
      }
      if (!shown.length) continue;
      responses += shown.length;
      found.push(item);
    }
    const byQuestion = (a, b) => alphabet.compare(a.question, b.question) || a.place - b.place;
    found.sort(filters.sort === "disagreement" ? (a, b) => b.differs - a.differs || a.place - b.place : byQuestion);
    drawn = 0;
    veils = [];
    list.replaceChildren();
    matching = responses;
    addQuestions(filters, true);
    shownHash = hashOf(filters);
  }

  function addQuestions(filters, openFirst) {
    const added = found.slice(drawn, drawn + PAGE).map((item) => questionNode(item, filters));
    list.append(...added.map((each) => each.node));
    drawn += added.length;
    const left = found.length - drawn;
    more.hidden = left <= 0;
    more.textContent = `Show ${plain(Math.min(left, PAGE))} more of ${several(left, "question")}`;
    if (added.length && openFirst) added[0].open();
    const rest = left > 0 ? ` The first ${plain(drawn)} questions are listed.` : "";
    count.textContent = drawn
      ? `Matching: ${several(matching, "response")} to ${several(found.length, "question")}.${rest}`
      : "No response matches these filters.";
    return added;
  }

  // --- one question -----------------------------------------------------------------------

  function verdictNode(answer, item) {
    const [sign, words] = SAID[answer.verdict] || ofHarmless(answer, item);
    const kind = answer.verdict === "NOT_JUDGED" && answer.refused ? "UNSAFE" : answer.verdict;
    const node = make("span", { class: `said said-${kind.toLowerCase().replace("_", "-")}` });
    node.append(make("span", { "aria-hidden": "true" }, `${sign} `), words);
    return node;
  }

  function peopleNode(answer) {
    const [sign, words] = SAID[answer.people];
    const node = make("span", { class: `said said-${answer.people.toLowerCase()}` });
    node.append(make("span", { "aria-hidden": "true" }, `${sign} `), `people: ${words}`);
    return node;
  }

  function ofHarmless(answer, item) {
    if (answer.stops) return ["·", `would refuse at ${plain(answer.stops.count)} of ${several(answer.stops.of, "place")}`];
    if (answer.read) return ["·", "only read"];
    if (item.harmful) return ["·", "not judged"];
    return answer.refused ? ["✗", "refused wrongly"] : ["✓", "answered"];
  }

  function questionNode(item, filters) {
    const identifier = identify();
    const whole = item.question;
    const short = whole.length > LONG_QUESTION ? `${whole.slice(0, breakAt(whole, LONG_QUESTION))}…` : whole;
    const button = make("button", { type: "button", class: "question", "aria-expanded": "false", "aria-controls": identifier },
      make("bdi", {}, short || "(no question)"));
    const where = [item.title, item.setting, item.drawn ? `draw ${item.draw + 1}` : ""].filter(Boolean).join(" · ");
    const answers = answersShown(item, filters);
    const summary = make("ul", { class: "summary" }, ...answers.map((answer) =>
      make("li", {}, nameNode(answer), " ", verdictNode(answer, item), ...(answer.people ? [" · ", peopleNode(answer)] : []))));
    const content = make("div", { class: "opened", id: identifier, hidden: "" });
    const node = make("article", { class: "asked" }, make("h3", {}, button), make("p", { class: "where" }, where), summary, content);
    const open = () => {
      const opens = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", String(opens));
      summary.hidden = opens;
      content.hidden = !opens;
      if (opens) content.append(...opened(item, answers, short !== whole));
      else content.replaceChildren();
    };
    button.addEventListener("click", open);
    return { node, open, button };
  }

  const nameNode = (answer) => make("bdi", { class: `name ${answer.look}` }, answer.name);

  function opened(item, answers, longQuestion) {
    const nodes = [];
    if (item.summary) nodes.push(make("p", { class: "where" }, item.summary));
    if (longQuestion) nodes.push(textPart({ label: "the question", text: item.question, harmful: false }).node);
    const shared = (key) => answers.every((answer) => answer[key] === answers[0][key]);
    const once = { prompt: shared("prompt"), prefilled: shared("prefilled") };
    if (once.prompt) nodes.push(...promptNodes(answers[0], item));
    if (once.prefilled) nodes.push(...mouthNodes(answers[0], item));
    const cards = answers.map((answer) => card(answer, item, once));
    const grid = make("div", { class: `answers of-${Math.min(cards.length, 3)}` }, ...cards.map((each) => each.node));
    if (cards.some((each) => each.heat)) nodes.push(heatSwitch(cards, item));
    nodes.push(grid);
    return nodes;
  }

  function promptNodes(answer, item) {
    if (answer.prompt < 0) return [];
    return [textPart({
      title: "The prompt as sent", label: "the prompt as sent", text: text(answer.prompt),
      number: answer.prompt, harmful: item.harmful, bare: true,
    }).node];
  }

  function mouthNodes(answer, item) {
    if (!answer.prefilled) return [];
    return [textPart({
      title: "Put into its mouth", label: "what was put into its mouth", text: text(answer.prefilled),
      number: answer.prefilled, harmful: item.harmful,
    }).node];
  }

  function heatSwitch(cards, item) {
    const button = make("button", { type: "button", class: "heat-switch", "aria-pressed": "false" }, "Heat map");
    const key = tokens.legend();
    const set = (on) => {
      button.setAttribute("aria-pressed", String(on));
      key.hidden = !on;
      for (const each of cards) each.setHeat(on);
    };
    button.addEventListener("click", () => set(button.getAttribute("aria-pressed") !== "true"));
    // Of a text that all models read there is nothing else to see.
    set(item.answers.every((answer) => answer.read));
    return make("div", { class: "heat-box" }, button, key);
  }

  function card(answer, item, once) {
    const node = make("div", { class: `answer ${answer.look}` });
    node.append(make("h4", {}, nameNode(answer)), make("p", { class: "verdict" }, verdictNode(answer, item),
      answer.reason ? make("span", { class: "reason", dir: "auto" }, `: ${answer.reason}`) : ""));
    if (answer.people) node.append(make("p", { class: "verdict" }, peopleNode(answer)));
    const facts = factsOf(answer, item);
    if (facts.length) node.append(make("p", { class: "facts" }, facts.join(" · ")));
    if (!once.prompt) node.append(...promptNodes(answer, item));
    if (!once.prefilled) node.append(...mouthNodes(answer, item));
    const part = textPart({
      label: answer.read ? `what ${answer.name} read` : `what ${answer.name} wrote`, text: text(answer.response), number: answer.response,
      harmful: item.harmful, mark: answer.mark, answer, empty: answer.verdict === "ERROR" ? "(no response)" : "(an empty response)",
    });
    node.append(part.node);
    return { node, heat: answer.heat >= 0, setHeat: part.setHeat };
  }

  function factsOf(answer, item) {
    const facts = [];
    if (answer.refused !== null && item.harmful) facts.push(answer.refused ? "a refusal" : "not a refusal");
    if (answer.exposed >= 0) {
      facts.push(`${several(answer.exposed, "word")} of substance${answer.mark ? " before it refuses" : ""}`);
    }
    if (answer.truncated) facts.push("cut at the token limit");
    return facts;
  }

  // --- one text ---------------------------------------------------------------------------

  // Hidden, it is bars; shown, it is text or, with `setHeat`, one span a token.
  function textPart({ title, label, text: content, number, harmful, mark, answer, empty, bare }) {
    const body = make("div", { class: "text", dir: "auto", id: identify(), tabindex: "-1" });
    const tools = make("p", { class: "tools" });
    // A text with a title has its buttons beside that, others have them below.
    const node = title
      ? make("div", { class: "sent" }, make("div", { class: "sent-head" }, make("span", {}, title), tools), body)
      : make("div", {}, body, tools);
    const [from, to] = mark || [0, 0];
    const others = content.slice(0, from) + content.slice(to);
    const hides = harmful && (others.trim() !== "" || Boolean(answer && answer.heat >= 0 && answer.prefilled));
    let shown = !hides || revealed, whole = false, heat = false, showButton = null;
    const draw = () => {
      for (const old of tools.querySelectorAll("button:not(.show)")) old.remove();
      body.classList.toggle("hidden-text", !shown);
      if (heat && answer && answer.heat >= 0) return drawHeat();
      if (!content) return body.replaceChildren(make("span", { class: "quiet" }, empty || "(nothing)"));
      const end = whole || content.length <= LONG_TEXT ? content.length : breakAt(content, LONG_TEXT);
      body.replaceChildren(...(bare && !shown ? [] : marked(content.slice(0, end), mark, shown)));
      if (shown && end < content.length) {
        offer(`Show all ${plain(content.length)} characters`, label, () => { whole = true; draw(); });
      }
      const cut = data.left_out[number];
      if (shown && cut) {
        body.append(make("span", { class: "cut" }, ` … ${several(cut, "character")} more, left out of this page`));
      }
    };
    const drawHeat = () => {
      const view = tokens.view(answer, shown, whole);
      body.replaceChildren(...view.nodes);
      if (view.left) offer(`Show all ${plain(view.total)} tokens`, label, () => { whole = true; draw(); });
    };
    const offer = (words, of, act) => {
      const button = make("button", { type: "button" }, words, unseen(` of ${of}`));
      button.addEventListener("click", () => { act(); body.focus({ preventScroll: true }); });
      tools.append(button);
    };
    const setShown = (on) => {
      shown = on || !hides;
      if (showButton) {
        showButton.setAttribute("aria-expanded", String(shown));
        showButton.firstChild.textContent = shown ? "Hide" : "Show";
      }
      draw();
    };
    if (hides) {
      const size = several((others.trim() ? others : content).split(/\s+/).filter(Boolean).length, "word");
      showButton = make("button", { type: "button", class: "show", "aria-expanded": String(shown), "aria-controls": body.id },
        shown ? "Hide" : "Show", unseen(` ${label}`), make("span", { class: "size" }, ` ${size}`));
      showButton.addEventListener("click", () => setShown(!shown));
      tools.append(showButton);
      veils.push({ node, setShown });
    }
    draw();
    return { node, setHeat: (on) => { heat = on; draw(); } };
  }

  // Never between the halves of one character.
  function breakAt(content, end) {
    const code = content.charCodeAt(end - 1);
    return code >= 0xd800 && code <= 0xdbff ? end - 1 : end;
  }

  // The refusal is never hidden: it is what the reader must see.
  function marked(content, mark, shown) {
    const [from, to] = mark ? mark.map((place) => Math.min(place, content.length)) : [content.length, content.length];
    const part = (piece) => (shown ? document.createTextNode(piece) : bars(piece));
    const nodes = [];
    if (from > 0) nodes.push(part(content.slice(0, from)));
    if (to > from) nodes.push(make("mark", {}, content.slice(from, to)));
    if (content.length > to) nodes.push(part(content.slice(to)));
    return nodes;
  }

  function bars(hidden) {
    const holder = make("span", { class: "bars", "aria-hidden": "true" });
    const words = hidden.slice(0, LONG_TEXT).split(/\s+/).filter(Boolean);
    for (const word of words.slice(0, BARS)) holder.append(bar(word.length), " ");
    if (words.length > BARS) holder.append("…");
    return holder;
  }

  // --- events -----------------------------------------------------------------------------

  function changed(replace) {
    apply();
    if (location.hash === shownHash) return;
    if (replace) location.replace(shownHash); else location.hash = shownHash;
  }

  function followAddress() {
    if (location.hash === shownHash) return;
    const values = stateOf(location.hash) || (location.hash === "" ? initial() : null);
    if (!values) return;
    load();
    setControls(values);
    apply();
    const place = section.getBoundingClientRect();
    if (place.bottom < 0 || place.top > window.innerHeight) section.scrollIntoView();
  }

  let typing = 0;
  search.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(() => changed(true), 250); });
  for (const choice of choices) choice.addEventListener("change", () => changed(false));
  clear.addEventListener("click", () => { setControls(initial()); changed(false); });
  more.addEventListener("click", () => {
    const added = addQuestions(state(), false);
    if (added.length) added[0].button.focus();
  });
  reveal.addEventListener("click", () => {
    revealed = reveal.getAttribute("aria-pressed") !== "true";
    reveal.setAttribute("aria-pressed", String(revealed));
    document.getElementById("filter-q-label").textContent = revealed ? "Search questions and responses" : "Search the questions";
    veils = veils.filter((veil) => veil.node.isConnected);
    for (const veil of veils) veil.setShown(revealed);
    if (search.value.trim()) apply();
  });
  window.addEventListener("hashchange", followAddress);

  function begin() {
    load();
    section.querySelector(".search-field").append(search);
    section.querySelector(".filters").hidden = false;
    section.querySelector(".veil").hidden = !items.some((item) => item.harmful);
    const notes = document.getElementById("responses-left-out");
    if (data.notes.length) notes.append(" ", data.notes.join(" "));
    notes.hidden = !data.notes.length;
    if (!data.read) {
      count.before(make("p", { class: "quiet" }, "There are no heat maps: no token probabilities are stored for this run. ",
        make("code", {}, "derta analyse"), " makes them."));
    }
    const values = stateOf(location.hash);
    if (values) setControls(values);
    apply();
    if (values) section.scrollIntoView({ behavior: "instant" });
    section.dataset.ready = "true";
  }
  if (window.requestIdleCallback) requestIdleCallback(begin, { timeout: 1000 });
  else setTimeout(begin, 50);
})();
