"use strict";
// Tables: sorting, and copying as Markdown, CSV or LaTeX. Without this file the page is whole.
(() => {
  const forms = JSON.parse(document.getElementById("tables-data").textContent);

  // --- sorting ---
  const keyOf = (row, column) => row.cells[column].dataset.order;
  const compare = (one, other) => {
    const numbers = one !== "" && other !== "" && isFinite(one) && isFinite(other);
    return numbers ? Number(one) - Number(other) : one.localeCompare(other);
  };
  const sort = (table, column, direction, original) => {
    const body = table.tBodies[0];
    const rows = [...original];
    if (direction) {
      const known = rows.filter((row) => keyOf(row, column) !== undefined);
      const unknown = rows.filter((row) => keyOf(row, column) === undefined);
      known.sort((a, b) => direction * compare(keyOf(a, column), keyOf(b, column)));
      rows.splice(0, rows.length, ...known, ...unknown);
    }
    body.append(...rows);
  };
  for (const table of document.querySelectorAll("table.figures")) {
    const heads = [...table.tHead.rows[0].cells];
    const original = [...table.tBodies[0].rows];
    if (original.length < 2) continue;
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: "none" };
        const order = next[head.getAttribute("aria-sort")] ?? "ascending";
        for (const each of heads) each.removeAttribute("aria-sort");
        if (order !== "none") head.setAttribute("aria-sort", order);
        sort(table, column, { ascending: 1, descending: -1, none: 0 }[order], original);
      });
    });
  }

  // --- copying ---
  const copyByHand = (text) => {
    // Pages that are opened as files may have no clipboard; a selected text still can be copied.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    area.setAttribute("aria-hidden", "true");
    document.body.append(area);
    area.select();
    let done = false;
    try {
      done = document.execCommand("copy");
    } catch {
      done = false;
    }
    area.remove();
    return done;
  };
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return copyByHand(text);
    }
  };
  for (const menu of document.querySelectorAll("details.copy")) {
    menu.hidden = false;
    const status = menu.querySelector("[role=status]");
    for (const button of menu.querySelectorAll("button")) {
      button.addEventListener("click", async () => {
        const done = await copy(forms[button.dataset.table][button.dataset.copy]);
        button.focus();
        status.textContent = done
          ? `Copied as ${button.textContent}`
          : "The browser doesn’t let this page copy. Select the table instead.";
      });
    }
    menu.addEventListener("toggle", () => { if (!menu.open) status.textContent = ""; });
    menu.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && menu.open) {
        menu.open = false;
        menu.querySelector("summary").focus();
      }
    });
  }
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.copy[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });

  // --- printing: what opens on request is printed open ---
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("main details:not([open]):not(.copy)")];
    for (const each of closed) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of closed) each.open = false;
  });
})();
