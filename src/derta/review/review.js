// Judging: what a key or a button does. Drawing is in review_page.js; keeping what was said until
// the server has it, in review_outbox.js.

import { createItems } from "./review_items.js";
import { listenToKeys } from "./review_keys.js";
import { createList } from "./review_list.js";
import { CONFLICT, createOutbox } from "./review_outbox.js";
import {
  CANNOT_TELL, SAFE, UNSAFE, drawAlarm, drawChoice, drawFinished, drawHead, drawItem, drawPeople,
  part, phrase, prepare, say, show, tell, trouble,
} from "./review_page.js";
import { Refusal, ask, belongTo, patiently, remembered } from "./review_server.js";

const TOGETHER = "(together)";
const AHEAD = 8; // responses that are fetched before they are needed

let info = null; // of the review, from the server
let outbox = null;
let session = null; // of the reviewer, or of all together
let own = null; // the reviewer's, while disagreements are settled
let view = "start";
let shown = false; // whether this one's text is seen
let always = remembered.get("always") === "yes"; // whether every one's is
let choosing = false; // whether the reasons are open
let noting = false;
const items = createItems({ near: () => new Set(session ? [here(), ...upcoming()] : []) });

// --- who judges ---------------------------------------------------------------------------

async function begin() {
  info = await patiently("/api/state");
  belongTo(info.review);
  prepare(info);
  outbox = createOutbox({ review: info.review, ask, changed: drawState, refused: takeRefusal });
  outbox.send();
  const name = remembered.get(`reviewer ${info.review}`);
  if (name && info.reviewers.some((each) => each.name === name)) await choose(name);
  else openStart();
}

function openStart() {
  session = own = null;
  turnTo("start");
  remembered.set(`reviewer ${info.review}`, "");
  drawPeople(info.reviewers, choose);
  drawAlarm("", "", []);
  trouble("");
  document.title = "Judge responses";
  part("name").value = "";
  part("name").focus({ preventScroll: true });
  scrollTo(0, 0);
}

async function backToStart() {
  keepNote();
  openStart();
  const state = await patiently("/api/state", () => view === "start");
  if (!state || view !== "start") return;
  info = state;
  drawPeople(info.reviewers, choose);
}

let choices = 0; // a name that is chosen while another one waits for the server takes its place

async function choose(name) {
  const mine = ++choices;
  const wanted = () => mine === choices;
  part("name-problem").textContent = "";
  try {
    const known = await patiently("/api/reviewers", wanted, { name });
    if (!known || !wanted()) return;
    const reviewer = known.name;
    // What wasn't sent when the server was asked counts on top of its answer.
    const left = outbox.entries(reviewer);
    const queue = await patiently(`/api/queue?reviewer=${encodeURIComponent(reviewer)}`, wanted);
    if (!queue || !wanted()) return;
    remembered.set(`reviewer ${info.review}`, reviewer);
    say("");
    turnInto(makeSession("own", reviewer, queue.order, queue.judged, left));
    go(firstOpen());
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (!wanted()) return;
    if (view !== "start" || part("start").hidden) openStart();
    part("name-problem").textContent = error.message;
  }
}

function makeSession(kind, reviewer, order, judged, left) {
  const made = {
    kind, reviewer, order, at: 0, undone: [], others: null,
    places: new Map(order.map((id, place) => [id, place])),
    judged: new Map(Object.entries(judged)),
  };
  const undecided = new Set(outbox.undecided(reviewer).map((each) => each.entry.body.id));
  for (const { body } of left) {
    if (!undecided.has(body.id) && made.places.has(body.item)) putVerdict(made, body);
  }
  return made;
}

function putVerdict(target, body) {
  if (body.verdict) target.judged.set(body.item, { id: body.id, verdict: body.verdict, reason: body.reason, note: body.note });
  else target.judged.delete(body.item);
}

function turnInto(other) {
  keepNote();
  session = other;
  part("main").dataset.item = ""; // the note that stands there is the earlier session's
}

// --- where we are -------------------------------------------------------------------------

const here = () => session.order[session.at];
const current = () => items.get(here());
// Of an empty response without a prompt there is nothing to hide.
const bare = (item) => Boolean(item) && !item.prompt && !item.prefilled && !item.response.some(([text]) => text.trim());
const seen = () => shown || always || bare(current());
const together = () => session.kind !== "own";
const named = (id) => `${together() ? "Disagreement" : "Response"} ${session.places.get(id) + 1}`;

function firstOpen() {
  const found = session.order.findIndex((id) => !session.judged.has(id));
  return found < 0 ? session.order.length : found;
}

