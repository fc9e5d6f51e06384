"""The terminal's table and the parts of charts."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from derta.report import curve_text, render_table
from derta.report.charts import begin_bins
from derta.report.schema import check_results
from derta.report.svg import Frame, Point, Series, line_chart, nice_ticks, spread
from derta.report.table import measures
from tests.report.fake_results import full_results, minimal_results, wilson


def printed(results) -> list[str]:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(render_table(results))
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(
    "ends", [(-0.1234, -0.1777, -0.1011), (1.9304, 1.6581, 2.2283), (-12.345, -13.456, -11.234)]
)
def test_the_table_has_one_line_a_measure_and_fits_into_80_columns(ends):
    results = full_results()
    difference, low, high = ends
    for model in results["models"]:
        model["prefill"] = [{"k": k, "refused": wilson(1000, 1000)} for k in (0, 80, 1000)]
        model["helpful_loss"].update(difference=difference, low=low, high=high)
    lines = printed(results)
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    for measure in measures(check_results(results)):
        matching = [line for line in lines if line.startswith(measure.short)]
        assert len(matching) == 1
        for cell in measure.cells:
            assert cell.terminal.strip() in matching[0]


def test_every_share_has_its_interval_and_n():
    line = next(line for line in printed(full_results()) if line.startswith("refused, k = 20"))
    assert line.split()[4:] == ["0", "(0–7)", "50", "4", "(1–13)", "50", "98", "(90–100)", "50"]


def test_what_was_not_measured_is_a_dash():
    assert all(
        line.split()[-3:] == ["–"] * 3
        for line in printed(minimal_results())
        if line.startswith(("refused", "falsely", "AUC", "helpful"))
    )


def test_a_smoke_run_says_so_in_the_terminal():
    results = full_results()
    assert "SMOKE" not in "".join(printed(results))
    results["budget"] = "smoke"
    assert "SMOKE RUN" in "".join(printed(results))


def test_the_curve_in_blocks_rises_with_the_share():
    lines = curve_text(full_results()).splitlines()
    assert lines[0].split()[2:] == ["0", "5", "10", "20", "40", "80"]
    assert lines[3].split() == ["DeRTa", *["██"] * 6]
    assert lines[2].split()[2] == "██"
    assert lines[2].split()[-1] == "▁▁"
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("largest", "ticks"),
    [(90, [0, 25, 50, 75, 100]), (1, [0, 0.25, 0.5, 0.75, 1]), (0, [0, 1]), (float("nan"), [0, 1])],
)
def test_ticks_are_round_and_reach_the_largest_value(largest, ticks):
    assert nice_ticks(largest) == pytest.approx(ticks)


def test_labels_keep_clear_of_each_other_and_stay_inside():
    placed = spread([100.0, 99.0, 98.0, 10.0], 0.0, 100.0, 16.0)
    assert placed == [100.0, 84.0, 68.0, 10.0]


def test_each_refusal_is_in_exactly_one_bin():
    words = [0, 1, 4, 5, 9, 10, 19, 20, 39, 40, 1000]
    assert [count for _, count in begin_bins(words)] == [1, 2, 2, 2, 2, 2]
    assert sum(count for _, count in begin_bins(words)) == len(words)


def test_a_line_goes_through_its_points():
    frame = Frame(100, 100, 0, 0, 0, 0, (0.0, 10.0), (0.0, 1.0))
    points = (Point(10, 0.25, 0.2, 0.3), Point(0, 1.0, 0.9, 1.0))
    chart = line_chart(
        [Series("derta", "DeRTa", points)],
        frame,
        identifier="x",
        title="t",
        description="d",
        x_ticks=[],
        y_ticks=[],
        x_label="k",
    )
    assert 'd="M0.0 0.0L100.0 75.0"' in chart
    assert 'd="M0.0 0.0L100.0 70.0L100.0 80.0L0.0 10.0Z"' in chart
