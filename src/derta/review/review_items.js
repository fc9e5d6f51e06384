// The responses that the window holds: those that come next are fetched before they are needed.

import { ask, patiently } from "./review_server.js";

const MOST_KEPT = 300; // responses

const address = (id) => `/api/items/${encodeURIComponent(id)}`;

// near(): ids that must stay.
export function createItems({ near }) {
  const items = new Map();
  const fetching = new Map();

  function keep(item) {
    items.set(item.id, item);
    const stays = near();
    for (const id of items.keys()) {
      if (items.size <= MOST_KEPT) break;
      if (!stays.has(id)) items.delete(id);
    }
  }

  // Asks once; whether it came is seen by `has`.
  function fetchAhead(id) {
    if (items.has(id)) return Promise.resolve();
    if (!fetching.has(id)) {
      const asked = ask(address(id))
        .then(({ ok, content }) => { if (ok) keep(content); })
        .catch(() => {})
        .finally(() => fetching.delete(id));
      fetching.set(id, asked);
    }
    return fetching.get(id);
  }

  return {
    get: (id) => items.get(id),
    has: (id) => items.has(id),
    fetchAhead,
    // Asks until it comes, or nobody wants it any more.
    async fetch(id, wanted) {
      await fetchAhead(id);
      if (items.has(id) || !wanted()) return;
      const item = await patiently(address(id), wanted);
      if (item) keep(item);
    },
  };
}