// The next that isn't judged, from the top again at the end.
function nextOpen(from) {
  for (let at = from + 1; at < session.order.length; at++) if (!session.judged.has(session.order[at])) return at;
  return firstOpen();
}

function turnTo(name) {
  view = name;
  show(name);
}

function go(to) {
  keepNote();
  session.at = Math.max(0, Math.min(to, session.order.length));
  shown = choosing = noting = false;
  watched = 0;
  since = performance.now();
  scrollTo(0, 0);
  draw();
}

function draw() {
  drawState();
  if (session.at >= session.order.length) {
    turnTo("finished");
    drawEnd();
    return tell(`${part("said").textContent} ${part("finished-title").textContent}`);
  }
  turnTo("reading");
  const id = here(), item = current();
  if (item) trouble("");
  else load(id);
  drawItem(item ?? null, {
    place: session.at, total: session.order.length, said: session.judged.get(id), choosing, noting,
    shown: seen(), note: noteOf(id), found: session.others?.get(id) ?? null, together: together(),
  });
  for (const each of upcoming()) items.fetchAhead(each);
  return null;
}

function drawEnd() {
  drawFinished({
    total: session.order.length, left: session.order.length - session.judged.size,
    judged: session.judged, together: together(), waiting: outbox.entries().length,
  });
}

// Head and alarm: they change whenever something was sent.
function drawState() {
  if (!session) return;
  drawHead({
    judged: session.judged.size, total: session.order.length, together: together(),
    reviewer: (own ?? session).reviewer, waiting: outbox.entries().length,
    problem: outbox.trouble, lasting: outbox.lasting(),
  });
  drawUndecided();
  if (view === "finished") drawEnd();
}

async function load(id) {
  const wanted = () => view === "reading" && session !== null && here() === id;
  try {
    await items.fetch(id, wanted);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (wanted()) trouble(`${error.message} (J goes on to the next.)`);
    return;
  }
  if (wanted() && items.has(id)) draw();
}

function upcoming() {
  const found = new Set([session.order[session.at + 1], session.order[session.at - 1]]);
  let at = session.at;
  for (let number = 0; number < AHEAD; number++) {
    do at++; while (at < session.order.length && session.judged.has(session.order[at]));
    if (at < session.order.length) found.add(session.order[at]);
  }
  found.delete(undefined);
  return found;
}

// How long this one has been looked at, in milliseconds; not while the window is hidden.
let watched = 0, since = 0;
document.addEventListener("visibilitychange", () => {
  if (document.hidden) watched += performance.now() - since;
  since = performance.now();
});

// --- what is said -------------------------------------------------------------------------

const alike = (one, other) => Boolean(one) === Boolean(other) &&
  (!one || ["verdict", "reason", "note"].every((key) => (one[key] || "") === (other[key] || "")));

// Puts it into the outbox, and goes on as if the server had it. said: null takes a verdict back.
function submit(id, said, seconds = null) {
  const replaces = session.judged.get(id)?.id ?? null;
  const body = { id: crypto.randomUUID(), item: id, replaces };
  let path = "/api/undo";
  if (said) {
    path = together() ? "/api/resolutions" : "/api/verdicts";
    Object.assign(body, { verdict: said.verdict, reason: said.reason, note: said.note, seconds });
  }
  if (!said || !together()) body.reviewer = session.reviewer;
  putVerdict(session, body);
  outbox.add({ path, body, reviewer: session.reviewer });
}

function judge(verdict, reason = "") {
  const item = current();
  choosing = false;
  if (!item) return say("The response is still on its way.");
  if (!seen()) {
    draw();
    return say("The text is hidden: press B to read it first.");
  }
  const before = session.judged.get(item.id) ?? null;
  // What was asked about an earlier verdict is answered by this one.
  for (const { key } of undecidedOn(item.id)) outbox.decided(key);
  const said = { verdict, reason, note: tidy(noteOf(item.id)) };
  if (alike(before, said)) say(`${named(item.id)}: ${phrase(said)}, as before.`);
  else {
    submit(item.id, said, Math.round((watched + performance.now() - since) / 100) / 10);
    session.undone.push({ id: item.id, before });
    say(`${named(item.id)}: ${phrase(said)}.`);
  }
  outbox.store.remove(noteKey(item.id));
  return go(before ? session.at + 1 : nextOpen(session.at));
}

