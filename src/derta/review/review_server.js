// Asking the server: once, or until it answers.

import { trouble } from "./review_page.js";

const SECONDS_TO_ANSWER = 15;
const FIRST_WAIT = 250, LONGEST_WAIT = 3000; // milliseconds between two tries

// The server has understood, and says no.
export class Refusal extends Error {}

const pause = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });

// Throws if nobody answers.
export async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  };
  const reply = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(SECONDS_TO_ANSWER * 1000) });
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
      if (reply.ok) {
        trouble("");
        return reply.content;
      }
      if (reply.status < 500 && reply.status !== 403) throw new Refusal(reply.content.error || "The server refuses.");
      trouble(reply.content.error || "The server can’t answer. Trying again …");
    } catch (error) {
      if (error instanceof Refusal) throw error;
      trouble("The server doesn’t answer. Is derta review still running? Trying again …");
    }
    await pause(wait);
  }
  return null;
}

// What this window remembers, through a reload.
export const remembered = {
  get: (key) => { try { return sessionStorage.getItem(key); } catch { return null; } },
  set: (key, value) => { try { sessionStorage.setItem(key, value); } catch { /* then not */ } },
};
