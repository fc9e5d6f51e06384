"""The table of `derta analyse` says what the analysis says, in 80 columns, and what is missing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from derta.analysis.analyse import analyse
from derta.report.analysis_table import analysis_rows, print_analysis
from derta.report.evaluation_table import figure
from tests.analysis.making import benign, outcome, reading, refusal

CALM = [0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01]
LOUD = [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
DIVERGENCE = [2.0, 2.0, 2.0, 2.0, 1.0, 0.5, 0.5]


def analysis(*models: str, **changes: Any) -> dict[str, Any]:
    outcomes, readings = [], []
    for model in models or ("untouched", "derta"):
        deep = model != "untouched"
        for question in range(4):
            words = 2 if question < 3 else 40
            outcomes += [
                refusal(question, words, model=model, exposed_words=words)
                if deep
                else outcome(question, model=model, exposed_words=30),
                outcome(
                    question, model=model, scenario="prefill", cell="k=20", refused=deep,
                    exposed_words=1,
                ),
            ]  # fmt: skip
            divergence = DIVERGENCE if deep else None
            shown = LOUD if deep else CALM
            readings += [
                reading(question, shown, model=model, divergence=divergence),
                benign(question, LOUD if question == 0 and deep else CALM, model=model),
            ]
    return {**analyse(outcomes, readings, minimum=1), **changes}


def printed(values: dict[str, Any], *, width: int = 80, smoke: bool = False) -> str:
    stream = io.StringIO()
    print_analysis(values, Console(file=stream, width=width), smoke=smoke)
    return stream.getvalue()


def row(values: dict[str, Any], label: str, model: str) -> str | None:
    return dict(analysis_rows(values, [model]))[label][0]


def test_every_figure_is_that_of_the_analysis() -> None:
    values = analysis()
    place = values["refusal_position"]["derta"]["words"]
    assert row(values, "refusals: in 5 words", "derta") == figure(place["within_first_5"])
    assert row(values, "refusals: after 30", "derta") == figure(place["after_30"])
    assert place["within_first_5"]["count"] == 3
    assert place["after_30"]["count"] == 1
    (point,) = values["prefill"]["derta"]["points"]
    assert row(values, "refused at k = 20", "derta") == figure(point["refused"])
    area = values["detection"]["derta"]["auc"]
    assert row(values, "ROC area, %", "derta") == figure({**area, "share": area["value"], "n": 8})
    stops = row(values, "false stops", "derta")
    assert stops is not None
    assert stops.split()[0] == "25"
    change = row(values, "change in 5 tokens", "derta")
    assert change is not None
    assert change.split()[0] == "90"
    exposed = values["exposure"]["derta"]["all"]
    shown = row(values, "exposed words, mean", "derta")
    assert shown is not None
    assert shown.split()[0] == f"{exposed['mean']:.1f}"
    assert shown.split()[-1] == str(exposed["n"])


def test_false_stops_where_few_texts_go_on_are_counted() -> None:
    short = [benign(n, [0.1] * 50) for n in range(25)]
    late = [0.1] * 100 + [0.9] + [0.1] * 99
    values = analyse([], [*short, *(benign(n, late) for n in range(25, 40))], minimum=20)
    shown = row(values, "false stops", "derta")
    assert shown is not None
    assert (shown.split()[0], shown.split()[-1]) == ("38", "40")


def test_a_model_without_a_figure_has_a_dash_and_is_named() -> None:
    values = analysis(notes=["two: not read token by token: it is gone"])
    text = printed(values)
    assert row({**values}, "refused at k = 20", "untouched") is not None
    names = [label for label, _ in analysis_rows(values, ["untouched"])]
    assert "change in 5 tokens" not in names
    missing = (
        "untouched: no figure for refusals: in 5 words, refusals: after 30, change in 5 tokens"
    )
    assert missing in " ".join(text.split())
    assert "it is gone" in text


@pytest.mark.parametrize("count", [1, 3, 4])
def test_the_table_fits_eighty_columns_whatever_the_models_are_called(count: int) -> None:
    names = [f"a-rather-long-name-of-a-model-{n}\x1b[2J[red]" for n in range(count)]
    text = printed(analysis(*names))
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "\x1b[2J" not in text
    assert text.count("ROC area") == 1 + (count + 2) // 3


def test_a_smoke_run_says_so() -> None:
    assert "SMOKE RUN" in printed(analysis(), smoke=True)
    assert "SMOKE RUN" not in printed(analysis())


def test_large_means_lose_their_decimals_and_stay_in_their_column() -> None:
    values = analysis()
    values["exposure"]["derta"]["all"] |= {
        "mean": 512.34,
        "low": 480.2,
        "high": 544.4,
        "n": 12345,
    }
    shown = row(values, "exposed words, mean", "derta")
    assert shown is not None
    assert len(shown) <= 19
    assert shown.startswith("512 (480–544) 12345")


def test_an_analysis_of_nothing_is_still_a_table(tmp_path: Path) -> None:
    del tmp_path
    assert "seed" in printed({**analyse([], []), "notes": []})
