// What was said, until the server has it. A submission is put into the browser's memory before it
// is sent, and taken out when the server has confirmed it; until then it is sent again, in order,
// after a reload or a restart of the server, too. The page made its id, so that sending it twice
// writes it once. Every window sends what any window has left; where the browser can lock, one at
// a time.

import { missing } from "./review_server.js";

const FIRST_WAIT = 250, LONGEST_WAIT = 3000; // milliseconds between two tries
// The server has understood and will never take it.
const NEVER = new Set([400, 404, 405, 413, 415, 422]);

export const CONFLICT = 409;

// Texts by key: in the browser's memory, or where it keeps nothing, in that of this window.
function memory(prefix) {
  const own = new Map();
  const kept = () => {
    try { return window.localStorage; } catch { return null; }
  };
  const memory = {
    lasting: true,
    set(key, value) {
      try {
        kept().setItem(prefix + key, value);
        own.delete(key);
      } catch {
        own.set(key, value);
        memory.lasting = false;
      }
    },
    get(key) {
      try { return own.get(key) ?? kept().getItem(prefix + key); } catch { return own.get(key) ?? null; }
    },
    remove(key) {
      own.delete(key);
      try { kept().removeItem(prefix + key); } catch { /* nothing was kept */ }
    },
    keys(start) {
      const found = new Set(own.keys());
      try {
        const store = kept();
        for (let at = 0; at < store.length; at++) {
          const key = store.key(at);
          if (key.startsWith(prefix)) found.add(key.slice(prefix.length));
        }
      } catch { /* nothing is kept */ }
      return [...found].filter((key) => key.startsWith(start)).sort();
    },
  };
  return memory;
}

// ask(path, body): sends, and gives { ok, status, content }, or throws if nobody answers.
// changed(): what is waiting, or what is to be decided, is another; refused(entry, content): the
// server has another verdict, or will not take this one.
export function createOutbox({ review, ask, changed, refused }) {
  const store = memory(`derta-review:${review}:`);
  let last = 0, timer = null, wait = FIRST_WAIT, sending = null, again = false;
  const outbox = { store, trouble: "" };

  const read = (key) => {
    try { return JSON.parse(store.get(key)); } catch { return null; }
  };
  const list = (start) => store.keys(start).map((key) => ({ key, ...read(key) })).filter((entry) => entry.body || entry.entry);

  outbox.lasting = () => store.lasting;
  // Of a reviewer, or of all; oldest first.
  outbox.entries = (reviewer) => list("out:").filter((entry) => reviewer === undefined || entry.reviewer === reviewer);
  outbox.waits = (id) => outbox.entries().some((entry) => entry.body.id === id);
  // Submissions that the server didn't take, with what it said.
  outbox.undecided = (reviewer) => list("undecided:").filter((entry) => entry.entry.reviewer === reviewer);
  outbox.decided = (key) => { store.remove(key); changed(); };

  outbox.add = ({ path, body, reviewer }) => {
    const known = outbox.entries().at(-1);
    last = Math.max(Date.now(), last + 1, known ? Number(known.key.split(":")[1]) + 1 : 0);
    const key = `out:${String(last).padStart(15, "0")}:${body.id}`;
    store.set(key, JSON.stringify({ path, body, reviewer }));
    changed();
    outbox.send();
  };

  async function sendOne(entry) {
    let reply;
    try {
      reply = await ask(entry.path, entry.body);
    } catch (error) {
      outbox.trouble = missing(error);
      return false;
    }
    if (!reply.ok && reply.status !== CONFLICT && !NEVER.has(reply.status)) {
      outbox.trouble = reply.content.error || "the server can’t save them";
      return false;
    }
    outbox.trouble = "";
    wait = FIRST_WAIT;
    if (!reply.ok) refused(entry, reply);
    store.remove(entry.key);
    changed();
    return true;
  }

  async function sendAll() {
    for (;;) {
      const [entry] = outbox.entries();
      if (!entry) return true;
      if (!await sendOne(entry)) return false;
    }
  }

  outbox.keep = (entry, reply) => {
    store.set(`undecided:${entry.body.id}`, JSON.stringify({
      entry: { path: entry.path, body: entry.body, reviewer: entry.reviewer },
      status: reply.status, current: reply.content.current ?? null, error: reply.content.error || "",
    }));
  };

  // Done when all is sent, or when it can't be for now.
  outbox.send = () => {
    if (sending) {
      again = true;
      return sending;
    }
    clearTimeout(timer);
    const locks = navigator.locks;
    sending = (locks ? locks.request(`derta-review:${review}`, sendAll) : sendAll())
      .catch(() => false)
      .then((done) => {
        sending = null;
        if (!done) {
          timer = setTimeout(outbox.send, wait);
          wait = Math.min(wait * 2, LONGEST_WAIT);
        } else if (again && outbox.entries().length) outbox.send();
        again = false;
        changed();
        return done;
      });
    return sending;
  };

  // At once, if something waits: the server or the network may be back.
  outbox.hurry = () => {
    wait = FIRST_WAIT;
    if (outbox.entries().length) outbox.send();
  };

  addEventListener("storage", (event) => {
    if (event.key === null || event.key.startsWith(`derta-review:${review}:`)) changed();
  });
  addEventListener("online", outbox.hurry);
  addEventListener("focus", outbox.hurry);
  return outbox;
}
