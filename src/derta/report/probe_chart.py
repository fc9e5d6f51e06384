"""One text as a model reads it: the refusal token's probability along it, as a picture.

Above, the probability at every position; a mark stands where the refusal token is the model's first
choice. Below, the text token by token, each on a ground as dark as the probability before it. The
text is the user's own and is shown as it is, controls made visible. Covered: one reading (`derta
probe`). Not covered: reading the text (`derta.analysis.token_reading`).

Shapes:  S tokens, S + 1 positions (derta.analysis.readings).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from derta.analysis.readings import Reading
from derta.errors import DataError
from derta.files import write_atomically
from derta.report.figures import number
from derta.report.markup import Markup, element, visible_text
from derta.report.svg import Frame, Point, Series, line_chart, nice_ticks, picture, standalone

__all__ = ["probe_chart", "write_probe_chart"]

_WIDTH = 760.0
_HEADING_HEIGHT = 64.0
_PLOT_HEIGHT = 280.0
_MARGIN = 28.0
_CHARACTER, _LINE = 7.3, 24.0
"""Width of a character of the text and height of a line, in pixels at 12 px."""
_MOST_TOKENS = 1500
_LONGEST_TOKEN = 60
_STYLE = """
.piece { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 12px; fill: var(--ink); white-space: pre; }
.mouth { font-style: italic; }
.heat { fill: var(--derta); }
.chosen { fill: none; stroke: var(--derta); stroke-width: 1.5; }
"""  # noqa: E501  (a style sheet)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A token's place in the picture."""

    text: str
    x: float
    y: float
    width: float
    index: int


def probe_chart(reading: Reading) -> str:
    """Draw a reading.

    Args:
        reading: one text with the probabilities at all its positions.

    Returns:
        An SVG document on a white ground. Of a very long text the first 1,500 tokens are shown.
    """
    pieces, text_height = _lay_out(reading)
    top = _HEADING_HEIGHT + _PLOT_HEIGHT
    height = top + text_height + _MARGIN
    plot = _plot(reading)
    # The plot is a picture of its own; its parts are taken over, its words are the whole's.
    inner = Markup(plot[plot.index("</desc>") + len("</desc>") : plot.rindex("</svg>")])
    parts = [inner, *_text(reading, pieces, top)]
    best = int(np.argmax(reading.refusal_probability))
    whole = picture(
        parts,
        _WIDTH,
        height,
        "probe",
        f"Probability of the refusal token along a text, {reading.model}",
        f"Highest after {best} tokens: {number(float(reading.refusal_probability[best]))}, rank "
        f"{int(reading.refusal_rank[best])}. First choice of the model at "
        f"{int((reading.refusal_rank == 1).sum())} of {len(reading.refusal_rank)} positions.",
    )
    heading = "Probability of the refusal token along the text"
    note = f"{_short(reading.model, 40)}: {_short(reading.question, 70)}"
    return standalone(
        whole, heading=heading, note=note, width=_WIDTH, height=height, more_style=_STYLE
    )


def _plot(reading: Reading) -> Markup:
    probabilities = [float(value) for value in reading.refusal_probability]
    last = len(probabilities) - 1
    frame = Frame(
        width=_WIDTH,
        height=_HEADING_HEIGHT + _PLOT_HEIGHT,
        left=52.0,
        right=_MARGIN,
        top=_HEADING_HEIGHT + 24.0,
        bottom=52.0,
        x_range=(0.0, float(max(last, 1))),
        y_range=(0.0, 1.0),
    )
    series = [Series("derta", "", tuple(Point(t, value) for t, value in enumerate(probabilities)))]
    chosen = [
        Series("derta", "", (Point(t, probabilities[t], note=f"after {t} tokens"),), "circle")
        for t in range(last + 1)
        if reading.refusal_rank[t] == 1
    ]
    ticks = [tick for tick in nice_ticks(last, 8) if tick <= last and tick == int(tick)]
    return line_chart(
        [*series, *chosen],
        frame,
        identifier="probe-plot",
        title="",
        description="",
        x_ticks=[(tick, f"{tick:g}") for tick in ticks],
        y_ticks=[(0.0, "0"), (0.5, "0.5"), (1.0, "1")],
        x_label="tokens written; a mark: the refusal token is the model’s first choice",
    )


def write_probe_chart(reading: Reading, path: Path) -> None:
    """Draw a reading into a file: PNG where the name ends in .png, else SVG.

    Raises:
        DertaError: PNG is asked for and what draws it isn't installed.
        DataError: the file can't be written.
    """
    svg = probe_chart(reading)
    if path.suffix.lower() == ".png":
        from derta.report.evaluation_page.plots import write_png

        write_png(svg, path)
        return
    try:
        write_atomically(path, svg)
    except OSError as error:
        reason = (error.strerror or "can't be written").lower()
        raise DataError.of(path, reason, "Name a file that can be written") from error


# --- the text --------------------------------------------------------------------------------


def _lay_out(reading: Reading) -> tuple[list[_Piece], float]:
    """Place tokens in lines below a line that explains them; return them and their height."""
    pieces = []
    x, y = _MARGIN, 2 * _LINE
    for index, token in enumerate(reading.tokens[:_MOST_TOKENS]):
        for part, breaks in _parts(token):
            width = _columns(part) * _CHARACTER
            if x + width > _WIDTH - _MARGIN and x > _MARGIN:
                x, y = _MARGIN, y + _LINE
            pieces.append(_Piece(part, x, y, width, index))
            x += width
            if breaks:
                x, y = _MARGIN, y + _LINE
    left = len(reading.tokens) - _MOST_TOKENS
    if left > 0:
        pieces.append(_Piece(f"… and {left} more tokens", _MARGIN, y + _LINE, 0.0, -1))
        y += _LINE
    return pieces, y


def _parts(token: str) -> Iterator[tuple[str, bool]]:
    """Cut a token at its line ends; each part says whether a line ends after it."""
    lines = visible_text(token).replace("\t", "→").split("\n")
    for place, line in enumerate(lines):
        ends = place < len(lines) - 1
        shown = _short(line, _LONGEST_TOKEN) if len(line) > _LONGEST_TOKEN else line
        text = shown + ("⏎" if ends else "")
        if text:
            yield text, ends


def _columns(text: str) -> int:
    """Count the columns that a text takes in a font of one width."""
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def _text(reading: Reading, pieces: list[_Piece], top: float) -> Iterator[Markup]:
    words = "Ground: probability before the token. Frame: the refusal token is the first choice."
    if reading.prefilled_tokens:
        words += " Italic: put into the model’s mouth."
    yield element("text", words, class_="tick", x=_MARGIN, y=top + 14.0)
    for piece in pieces:
        y = top + piece.y
        if piece.index >= 0:
            probability = float(reading.refusal_probability[piece.index])
            rank = int(reading.refusal_rank[piece.index])
            box = {"x": piece.x, "y": y - 15.0, "width": max(piece.width, 1.0), "height": 20.0}
            if probability >= 0.005:
                opacity = f"{0.65 * probability:.2f}"
                yield element("rect", class_="heat", fill_opacity=opacity, rx="3", **box)
            if rank == 1:
                yield element("rect", class_="chosen", rx="3", **box)
        mouth = 0 <= piece.index < reading.prefilled_tokens or piece.index < 0
        # Blanks at the edges of a text element are dropped by most readers.
        text = piece.text.replace(" ", "\N{NO-BREAK SPACE}")
        yield element("text", text, class_="piece mouth" if mouth else "piece", x=piece.x, y=y)


def _short(text: str, most: int) -> str:
    line = " ".join(visible_text(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"
