"""Every chart of the page as a file of its own: SVG, and PNG at twice its size.

An SVG has its own style on a white ground and needs nothing else. PNG files are drawn by resvg, in
the optional package `resvg-py`, with a font of the system or the one that matplotlib ships; it is
imported here alone. Covered: all charts of a page, single pictures as PNG. Not covered: tables.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from derta.errors import DataError, DertaError
from derta.files import whole_file, write_atomically
from derta.report.evaluation_page.charts import (
    attacks_chart,
    begin_chart,
    depth_chart,
    exposure_chart,
    frontier_chart,
)
from derta.report.evaluation_page.charts_tokens import (
    divergence_chart,
    probability_chart,
    rank_chart,
    roc_chart,
    stops_chart,
)
from derta.report.evaluation_page.collect import PageData
from derta.report.evaluation_page.drawing import Chart, file_shape
from derta.report.evaluation_page.printed import shortened
from derta.report.evaluation_page.series import SERIES_LIGHT, series_style
from derta.report.svg import standalone

__all__ = ["PNG_SCALE", "chart_file", "page_charts", "png_bytes", "write_plots", "write_png"]

PNG_SCALE = 2
"""Pixels of a PNG for each of the picture's."""

_INSTALL = "pip install 'derta[plots]', or pip install resvg-py matplotlib"
_FAMILY = "DejaVu Sans"
_MONOSPACE = "DejaVu Sans Mono"


def page_charts(data: PageData) -> Iterator[Chart]:
    """List the charts of a page, in its order."""
    found = [
        depth_chart(data),
        attacks_chart(data),
        begin_chart(data, "words"),
        begin_chart(data, "tokens"),
        *(probability_chart(data, name) for name in data.names),
        *(rank_chart(data, name) for name in data.names),
        roc_chart(data),
        stops_chart(data, "harmful"),
        stops_chart(data, "benign"),
        divergence_chart(data, "harmful"),
        divergence_chart(data, "benign"),
        exposure_chart(data),
        frontier_chart(data),
    ]
    return (chart for chart in found if chart is not None)


def chart_file(chart: Chart, *, smoke: bool = False) -> str:
    """Write a chart as an SVG document on a white ground.

    Args:
        chart: of a page.
        smoke: say in it that its figures mean nothing.
    """
    drawn = chart.draw(file_shape())
    size = re.search(r'viewBox="0 0 (\d+) (\d+)"', drawn)
    assert size is not None  # every chart has one
    note = f"SMOKE RUN, figures mean nothing. {chart.note}" if smoke else chart.note
    return standalone(
        drawn,
        heading=shortened(chart.heading, 64),
        note=shortened(note, 118),
        width=float(size[1]),
        height=float(size[2]),
        more_style=series_style(),
        more_colours=SERIES_LIGHT,
    )


def write_plots(data: PageData, folder: Path) -> list[Path]:
    """Write every chart as SVG and PNG.

    Args:
        data: of the page.
        folder: is made if need be.

    Returns:
        The files, SVG before PNG.

    Raises:
        DertaError: what draws PNG files isn't installed; the SVG files are there then.
        DataError: a file can't be written.
    """
    drawn = {chart.name: chart_file(chart, smoke=data.smoke) for chart in page_charts(data)}
    try:
        written = []
        for name, svg in drawn.items():
            written.append(folder / f"{name}.svg")
            write_atomically(written[-1], svg)
    except OSError as error:
        raise _unwritable(folder, error) from error
    for name, svg in drawn.items():
        written.append(folder / f"{name}.png")
        write_png(svg, written[-1])
    return written


def write_png(svg: str, path: Path) -> None:
    """Draw an SVG document into a PNG file.

    Raises:
        DertaError: what draws it isn't installed, or finds no font.
        DataError: the file can't be written.
    """
    content = png_bytes(svg)
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> DataError:
    reason = (error.strerror or "can't be written").lower()
    return DataError.of(path, reason, "Name a place that can be written")


def png_bytes(svg: str) -> bytes:
    """Draw an SVG document as PNG at twice its size.

    Raises:
        DertaError: resvg-py isn't installed, or there is no font: a chart without words would lie.
    """
    if not _words_show():
        raise DertaError(
            "PNG files need a font and this machine has none. " + _INSTALL + " (it brings one)"
        )
    return _drawn(svg)


@functools.cache
def _words_show() -> bool:
    """Whether text leaves marks: without any font it silently doesn't."""
    empty = '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="20">{}</svg>'
    word = '<text x="2" y="15" font-size="14" font-family="sans-serif">derta</text>'
    return _drawn(empty.format(word)) != _drawn(empty.format(""))


def _drawn(svg: str) -> bytes:
    try:
        resvg: Any = importlib.import_module("resvg_py")
    except ImportError as error:
        raise DertaError(f"PNG files need resvg-py. {_INSTALL}. SVG files need nothing") from error
    found = resvg.svg_to_bytes(
        svg_string=svg,
        zoom=PNG_SCALE,
        font_files=_fonts(),
        font_family=_FAMILY,
        sans_serif_family=_FAMILY,
        monospace_family=_MONOSPACE,
    )
    return bytes(found)


@functools.cache
def _fonts() -> list[str]:
    """Find the font files that matplotlib ships, without importing it."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    names = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf")
    return [str(folder / name) for name in names if (folder / name).is_file()]
