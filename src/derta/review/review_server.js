// Asking the server: once, or until it answers.

import { trouble } from "./review_page.js";

const HEADER = "x-derta-review";
const SECONDS_TO_ANSWER = 15;
const FIRST_WAIT = 250, LONGEST_WAIT = 3000; // milliseconds between two tries
const MISDIRECTED = 421; // another review is served at this address

// The server has understood, and says no.
export class Refusal extends Error {}
// Something answers that is no review's server: what it says means nothing here.
class Stranger extends Error {}

const pause = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });

let review = null;
// From now on every request says which review it is for: no other one takes it.
export const belongTo = (name) => { review = name; };

export const missing = (error) => (error instanceof Stranger
  ? `something else answers at ${location.host}` : `the server doesn’t answer at ${location.host}`);

// Throws if nobody answers, or somebody else does.
export async function ask(path, body) {
  const headers = review === null ? {} : { [HEADER]: review };
  const options = body === undefined ? { headers } : {
    method: "POST", headers: { ...headers, "content-type": "application/json" }, body: JSON.stringify(body),
  };
  // No redirect is followed: ours makes none, and another program's leads away.
  const reply = await fetch(path, {
    ...options, cache: "no-store", redirect: "manual", signal: AbortSignal.timeout(SECONDS_TO_ANSWER * 1000),
  });
  if (!reply.headers.has(HEADER)) throw new Stranger();
  const content = await reply.json().catch((error) => {
    if (reply.ok) throw error; // the answer broke off: it counts as none
    return {};
  });
  return { ok: reply.ok, status: reply.status, content };
}

// Asks until the server answers, or until nobody wants to know any more: then it gives null.
export async function patiently(path, wanted = () => true, body = undefined) {
  for (let wait = FIRST_WAIT; wanted(); wait = Math.min(wait * 2, LONGEST_WAIT)) {
    try {
      const reply = await ask(path, body);
      if (!wanted()) return null;
      if (reply.ok) {
        trouble("");
        return reply.content;
      }
      if (reply.status < 500 && reply.status !== 403 && reply.status !== MISDIRECTED) throw new Refusal(reply.content.error || "The server refuses.");
      trouble(sentence(reply.content.error || "the server can’t answer"));
    } catch (error) {
      if (error instanceof Refusal) throw error;
      if (!wanted()) return null;
      trouble(`${sentence(missing(error))} Is derta review still running, on this port? Trying again …`);
    }
    await pause(wait);
  }
  return null;
}

const sentence = (words) => `${words[0].toUpperCase()}${words.slice(1)}${/[.!?…]$/.test(words) ? "" : "."}`;

// What this window remembers, through a reload.
export const remembered = {
  get: (key) => { try { return sessionStorage.getItem(key); } catch { return null; } },
  set: (key, value) => { try { sessionStorage.setItem(key, value); } catch { /* then not */ } },
};
