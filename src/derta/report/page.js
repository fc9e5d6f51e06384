"use strict";
// Harmful text is blurred by the style sheet; this file can only show it, on request.
(() => {
  const parts = [...document.querySelectorAll("[data-hides]")];
  const all = document.getElementById("reveal-all");
  const open = (part) => part.classList.contains("revealed");
  const show = (part, shown) => {
    part.classList.toggle("revealed", shown);
    for (const text of part.querySelectorAll(".veiled")) {
      text.setAttribute("aria-hidden", String(!shown));
    }
    for (const button of part.querySelectorAll("button")) {
      button.setAttribute("aria-expanded", String(shown));
      button.querySelector(".verb").textContent = shown ? "Hide" : "Show";
    }
    if (all) {
      const everything = parts.every(open);
      all.setAttribute("aria-pressed", String(everything));
    }
  };
  for (const part of parts) {
    for (const button of part.querySelectorAll("button")) {
      button.hidden = false;
      button.addEventListener("click", () => show(part, !open(part)));
    }
    for (const text of part.querySelectorAll(".veiled")) {
      text.addEventListener("click", () => { if (!open(part)) show(part, true); });
    }
  }
  if (all) {
    all.hidden = false;
    all.addEventListener("click", () => {
      const shown = all.getAttribute("aria-pressed") !== "true";
      for (const part of parts) show(part, shown);
    });
  }
})();
