"""What a test asks of a page: contrast, names, headings, tab stops.

Covered: what can be computed from the page itself, without a library. Not covered: judgement.
"""

from __future__ import annotations

from typing import Any

# The colour behind a text is that of its nearest ancestors, laid over each other. The browser
# converts whatever way a colour is written in, by painting one pixel with it.
_CONTRASTS = """
() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const paint = canvas.getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const parse = (text) => {
    if (!known.has(text)) {
      paint.clearRect(0, 0, 1, 1);
      paint.fillStyle = text;
      paint.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = paint.getImageData(0, 0, 1, 1).data;
      known.set(text, [r, g, b, a / 255]);
    }
    return known.get(text);
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] >= 1) break;
    }
    let found = parse(getComputedStyle(document.documentElement).backgroundColor);
    found = found[3] > 0 ? found : parse(getComputedStyle(document.body).backgroundColor);
    for (const layer of layers.reverse()) found = over(layer, found);
    return found;
  };
  const worst = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const words = walker.currentNode.textContent.trim();
    const node = walker.currentNode.parentElement;
    if (!words || !node || !node.checkVisibility({ checkVisibilityCSS: true })) continue;
    if (node.closest(".unseen, script, style, title, desc, option, [disabled], .skip")) continue;
    const style = getComputedStyle(node);
    const svg = node.closest("svg");
    const colour = parse(svg ? style.fill : style.color);
    const opacity = (function of(at) {
      return at ? Number(getComputedStyle(at).opacity) * of(at.parentElement) : 1;
    })(node);
    const ground = behind(node);
    const shown = over([...colour.slice(0, 3), colour[3] * opacity], ground);
    const [a, b] = [light(shown), light(ground)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const key = `${node.tagName}.${node.getAttribute("class") || ""}`;
    const margin = contrast / (large ? 3 : 4.5);
    if (!worst.has(key) || worst.get(key).margin > margin) {
      worst.set(key, { key, contrast, margin, words: words.slice(0, 40), colour: style.color });
    }
  }
  return [...worst.values()].filter((each) => each.margin < 1);
}
"""

_HEADINGS = """
() => [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")]
  .filter((node) => node.checkVisibility())
  .map((node) => [Number(node.tagName[1]), node.textContent.trim().slice(0, 60)])
"""

_ACTIVE = """
() => {
  const node = document.activeElement;
  if (!node || node === document.body) return null;
  const box = node.getBoundingClientRect();
  const all = [...document.querySelectorAll("*")];
  const shown = node.checkVisibility({ checkVisibilityCSS: true, checkOpacity: true });
  return {
    place: all.indexOf(node), tag: node.tagName.toLowerCase(), id: node.id,
    class: node.getAttribute("class") || "", role: node.getAttribute("role") || "",
    shown: shown && box.width > 0 && box.height > 0,
    outlined: ["outlineStyle", "boxShadow"].some((name) => getComputedStyle(node)[name] !== "none"),
  };
}
"""

_NEED_NAMES = {
    "button", "link", "combobox", "searchbox", "textbox", "listbox", "option", "checkbox",
    "DisclosureTriangle", "heading", "table", "region", "img", "image", "navigation", "search",
}  # fmt: skip


def poor_contrasts(page: Any) -> list[dict[str, Any]]:
    """Texts on the page with a contrast below 4.5 : 1 (large ones: 3 : 1), the worst of a kind."""
    found: list[dict[str, Any]] = page.evaluate(_CONTRASTS)
    return found


def headings(page: Any) -> list[tuple[int, str]]:
    """Levels and words of the headings that are shown, in order."""
    return [(level, words) for level, words in page.evaluate(_HEADINGS)]


def accessible(page: Any) -> list[dict[str, Any]]:
    """The accessibility tree: role, name and properties of everything that is in it."""
    session = page.context.new_cdp_session(page)
    try:
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    finally:
        session.detach()
    return [
        {
            "role": node.get("role", {}).get("value", ""),
            "name": node.get("name", {}).get("value", ""),
            **{each["name"]: each["value"].get("value") for each in node.get("properties", [])},
        }
        for node in nodes
        if not node.get("ignored")
    ]


def nameless(page: Any) -> list[str]:
    """Roles of the parts that a reader can use or go to, and that have no name."""
    return [
        node["role"]
        for node in accessible(page)
        if node["role"] in _NEED_NAMES and not node["name"].strip()
    ]


def read_aloud(page: Any) -> str:
    """All words of the accessibility tree."""
    return " ".join(node["name"] for node in accessible(page))


def tab_stops(page: Any, most: int = 400) -> list[dict[str, Any]]:
    """What the tab key goes through, from the top."""
    page.evaluate("() => { document.activeElement.blur(); window.scrollTo(0, 0); }")
    found = []
    for _ in range(most):
        page.keyboard.press("Tab")
        active = page.evaluate(_ACTIVE)
        if active is None:
            break
        found.append(active)
    return found


def overflow(page: Any) -> int:
    """By how many pixels the page is wider than its window."""
    wider: int = page.evaluate(
        "() => document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
    )
    return wider
