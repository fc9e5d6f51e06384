"""Text for terminals: hostile text made harmless, harmful text masked.

Model output and data files are hostile input: an escape sequence in them could rewrite the
screen, a bidirectional control could show a text in another order, square brackets would be read
as rich's markup. Covered: text that goes to a terminal. Not covered: HTML (`derta.report`).
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "mask", "print_hanging", "safe", "stage", "visible"]

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


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Make the console that derta prints on; colours only on terminals and without NO_COLOR."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, emoji=False, quiet=quiet)


def print_hanging(console: Console, start: str, text: str) -> None:
    """Print a text behind its start; where it is wrapped, it goes on below itself.

    A word that is longer than a line (a path) stays whole, so that it can be copied.

    Args:
        console: whose width counts.
        start: what stands before the text: an indent, a figure.
        text: of any origin.
    """
    from rich.cells import cell_len
    from rich.text import Text

    room = console.width - cell_len(start)
    lines: list[str] = []
    for word in visible(text).split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    for number, line in enumerate(lines or [""]):
        before = " " * cell_len(start) if number else start
        console.print(Text(before + line), soft_wrap=True)


@contextmanager
def stage(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with the time left while a stage runs, and one line when it is done.

    The function that it yields is called with (done, total); a stage that never calls it had
    nothing to do.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    started = time.monotonic()
    calls = 0
    with Progress(
        TextColumn("{task.description:<20}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task(title, total=None)

        def progress(done: int, total: int) -> None:
            nonlocal calls
            calls += 1
            bar.update(task, completed=done, total=total)

        yield progress
    took = time.monotonic() - started
    note = f"{took:6.0f} s" if calls else "  kept from an earlier run"
    console.print(f"{title:<20} {note}", highlight=False)
