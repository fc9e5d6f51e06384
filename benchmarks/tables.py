"""From single runs to ratios with their spread, and to tables.

A ratio is taken within a round, where both ran one after the other; shown are the median over the
rounds, the lowest and the highest.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.table import Table

__all__ = ["markdown", "report", "spread", "terminal"]

Run = dict[str, Any]
GIGABYTE = 1e9
SAME_LOSS = 2e-3
"""Relative difference of a step's loss above which two contestants didn't train the same."""


def report(runs: Sequence[Run], machine: dict[str, Any]) -> dict[str, Any]:
    """Build what `benchmarks/results/latest.json` holds."""
    workloads = list(dict.fromkeys(run["workload"] for run in runs))
    ratios: dict[str, dict[str, Any]] = {
        "triples_per_second_vs_trl": {},
        "triples_per_second_vs_authors": {},
        "peak_memory_vs_trl": {},
        "share_of_floor": {},
    }
    for workload in workloads:
        name = workload.replace(", short", "").replace(", ", "_")
        chosen = [run for run in runs if run["workload"] == workload]
        for other, group, key in (
            ("trl_default", "triples_per_second_vs_trl", name),
            ("trl_best", "triples_per_second_vs_trl", f"{name}_best"),
            ("authors", "triples_per_second_vs_authors", name),
        ):
            _put(ratios[group], key, _paired(chosen, other, lambda a, b: _seconds(b) / _seconds(a)))
        for other, key in (("trl_default", name), ("trl_best", f"{name}_best")):
            memory = _paired(chosen, other, lambda a, b: a["peak_bytes"] / b["peak_bytes"])
            _put(ratios["peak_memory_vs_trl"], key, memory)
        shares = [
            sum(run["operations"]) / run["rate"] / sum(run["seconds"])
            for run in chosen
            if "rate" in run
        ]
        _put(ratios["share_of_floor"], name, spread(shares))
    return {
        "machine": machine,
        "ratios": ratios,
        "contestants": {
            workload: _contestants([run for run in runs if run["workload"] == workload])
            for workload in workloads
        },
    }


def terminal(report: dict[str, Any]) -> Table:
    """Draw the contestants' table, 80 columns wide."""
    table = Table(title="Training speed and memory", box=None, pad_edge=False)
    for heading in ("", "triples/s", "s a step", "tokens", "GB", "vs TRL"):
        table.add_column(heading, justify="left" if not heading else "right")
    for workload, rows in report["contestants"].items():
        table.add_row(f"[bold]{workload}[/bold]")
        for name, row in rows.items():
            table.add_row(f"  {name}", *_cells(row))
    return table


def markdown(report: dict[str, Any], workload: str) -> str:
    """Write one workload's table for the docs."""
    lines = [
        "| | triples a second | seconds a step | tokens a step | peak GB | times TRL's speed |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in report["contestants"][workload].items():
        lines.append(f"| {name} | " + " | ".join(_cells(row)) + " |")
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> list[str]:
    ratio = row.get("vs_trl_default")
    return [
        f"{row['triples_per_second']['median']:.2f}",
        f"{row['seconds_a_step']['median']:.2f}",
        f"{row['tokens_a_step']:.0f}",
        f"{row['peak_bytes']['median'] / GIGABYTE:.2f}",
        "" if ratio is None else f"{ratio['median']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})",
    ]


def _contestants(runs: Sequence[Run]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    reference = next((run for run in runs if run["contestant"] == "trl_default"), None)
    for name in dict.fromkeys(run["contestant"] for run in runs):
        chosen = [run for run in runs if run["contestant"] == name]
        row: dict[str, Any] = {
            "options": chosen[0]["options"],
            "rounds": len(chosen),
            "triples_per_second": spread(
                [run["triples"] * len(run["seconds"]) / _seconds(run) for run in chosen]
            ),
            "seconds_a_step": spread([_seconds(run) / len(run["seconds"]) for run in chosen]),
            "tokens_a_step": statistics.mean(chosen[0]["tokens"]),
            "peak_bytes": spread([run["peak_bytes"] for run in chosen]),
            "losses": chosen[0]["losses"],
        }
        against = [
            _seconds(other) / _seconds(run)
            for run in chosen
            for other in runs
            if other["contestant"] == "trl_default" and other["round"] == run["round"]
        ]
        _put(row, "vs_trl_default", spread(against))
        if reference is not None:
            pairs = zip(chosen[0]["losses"], reference["losses"], strict=True)
            row["same_losses"] = all(abs(a - b) <= SAME_LOSS * abs(b) for a, b in pairs)
        found[name] = row
    return found


def _paired(
    runs: Sequence[Run], other: str, ratio: Callable[[Run, Run], float]
) -> dict[str, float] | None:
    ours = {run["round"]: run for run in runs if run["contestant"] == "derta"}
    theirs = {run["round"]: run for run in runs if run["contestant"] == other}
    return spread([ratio(ours[number], theirs[number]) for number in sorted(ours.keys() & theirs)])


def spread(values: Iterable[float]) -> dict[str, float] | None:
    """Return median, lowest, highest and number; None without values."""
    values = list(values)
    if not values:
        return None
    return {
        "median": statistics.median(values),
        "low": min(values),
        "high": max(values),
        "rounds": len(values),
    }


def _put(into: dict[str, Any], key: str, value: Any) -> None:
    if value is not None:
        into[key] = value


def _seconds(run: Run) -> float:
    return float(sum(run["seconds"]))
