// The list of all responses, a page at a time. The window knows order and verdicts; the server is
// asked for the questions only.

import { FILTERS, ROWS, drawList, part } from "./review_page.js";
import { patiently } from "./review_server.js";
import { make } from "./review_text.js";

// open(): turns to the list, and gives the session. shows(): whether the list is seen. go(place).
export function createList({ open, shows, go }) {
  let filter = "all", page = 0, drawing = 0;

  async function draw() {
    if (!shows()) {
      part("rows").replaceChildren();
      delete part("rows").dataset.page;
    }
    const session = open();
    const mine = ++drawing;
    const found = session.order.map((id, place) => ({ id, place, said: session.judged.get(id) }))
      .filter(({ said }) => FILTERS[filter][1](said));
    page = Math.max(0, Math.min(page, Math.ceil(found.length / ROWS) - 1));
    const here = found.slice(page * ROWS, (page + 1) * ROWS);
    const stays = () => mine === drawing && shows();
    const ids = here.map(({ id }) => encodeURIComponent(id)).join(",");
    const content = here.length ? await patiently(`/api/list?items=${ids}`, stays) : { rows: [] };
    if (!content || !stays()) return;
    const questions = new Map(content.rows.map(({ item, question }) => [item, question]));
    drawList({
      rows: here.map(({ id, place, said }) => ({ place, said, question: questions.get(id) ?? "(no longer in the review)" })),
      count: found.length, page, choose: go,
    });
    part("rows").dataset.page = page;
    scrollTo(0, 0);
    if (document.activeElement !== part("list-show")) part("rows").querySelector("button")?.focus({ preventScroll: true });
  }

  part("list-show").replaceChildren(...Object.entries(FILTERS).map(([value, [words]]) => make("option", { value }, words)));
  part("list-show").addEventListener("change", () => {
    filter = part("list-show").value;
    page = 0;
    draw();
  });

  return {
    draw,
    turn(by) {
      page += by;
      return draw();
    },
    moveFocus(by) {
      const buttons = [...part("rows").querySelectorAll("button")];
      const at = buttons.indexOf(document.activeElement);
      buttons[Math.max(0, Math.min(at + by, buttons.length - 1))]?.focus();
    },
  };
}