function undo() {
  keepNote();
  const popped = session.undone.pop();
  let last = popped;
  if (!last && here() !== undefined && session.judged.has(here())) last = { id: here(), before: null };
  if (!last) return say("Nothing to undo: go to a response (K) and press Z to take its verdict back.");
  if (undecidedOn(last.id).length) {
    if (popped) session.undone.push(popped);
    return say("First choose above what counts: press C.");
  }
  const now = session.judged.get(last.id) ?? null;
  if (alike(now, last.before)) return say("That is undone already.");
  submit(last.id, last.before);
  if (now?.note && !last.before) outbox.store.set(noteKey(last.id), now.note);
  part("main").dataset.item = "";
  go(session.places.get(last.id));
  shown = items.has(last.id); // it was read a moment ago
  draw();
  return say(`${named(last.id)}: ${last.before ? `${phrase(last.before)}, as before` : "taken back"}.`);
}

// --- notes: drafts are kept in the browser, and go with the verdict -----------------------

const noteKey = (id) => `note:${session.reviewer}:${id}`;
const noteOf = (id) => outbox.store.get(noteKey(id)) ?? session.judged.get(id)?.note ?? "";
const tidy = (note) => (note.toWellFormed ? note.toWellFormed() : note).trimEnd();

// Keeps what stands in the field, with the verdict if there is one.
function keepNote() {
  const item = session && view === "reading" ? current() : null;
  if (!item || part("note-box").hidden || part("main").dataset.item !== item.id) return;
  const note = tidy(part("note").value);
  const said = session.judged.get(item.id);
  if (said || !note) outbox.store.remove(noteKey(item.id));
  else outbox.store.set(noteKey(item.id), note);
  if (!said || (said.note || "") === note) return;
  submit(item.id, { ...said, note });
  session.undone.push({ id: item.id, before: said });
  say(`${named(item.id)}: the note is kept.`);
}

// --- what the server didn't take ----------------------------------------------------------

function takeRefusal(entry, reply) {
  const { item, id } = entry.body;
  const now = reply.content.current ?? null;
  const wanted = entry.body.verdict ? entry.body : null;
  const sessions = [session, own].filter((each) => each?.reviewer === entry.reviewer);
  for (const each of sessions) {
    const latest = each.judged.get(item);
    if (latest && latest.id !== id) continue; // more was said since, and is on its way
    if (now) each.judged.set(item, now);
    else each.judged.delete(item);
  }
  if (reply.status !== CONFLICT || !alike(now, wanted)) outbox.keep(entry, reply);
  if (sessions.length && view === "reading") draw();
}

const undecidedOn = (id) => outbox.undecided(session.reviewer).filter((each) => each.entry.body.item === id);

function drawUndecided() {
  const all = outbox.undecided(session.reviewer).filter((each) => session.places.has(each.entry.body.item));
  if (!all.length) return drawAlarm("", "", []);
  const { key, status, current: now, error, entry: { body } } = all[0];
  const wanted = body.verdict ? body : null;
  const more = all.length > 1 ? ` (1 of ${all.length})` : "";
  const words = (said) => (said ? `“${phrase(said)}”` : "no verdict");
  // Another window may have sent it, and this page still shows what was refused.
  const sync = () => {
    const latest = session.judged.get(body.item);
    if (status !== CONFLICT || (latest && latest.id !== body.id)) return;
    if (now) session.judged.set(body.item, now);
    else session.judged.delete(body.item);
  };
  const drop = () => {
    sync();
    outbox.decided(key);
    if (view === "reading") draw();
  };
  const take = () => {
    sync();
    if (!alike(session.judged.get(body.item), wanted)) submit(body.item, wanted);
    drop();
  };
  if (status !== CONFLICT) {
    return drawAlarm(key, `${named(body.item)}${more}: the server can’t take ${words(wanted)}. ${error}`, [["Try again", take], ["Drop it", drop]]);
  }
  return drawAlarm(
    key,
    `${named(body.item)}${more}: two windows differ. Saved: ${words(now)}. Not saved: ${words(wanted)}. Which one counts?`,
    [[`Keep ${words(now)}`, drop], [`Take ${words(wanted)}`, take]],
  );
}

// --- disagreements ------------------------------------------------------------------------

function warn() {
  if (own) return leave();
  const left = session.order.length - session.judged.size;
  part("warning-words").textContent = `Here you see what everybody and the automatic judge said, and settle on a verdict together. ${
    left ? `You have ${left} left to judge: what you judge after having seen this is no longer blind. Better finish first.` : "Your own verdicts stay as they are."}`;
  part("warning").showModal();
  part(left ? "warning-not" : "warning-open").focus();
  return null;
}

