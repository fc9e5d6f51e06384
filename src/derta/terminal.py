"""Text for terminals: hostile text made harmless, harmful text masked.

Model output and data files are hostile input: an escape sequence in them could rewrite the
screen, a bidirectional control could show a text in another order, square brackets would be read
as rich's markup. Covered: text that goes to a terminal. Not covered: HTML (`derta.report`).
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "mask", "safe", "visible"]

_MASK = "▒"
_KEPT = frozenset(" \n\t")
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Controls, format characters (all bidirectional ones are), halves of surrogates, separators."""


def visible(text: str) -> str:
    r"""Write characters that drive a terminal as escapes (`\x1b`); keep newlines and tabs.

    Use it for text that goes to `sys.stderr` or into a `rich.text.Text`, neither of which reads
    markup.
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if character not in _KEPT and unicodedata.category(character) in _INVISIBLE
        else character
        for character in text
    )


def safe(text: str) -> str:
    """Make text safe to be printed by rich with markup: `visible`, and brackets stay brackets."""
    from rich.markup import escape

    return escape(visible(text))


def mask(text: str) -> str:
    """Hide a text and keep its shape: every character but spaces and line ends is a block."""
    return "".join(character if character in _KEPT else _MASK for character in text)


def console(*, stderr: bool = False) -> Console:
    """Make the console that derta prints on; colours only on terminals and without NO_COLOR."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, emoji=False)
