"""A tiny builder for HTML and SVG in which text can't become markup.

Covers: escaping of text and attributes, and control characters made visible. Everything on the
page goes through `element`; only what it returns is trusted, every other string is escaped.
Not covered: text inside script or style elements; data never goes there.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable

__all__ = ["Child", "Markup", "element", "join", "visible_text"]

_VOID = frozenset({"meta", "br", "hr"})
_KEPT = frozenset("\n\t")
# Cc control, Cf format (bidi overrides, zero-width, tags), Cs lone surrogates, Co private use,
# Cn unassigned, Zl and Zp line and paragraph separators.
_SHOWN_AS_CODE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class Markup(str):
    """A string that is known to be safe markup."""

    __slots__ = ()


Child = str | int | None | Iterable["Child"]
"""What may stand inside an element: markup, text (escaped), numbers, nothing, or lists of them."""


def visible_text(text: str) -> str:
    """Replace characters that act without being seen by their code, as in ⟨U+202E⟩.

    Args:
        text: any string, lone surrogates included.

    Returns:
        Text that can be encoded as UTF-8 and holds no control but newline and tab.
    """
    text = text.replace("\r\n", "\n")
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"⟨U+{ord(character):04X}⟩"
        if character not in _KEPT and unicodedata.category(character) in _SHOWN_AS_CODE
        else character
        for character in text
    )


def join(children: Child) -> Markup:
    """Concatenate children, escaping all that is not markup."""
    if children is None:
        return Markup("")
    if isinstance(children, Markup):
        return children
    if isinstance(children, str):
        return Markup(html.escape(visible_text(children), quote=True))
    if isinstance(children, int):
        return Markup(str(children))
    return Markup("".join(join(child) for child in children))


def element(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """Build one element.

    Args:
        name: the tag.
        children: what stands inside; strings are escaped unless they are `Markup`.
        attributes: `class_` gives class, `aria_hidden` gives aria-hidden; None and False leave
            the attribute out, True writes it bare.
    """
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        if value is True:
            written.append(f" {attribute}")
            continue
        text = f"{value:.1f}" if isinstance(value, float) else str(value)
        written.append(f' {attribute}="{html.escape(visible_text(text), quote=True)}"')
    opening = f"<{name}{''.join(written)}>"
    if name in _VOID:
        return Markup(opening)
    return Markup(f"{opening}{join(children)}</{name}>")
