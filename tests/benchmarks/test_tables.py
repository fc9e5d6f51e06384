"""Ratios are taken within a round; what is written is their median and their spread."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from benchmarks.tables import markdown, report, terminal


def _run(contestant: str, number: int, seconds: float, **more: Any) -> dict[str, Any]:
    run: dict[str, Any] = {
        "workload": "safety, short",
        "contestant": contestant,
        "round": number,
        "options": {},
        "seconds": [seconds, seconds],
        "losses": [2.0, 1.0],
        "tokens": [100, 300],
        "peak_bytes": 1_000_000_000,
        "triples": 8,
    }
    return run | more


RUNS = [
    _run("trl_default", 0, 10.0, peak_bytes=2_000_000_000),
    _run("derta", 0, 2.0, operations=[6.0, 6.0], rate=4.0),
    # The machine was half as fast in this round; the ratio doesn't mind.
    _run("derta", 1, 4.0, operations=[6.0, 6.0], rate=2.0),
    _run("trl_default", 1, 24.0, peak_bytes=2_000_000_000),
    _run("trl_best", 0, 6.0, losses=[2.0, 1.1]),
]


def test_a_ratio_is_the_median_over_the_rounds_with_its_spread() -> None:
    ratios = report(RUNS, {})["ratios"]
    speed = ratios["triples_per_second_vs_trl"]
    assert speed["safety"] == {"median": 5.5, "low": 5.0, "high": 6.0, "rounds": 2}
    assert speed["safety_best"]["median"] == 3.0
    assert ratios["peak_memory_vs_trl"]["safety"]["median"] == 0.5
    # 6 operations at 4 a second are 1.5 of 2 seconds; 6 at 2 a second are 3 of 4.
    assert ratios["share_of_floor"]["safety"]["median"] == pytest.approx(0.75)


def test_contestants_that_trained_something_else_are_marked() -> None:
    found = report(RUNS, {})["contestants"]["safety, short"]
    assert found["derta"]["same_losses"] is True
    assert found["trl_best"]["same_losses"] is False


def test_the_tables_show_speed_tokens_and_memory() -> None:
    found = report(RUNS, {})
    text = markdown(found, "safety, short")
    assert "| derta | 3.00 | 3.00 | 200 | 1.00 | 5.50 (5.00–6.00) |" in text
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal(found))
    shown = console.export_text()
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "derta" in shown
