"""A reading in the terminal: the text with P(refusal) under each token, and where it is highest.

A bar under a token says how likely a refusal was *in its place*; colour says the same again, so
that it can be read without colour, too. Covered: terminals of 80 columns, piped output, hostile
text (`derta.terminal.visible`). Not covered: masking: the text is what the user gave.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from derta.analysis.readings import Reading
from derta.report.figures import number
from derta.terminal import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["BARS", "bar_of", "print_probe"]

BARS = " ▁▂▃▄▅▆▇█"
"""Blank: below 1 %. The others are steps of an eighth, so that a full one is 7/8 and more."""
_FLOOR = 0.01
_STYLES = ((0.5, "bold red"), (0.1, "yellow"), (_FLOOR, "cyan"))
"""From each probability on."""
_END = "∎"
_SHOWN = 8
_FIRST = 5
_WIDEST_TOKEN = 18


def bar_of(probability: float) -> str:
    """Return the bar for a probability."""
    if probability < _FLOOR:
        return BARS[0]
    return BARS[1 + min(int(probability * 8), 7)]


def print_probe(
    reading: Reading,
    console: Console,
    *,
    refusal_words: Sequence[str],
    reference: str | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Print a reading: text with bars, the likeliest places of a refusal, where decoding refuses.

    Args:
        reading: what is shown.
        console: where to.
        refusal_words: whose probability it is.
        reference: the model that the divergence is from.
        notes: what is missing, in words.
    """
    from rich.text import Text

    words = ", ".join(refusal_words)
    console.print(
        Text.assemble(
            ("derta probe: ", "bold"), (visible(reading.model), "bold"), f"  [{visible(words)}]"
        )
    )
    scale = f"blank <1 %, {BARS[1]} 1 %, {BARS[5]} 50 %, {BARS[8]} 88 % and more"
    legend = f"Under each token: P({visible(words)}) in its place ({scale}); {_END} after the end."
    console.print(Text(legend, style="dim"))
    console.print()
    for text, bars in _lines(reading, console.width):
        console.print(text, no_wrap=True, crop=False)
        console.print(bars, no_wrap=True, crop=False)
    console.print()
    _print_highest(reading, console)
    console.print(Text(visible(_where_it_refuses(reading, words))))
    if reading.divergence is not None and reference is not None:
        console.print(Text(visible(_how_far(reading, reference))))
    for note in notes:
        console.print(Text(visible(note), style="yellow"))


# --- the text -----------------------------------------------------------------------------------


def _lines(reading: Reading, width: int) -> Iterator[tuple[Text, Text]]:
    """Yield lines that fit the console, each with its bars."""
    from rich.cells import cell_len
    from rich.text import Text

    text, bars, used = Text(), Text(), 0
    for token, probability in zip(
        (*reading.tokens, _END), reading.refusal_probability, strict=True
    ):
        shown = _one_line(token)
        style = _style(float(probability))
        # A token may be longer than a line.
        for piece in _cut(shown, width):
            size = cell_len(piece)
            if used + size > width:
                yield text, bars
                text, bars, used = Text(), Text(), 0
            text.append(piece, style)
            bars.append(bar_of(float(probability)) * size, style)
            used += size
        if token.endswith("\n"):
            yield text, bars
            text, bars, used = Text(), Text(), 0
    if used:
        yield text, bars


def _cut(text: str, width: int) -> Iterator[str]:
    from rich.cells import chop_cells

    yield from chop_cells(text, width) if text else ()


def _style(probability: float) -> str:
    return next((style for least, style in _STYLES if probability >= least), "")


def _one_line(text: str) -> str:
    return visible(text.replace("\n", "⏎").replace("\t", "⇥"))


# --- in numbers ---------------------------------------------------------------------------------


def _print_highest(reading: Reading, console: Console) -> None:
    """Print the places where a refusal is likeliest, in the order of the text."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for title in ("after", "in place of", "P, %", "rank", "the model's own choice"):
        left = title in ("in place of", "the model's own choice")
        table.add_column(title, justify="left" if left else "right", no_wrap=True)
    if reading.divergence is not None:
        table.add_column("KL, nats", justify="right", no_wrap=True)
    places = np.argsort(-reading.refusal_probability, kind="stable")[:_SHOWN]
    for place in sorted(int(each) for each in places):
        token = reading.tokens[place] if place < len(reading.tokens) else _END
        row = [
            str(place),
            _short(token),
            number(100 * float(reading.refusal_probability[place]), 1),
            str(reading.refusal_rank[place]),
            f"{_short(reading.top_tokens[place])} "
            f"{number(100 * float(reading.top_probability[place]), 1)} %",
        ]
        if reading.divergence is not None:
            row.append(number(float(reading.divergence[place]), 2))
        style = _style(float(reading.refusal_probability[place]))
        table.add_row(*(Text(cell) for cell in row), style=style)
    console.print(table)


def _where_it_refuses(reading: Reading, words: str) -> str:
    first = np.flatnonzero(reading.refusal_rank == 1)
    if len(first):
        return f"Greedy decoding would begin to refuse {_where(reading, int(first[0]))}."
    best = int(np.argmin(reading.refusal_rank))
    return (
        f"Greedy decoding would nowhere begin to refuse. The best rank of {words} is "
        f"{reading.refusal_rank[best]}, {_where(reading, best)}."
    )


def _where(reading: Reading, place: int) -> str:
    count = len(reading.tokens)
    return f"after {place} of {count} tokens" if place else "before the first token"


def _how_far(reading: Reading, reference: str) -> str:
    assert reading.divergence is not None  # the caller looked
    values = reading.divergence.astype(np.float64)
    total = float(values.sum())
    said = f"KL from {reference}: {number(float(values.mean()), 3)} nats a token on average"
    if total > 0 and len(values) > _FIRST:
        share = float(values[:_FIRST].sum()) / total
        said += f"; {number(100 * share, 0)} % of it at the first {_FIRST}"
    return said + "."


def _short(token: str) -> str:
    from rich.cells import cell_len, set_cell_size

    if not token:
        return "(part of a character)"
    shown = _one_line(token.strip(" ")) or "␣"
    if cell_len(shown) <= _WIDEST_TOKEN:
        return shown
    return set_cell_size(shown, _WIDEST_TOKEN - 1) + "…"
