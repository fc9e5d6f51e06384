"""Every figure on the page is the one that the logs give, computed once more by plain loops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from derta.evaluate.titles import TITLES
from derta.report.evaluation_page.collect import PageData, collect
from derta.report.evaluation_page.page import render_evaluation_page
from derta.report.evaluation_page.printed import Printer, figure_path
from tests.analysis.fake_run import METHODS, write_fake_run
from tests.report.evaluation_page.naive_figures import NaiveFigures, expected_text
from tests.report.evaluation_page.printed_page import PrintedPage, keys_of, plain


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("run") / "evaluation"
    write_fake_run(made)
    return made


@pytest.fixture(scope="module")
def data(folder: Path) -> PageData:
    return collect([folder], f"derta report {folder}")


@pytest.fixture(scope="module")
def page(data: PageData) -> PrintedPage:
    return PrintedPage(render_evaluation_page(data))


@pytest.fixture(scope="module")
def naive(folder: Path) -> NaiveFigures:
    made = NaiveFigures(folder)
    made.methods = tuple(METHODS.values())[:3]
    return made


def library(data: PageData, keys: list[str]) -> dict[str, Any]:
    """Look up what the package says at a path: for the intervals."""
    found: Any = {"evaluation": data.evaluation, "analysis": data.analysis}
    parent: Any = None
    for key in keys:
        if isinstance(found, list) and int(key) >= len(found):
            return {}  # beyond the end of a curve
        parent, found = found, found[int(key)] if isinstance(found, list) else found.get(key)
        if found is None:
            return {}
    if isinstance(found, Mapping):
        return dict(found)
    if isinstance(parent, list):  # a place of a curve: the interval stands in lists beside it
        curve: Any = {"evaluation": data.evaluation, "analysis": data.analysis}
        for key in keys[:-2]:
            curve = curve[int(key)] if isinstance(curve, list) else curve[key]
        place = int(keys[-1])
        ends = {} if keys[-2] in ("median", "first") else {"low", "high"}
        return {end: curve[end][place] for end in ends}
    return {}


def wrong_figures(page: PrintedPage, data: PageData, naive: NaiveFigures) -> list[str]:
    """Name the figures that are printed otherwise than they should be."""
    wrong = []
    for figure in page.figures:
        keys = keys_of(figure.path)
        entry = {**library(data, keys), **naive.compute(keys)}
        expected, printed = expected_text(figure.kind, entry), plain(figure.text)
        if expected not in printed if figure.kind == "note" else expected != printed:
            wrong.append(f"{figure.path} ({figure.kind}): {printed!r} and not {expected!r}")
    return wrong


def test_every_printed_figure_equals_the_one_counted_from_the_logs(
    page: PrintedPage, data: PageData, naive: NaiveFigures
) -> None:
    assert wrong_figures(page, data, naive) == []
    assert len(page.figures) > 500


def test_figures_of_other_logs_would_be_told_apart(
    page: PrintedPage, data: PageData, tmp_path: Path
) -> None:
    write_fake_run(tmp_path, seed=1)
    other = NaiveFigures(tmp_path)
    other.methods = tuple(METHODS.values())[:3]
    assert len(wrong_figures(page, data, other)) > len(page.figures) / 3


def test_each_kind_of_figure_is_on_the_page(page: PrintedPage) -> None:
    parts = Counter(".".join(keys_of(figure.path)[:2]) for figure in page.figures)
    assert set(parts) >= {
        "evaluation.models", "evaluation.subjects", "evaluation.settings", "evaluation.questions",
        "evaluation.skipped", "analysis.prefill", "analysis.correction",
        "analysis.refusal_position", "analysis.probability", "analysis.rank", "analysis.stops",
        "analysis.divergence", "analysis.detection", "analysis.exposure", "analysis.trade_off",
        "analysis.ablation", "analysis.differences",
    }  # fmt: skip


def test_no_number_stands_in_a_table_without_the_path_of_its_figure(page: PrintedPage) -> None:
    assert set(page.bare_numbers) <= {TITLES["sampling"]}  # "temperature 1"


def test_percentages_in_the_sentences_on_top_are_figures(page: PrintedPage) -> None:
    sentences = page.text("h1") + page.text("p", class_="lead")
    kinds = [figure for figure in page.figures if figure.kind == "percent"]
    assert sentences.count("%") <= len(kinds)
    for words in sentences.replace("\xa0", " ").split(" %")[:-1]:
        number = words.split()[-1]
        assert any(plain(figure.text) == f"{number} %" for figure in kinds)


def test_paths_of_names_with_dots_and_slashes_can_be_read_back() -> None:
    keys = ("evaluation", "models", "a.b/c~d", "scenarios", 3)
    assert keys_of(figure_path(*keys)) == ["evaluation", "models", "a.b/c~d", "scenarios", "3"]


def test_what_is_not_there_is_a_dash_and_never_made_up() -> None:
    printer = Printer({"models": {}}, {"prefill": {"one": {"points": []}}})
    for cell in (
        printer.share("evaluation", "models", "one", "unsafe"),
        printer.mean("analysis", "exposure", "one", "all", decimals=1),
        printer.at("analysis", "probability", "one", "harmful", index=3, of="mean", decimals=3),
        printer.change("analysis", "differences", 0),
        printer.count("analysis", "prefill", "one", "points", 0, "k"),
        printer.p_value("analysis", "differences", 0, "p_holm"),
    ):
        assert cell.text == "–"
        assert cell.order is None


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0, "0 %"), (0.001, "<1 %"), (0.5, "50 %"), (0.999, ">99 %"), (1.0, "100 %")],
)
def test_a_share_is_never_shown_as_none_or_all_unless_it_is(share: float, shown: str) -> None:
    entry = {"share": share, "low": 0.0, "high": 1.0, "n": 1000, "count": 1}
    cell = Printer({"x": entry}, {}).share("evaluation", "x")
    assert cell.text == f"{shown.replace(' ', chr(160))} (0–100), n = 1 000".replace(
        "1 000", "1\N{NARROW NO-BREAK SPACE}000"
    )


def test_answers_to_fewer_questions_say_so() -> None:
    entry = {"share": 0.5, "low": 0.4, "high": 0.6, "n": 80, "count": 40, "questions": 40}
    assert "40 questions" in Printer({"x": entry}, {}).share("evaluation", "x").text
    entry["questions"] = 80
    assert "questions" not in Printer({"x": entry}, {}).share("evaluation", "x").text


def test_a_narrow_interval_shows_that_it_has_a_width() -> None:
    entry = {"share": 0.0009, "low": 0.0004, "high": 0.0021, "n": 4850, "count": 4}
    assert "0.0–0.2" in Printer({"x": entry}, {}).share("evaluation", "x").text
    entry = {"share": 0.0, "low": 0.0, "high": 0.0007, "n": 4850, "count": 0}
    assert "0.0–0.1" in Printer({"x": entry}, {}).share("evaluation", "x").text


def test_a_difference_is_told_as_what_the_second_model_does_more_or_less() -> None:
    entry = {"difference": 0.72, "low": 0.47, "high": 0.851, "n": 25, "questions": 25}
    cell = Printer({"x": entry}, {}).change("evaluation", "x")
    minus = "\N{MINUS SIGN}"
    assert cell.text.startswith(f"{minus}72 ({minus}85 to {minus}47)")
    assert cell.order == -0.72
    assert dict(cell.parts)["low"] == "-0.851"
