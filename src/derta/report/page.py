"""The report: one HTML file that needs no network and trusts no text.

Covers the head with its content security policy, the order of the page, and writing the file.
Sections are in sections.py and examples.py. The only script shows blurred text on request;
without it the page is whole and the harmful text stays blurred. No data enters the script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from derta.errors import InputProblem
from derta.files import write_atomically
from derta.report.charts import depth_chart
from derta.report.colours import DARK, LIGHT
from derta.report.examples import examples_section
from derta.report.figures import DASH, headline, price
from derta.report.markup import Markup, element, visible_text
from derta.report.schema import Results, ResultsError, check_results
from derta.report.sections import (
    begin_section,
    bounds_section,
    measured_section,
    measures_section,
    probability_section,
    training_section,
)
from derta.report.svg import chart_style

__all__ = ["render_report", "write_report"]


def render_report(results: Mapping[str, Any], source: str = "results.json") -> str:
    """Render the report as one self-contained HTML page.

    Args:
        results: the content of a results.json.
        source: the name that errors give to it.

    Raises:
        ResultsError: the results don't follow the schema; every key is named.
    """
    checked = check_results(results, source)
    style, script = Markup(_style()), Markup(_packaged("page.js"))
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"DeRTa: {checked.base_model or 'report'}"),
        element("style", style),
    )
    body = element("body", _banner(checked), _header(checked), _main(checked), _footer(checked))
    return f"<!doctype html>\n{element('html', head, body, element('script', script), lang='en')}\n"


def write_report(results: Mapping[str, Any], path: Path, source: str = "results.json") -> None:
    """Render the report and write it in one step: `path` holds the old page or the new one.

    The file is readable by its owner only, for it may quote harmful model output.

    Raises:
        ResultsError: the results don't follow the schema, or the page can't be written.
    """
    page = render_report(results, source)
    try:
        write_atomically(path, page)
    except OSError as error:
        reason = (error.strerror or "can't be written").lower()
        problem = InputProblem(str(path), reason, "Name a file that can be written")
        raise ResultsError([problem]) from error


def _packaged(name: str) -> str:
    return resources.files("derta.report").joinpath(name).read_text(encoding="utf-8")


def _style() -> str:
    def variables(colours: Mapping[str, str]) -> str:
        return ":root{" + "".join(f"{name}:{value};" for name, value in colours.items()) + "}"

    dark = f"@media screen and (prefers-color-scheme: dark){{{variables(DARK)}}}"
    return f"{variables(LIGHT)}\n{dark}\n{chart_style()}{_packaged('page.css')}"


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _banner(results: Results) -> Markup | None:
    if results.budget != "smoke":
        return None
    return element(
        "p",
        "Smoke run: it proves that every step works. It trains and measures on a handful of "
        "rows, so its figures mean nothing.",
        class_="banner",
        role="note",
    )


def _header(results: Results) -> Markup:
    paid = price(results)
    return element(
        "header",
        element("a", "Skip to the table of all measures", href="#measures", class_="skip"),
        element("p", f"DeRTa · {results.base_model or 'model not named'}", class_="kicker"),
        element("h1", headline(results)),
        element("p", paid, class_="lead") if paid else None,
    )


def _main(results: Results) -> Markup:
    harmful = results.test.get("harmful")
    count = f" ({harmful} in the test split)" if harmful is not None else ""
    figure = element(
        "figure",
        element("p", "Share of harmful requests refused", class_="figure-title"),
        element("div", depth_chart(results), class_="wide"),
        element(
            "div", depth_chart(results, narrow=True, identifier="depth-narrow"), class_="narrow"
        ),
        element(
            "figcaption",
            f"Before the model answers a harmful question{count}, the first k tokens of a harmful "
            "answer are put into its mouth. Line: share that it then refuses. Shade: 95 % "
            "interval. The figures are in the first rows of the table below.",
        ),
        class_="depth",
    )
    return element(
        "main",
        figure,
        measures_section(results),
        bounds_section(results),
        probability_section(results),
        begin_section(results),
        examples_section(results),
        training_section(results),
        measured_section(results),
    )


def _footer(results: Results) -> Markup:
    version = visible_text(results.derta_version or DASH)
    return element(
        "footer",
        f"Written by derta {version} from results.json of {results.created or DASH}. Model output "
        "on this page may be harmful; it is quoted to show what each model does.",
    )