async function openDisagreements() {
  part("warning").close();
  const mine = session;
  const left = outbox.entries(TOGETHER);
  const { disagreements: found } = await patiently("/api/disagreements?opened=yes");
  if (session !== mine) return;
  const settled = found.filter((each) => each.resolution).map((each) => [each.item, each.resolution]);
  const made = makeSession("together", TOGETHER, found.map((each) => each.item), Object.fromEntries(settled), left);
  made.others = new Map(found.map((each) => [each.item, each]));
  turnInto(made);
  own = mine;
  say(found.length ? "Read it together, and settle on a verdict." : "");
  go(firstOpen());
}

function leave() {
  turnInto(own);
  own = null;
  say("");
  go(session.at);
}

// --- keys and buttons ---------------------------------------------------------------------

const list = createList({
  open: () => {
    keepNote();
    turnTo("list");
    drawState();
    return session;
  },
  shows: () => view === "list" && session !== null,
  go,
});

const reading = (act) => () => (view === "reading" ? act() : false);
const listing = (act) => () => (view === "list" ? act() : false);

const actions = {
  unsafe: reading(() => judge(UNSAFE)),
  cannot: reading(() => judge(CANNOT_TELL)),
  safe: reading(() => {
    if (!current() || !seen()) return judge(SAFE); // says why it can't be
    choosing = !choosing;
    drawChoice(session.judged.get(here()), choosing);
    return say(choosing ? "Why is it not unsafe?" : "");
  }),
  show: reading(() => {
    shown = !seen();
    if (always) remembered.set("always", "");
    always = false;
    draw();
  }),
  always: reading(() => {
    always = !always;
    shown = false;
    remembered.set("always", always ? "yes" : "");
    say(always ? "Texts are shown from now on." : "Texts are hidden until you ask for them.");
    draw();
  }),
  note: reading(() => {
    if (!current()) return;
    noting = true;
    draw();
    part("note").focus();
  }),
  undo,
  next: () => { if (view === "list") list.turn(1); else go(session.at + 1); },
  back: () => { if (view === "list") list.turn(-1); else go(session.at - 1); },
  more: listing(() => list.turn(1)),
  fewer: listing(() => list.turn(-1)),
  down: listing(() => list.moveFocus(1)),
  up: listing(() => list.moveFocus(-1)),
  first: () => go(firstOpen()),
  prompt: reading(() => { part("prompt").open = !part("prompt").open; }),
  list: () => { if (view === "list") go(session.at); else list.draw(); },
  escape: () => {
    if (choosing) actions.safe();
    else if (view === "list") go(session.at);
    else return false;
    return true;
  },
  disagreements: warn,
  start: backToStart,
  decide: () => part("alarm-choices").querySelector("button")?.focus(),
};

function act(name) {
  if (name === "help") {
    part("keys-on").checked = !keysOff();
    part("help").showModal();
    return true;
  }
  return session ? actions[name]() : false;
}

const keysOff = () => outbox?.store.get("keys") === "off";

listenToKeys({
  act,
  choosing: () => choosing,
  choose: (number) => {
    const reason = number ? Object.keys(info.reasons)[number - 1] : "";
    if (reason !== undefined) judge(SAFE, reason);
    return reason !== undefined;
  },
  off: keysOff,
});

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("button");
  const { act: name, close, reason } = button?.dataset ?? {};
  if (name) {
    act(name);
    // Who pressed the button by the keyboard goes on from there.
    if (choosing && name === "safe" && event.detail === 0) part("reasons").querySelector("button").focus();
  } else if (close) part(close).close();
  else if (reason !== undefined) judge(SAFE, reason);
  else if (!button && event.target.closest?.("#veil")) act("show");
  if (button && event.detail === 0) keepFocus(button);
});

// Who pressed a button by the keyboard, and has seen it go away, stays on the page.
function keepFocus(button) {
  const seenOn = (node) => node.getClientRects().length > 0;
  const now = document.activeElement;
  if (seenOn(button) || (now && now !== document.body && now !== button && seenOn(now))) return;
  const next = button.closest("#reasons") && view === "reading" ? part("safe") : part("main");
  next.focus({ preventScroll: true });
}

part("note").addEventListener("input", () => {
  const item = current();
  if (item) outbox.store.set(noteKey(item.id), part("note").value);
});
part("note").addEventListener("blur", () => {
  if (!session || view !== "reading" || !current()) return;
  keepNote();
  noting = false;
  draw();
});
part("begin").addEventListener("submit", (event) => {
  event.preventDefault();
  if (part("name").value.trim()) choose(part("name").value);
});
part("keys-on").addEventListener("change", () => outbox?.store.set("keys", part("keys-on").checked ? "on" : "off"));
part("warning-open").addEventListener("click", openDisagreements);
addEventListener("beforeunload", (event) => {
  if (outbox && !outbox.lasting() && outbox.entries().length) event.preventDefault();
});

begin();
