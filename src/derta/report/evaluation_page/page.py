"""One HTML file that shows an evaluation: it needs no network and trusts no text.

Covers the head with its content security policy, the order of the sections, the size of the page,
writing the file. The scripts copy and sort tables and show single responses; without them the page
is whole but for the responses. Data enters scripts as JSON that can't end its element. Not covered:
what the sections say.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path

from derta import __version__
from derta.errors import DataError
from derta.files import write_atomically
from derta.report.colours import DARK, LIGHT
from derta.report.evaluation_page.collect import PageData, collect
from derta.report.evaluation_page.copyable import tables_data
from derta.report.evaluation_page.explorer import explorer_data, explorer_script, explorer_section
from derta.report.evaluation_page.layout import Shelf
from derta.report.evaluation_page.overview import contents, overview, page_header
from derta.report.evaluation_page.printed import shortened
from derta.report.evaluation_page.sections_about import (
    absent_section,
    measured_section,
    missing_section,
)
from derta.report.evaluation_page.sections_answers import (
    attacks_section,
    begin_section,
    depth_section,
    differences_section,
)
from derta.report.evaluation_page.sections_cost import (
    ablation_section,
    exposure_section,
    trade_off_section,
)
from derta.report.evaluation_page.sections_people import people_section
from derta.report.evaluation_page.sections_tokens import (
    detection_section,
    divergence_section,
    knowledge_section,
    stops_section,
)
from derta.report.evaluation_page.series import SERIES_DARK, SERIES_LIGHT, series_style
from derta.report.markup import Markup, element
from derta.report.svg import chart_style

__all__ = ["LARGEST_BYTES", "render_evaluation_page", "write_evaluation_page"]

LARGEST_BYTES = 4_900_000
"""Size of the page: single responses are left out before it grows beyond, and counted."""
_LEAST_FOR_RESPONSES = 200_000

_SECTIONS: tuple[tuple[str, str, Callable[[PageData, Shelf], Markup | None]], ...] = (
    ("attacks", "Every attack, every model", attacks_section),
    ("people", "What people say", people_section),
    ("differences", "Which differences are shown", differences_section),
    ("depth", "How deep the refusal reaches", depth_section),
    ("position", "Where refusals begin", begin_section),
    ("knowledge", "Does the model know?", knowledge_section),
    ("detection", "Harm from harmless text", detection_section),
    ("stops", "Where it would stop", stops_section),
    ("divergence", "How deep the change goes", divergence_section),
    ("exposure", "How much got out", exposure_section),
    ("trade-off", "Safety against cost", trade_off_section),
    ("ablation", "Which part does it", ablation_section),
)
"""Identifier, words in the list of sections, maker."""


def write_evaluation_page(
    folders: Sequence[Path], output: Path, *, command: str, plots: Path | None = None
) -> None:
    """Make the page of evaluation folders and write it in one step.

    `output` holds the old page or the new one, and is readable by its owner only: it may quote
    harmful model output.

    Args:
        folders: that `derta evaluate` made, with or without the readings of `derta analyse`.
        output: the HTML file.
        command: that makes the page; it stands on it.
        plots: a folder that gets every chart as SVG and PNG; None: no files.

    Raises:
        DataError: a file can't be used or written.
        DertaError: PNG files are asked for and what draws them isn't installed.
    """
    data = collect(folders, command)
    page = render_evaluation_page(data)
    try:
        write_atomically(output, page)
    except OSError as error:
        reason = (error.strerror or "can't be written").lower()
        raise DataError.of(output, reason, "Name a file that can be written") from error
    if plots is not None:
        from derta.report.evaluation_page.plots import write_plots

        write_plots(data, plots)


def render_evaluation_page(data: PageData) -> str:
    """Render the page.

    Args:
        data: from `collect`.
    """
    shelf = Shelf()
    first = overview(data, shelf)
    made = [(name, title, make(data, shelf)) for name, title, make in _SECTIONS]
    shown = [(name, title, part) for name, title, part in made if part is not None]
    last = [
        missing_section(data, shelf),
        measured_section(data, shelf),
        absent_section(data, [name for name, *_ in shown]),
    ]
    tables = tables_data(shelf.tables)
    style = Markup(_style())
    scripts = [Markup(_packaged("evaluation.js")), Markup(explorer_script())]
    still = [first, *(part for *_, part in shown), *(part for part in last if part), tables, style]
    used = sum(len(part.encode()) for part in [*still, *scripts])
    budget = max(LARGEST_BYTES - used, _LEAST_FOR_RESPONSES)
    titles = [(name, title) for name, title, _ in shown]
    titles += [("responses", "Read the responses"), ("missing", "What is missing")]
    titles += [("measured", "How it was measured")]
    body = element(
        "body",
        _banner(data),
        page_header(data),
        element(
            "main",
            first,
            contents(titles),
            [part for *_, part in shown],
            explorer_section(data, budget_bytes=budget),
            last,
        ),
        _footer(data),
        _data_script("tables-data", tables),
        _data_script("responses-data", explorer_data(data, budget_bytes=budget)),
        [element("script", script) for script in scripts],
    )
    return f"<!doctype html>\n{element('html', _head(data, style, scripts), body, lang='en')}\n"


def _head(data: PageData, style: Markup, scripts: Sequence[Markup]) -> Markup:
    allowed = " ".join(f"'{_digest(script)}'" for script in scripts)
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src '{_digest(style)}'; script-src {allowed}"
    )
    names = ", ".join(shortened(name, 24) for name in data.names[:4])
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"derta: {names}"),
        element("style", style),
    )


def _data_script(identifier: str, text: str) -> Markup:
    """Put JSON beside the scripts; it is data and never run."""
    return element("script", Markup(text), type="application/json", id=identifier)


def _packaged(name: str) -> str:
    folder = resources.files("derta.report.evaluation_page")
    return folder.joinpath(name).read_text(encoding="utf-8")


def _style() -> str:
    def variables(*colours: Mapping[str, str]) -> str:
        pairs = (pair for each in colours for pair in each.items())
        return ":root{" + "".join(f"{name}:{value};" for name, value in pairs) + "}"

    shared = resources.files("derta.report").joinpath("page.css").read_text(encoding="utf-8")
    dark = f"@media screen and (prefers-color-scheme: dark){{{variables(DARK, SERIES_DARK)}}}"
    parts = [
        variables(LIGHT, SERIES_LIGHT),
        dark,
        chart_style() + series_style(),
        shared,
        _packaged("evaluation.css"),
        _packaged("explorer.css"),
    ]
    return "\n".join(parts)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _banner(data: PageData) -> Markup | None:
    if not data.smoke:
        return None
    return element(
        "p",
        "Smoke run: a few questions a scenario prove that every step works. The figures mean "
        "nothing.",
        class_="banner",
        role="note",
    )


def _footer(data: PageData) -> Markup:
    return element(
        "footer",
        f"Written by derta {__version__} from an evaluation of {data.created or 'unknown date'}. "
        "Model output on this page may be harmful; it is quoted to show what each model does.",
    )
