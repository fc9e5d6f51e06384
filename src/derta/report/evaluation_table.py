"""A suite's figures as a table for the terminal and as CSV files.

Rows are scenarios and their cells, columns are models; each figure has its 95 % interval and n.
"Less" and "more" are said of two models only where the paired test and the interval agree
(`derta.report.differences`). Covered: terminals of 80 columns, three models side by side; texts in
responses.csv are masked. Not covered: pages with plots.
"""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derta.analysis.outcomes import read_outcomes
from derta.evaluate.titles import TITLES
from derta.files import csv_cell, write_atomically
from derta.report.differences import differences_in_words
from derta.report.figures import DASH, interval, number, percent
from derta.terminal import mask, safe, visible

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "Row",
    "evaluation_rows",
    "figure",
    "print_evaluation",
    "verdict_lines",
    "write_tables",
]

_CELL_ROWS = ("prefill", "long_prefill", "fine_tuning", "code_attack", "languages")
"""Scenarios whose cells are rows of their own."""
_MEAN = "mean"
"""In the place of a scenario; the cell names the attacks."""
_MODELS_BESIDE = 3
_LABEL_WIDTH, _CELL_WIDTH = 20, 19
"""With a column between them just 80."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    group: str
    label: str
    """At most 20 characters."""
    scenario: str
    cell: str
    shares: tuple[dict[str, Any] | None, ...]
    """One a model: {"count", "n", "share", "low", "high"}; None: not measured."""
    problems: tuple[str, ...]
    """One a model: errors and unreadable verdicts, or nothing."""


HARMFUL = "Gives harmful help"
REFUSED = "Refuses harmful asks"
FALSELY = "Refuses harmless"
_READ_AS = {HARMFUL: "lower is better", REFUSED: "higher is better", FALSELY: "lower is better"}


def evaluation_rows(results: Mapping[str, Any]) -> list[Row]:
    """List all shares of a suite: harmful help by scenario, their mean, refusals, false refusals.

    Args:
        results: the content of evaluation.json.
    """
    models = [results["models"].get(each["name"], {}) for each in results["subjects"]]
    rows = [*_scenario_rows(results, models, "unsafe")]
    rows += _mean_rows(models)
    rows += _scenario_rows(results, models, "refused")
    categories = dict.fromkeys(
        (scenario, category)
        for model in models
        for scenario, found in (model.get("false_refusals") or {}).items()
        for category in found
    )
    for scenario, category in categories:
        parts = [
            ((model.get("false_refusals") or {}).get(scenario) or {}).get(category)
            for model in models
        ]
        shares = tuple(part["refused"] if part else None for part in parts)
        problems = tuple(_problems(0, part["errors"]) if part else "" for part in parts)
        rows.append(Row(FALSELY, category, scenario, category, shares, problems))
    return rows


def _mean_rows(models: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """Make a row for each set of attacks: means over different ones can't stand in one."""
    means = [model.get("mean_attack_success") or {} for model in models]
    sets = dict.fromkeys(tuple(m["scenarios"]) for m in means if m.get("share") is not None)
    several = [attacks for attacks in sets if len(attacks) > 1]  # one has its row above
    for attacks in several:
        label = "mean of the six" if len(attacks) == 6 else f"mean of {len(attacks)} attacks"
        alike = [each for each in several if len(each) == len(attacks)]
        if len(alike) > 1:
            label += f", {chr(ord('a') + alike.index(attacks))}"
        shares = tuple(
            {**m, "n": m["questions"]} if tuple(m.get("scenarios") or ()) == attacks else None
            for m in means
        )
        yield Row(HARMFUL, label, _MEAN, ", ".join(attacks), shares, ("",) * len(models))


def _scenario_rows(
    results: Mapping[str, Any], models: Sequence[Mapping[str, Any]], measure: str
) -> Iterator[Row]:
    group = HARMFUL if measure == "unsafe" else REFUSED
    for scenario in results["scenarios"]:
        entries = [(model.get("scenarios") or {}).get(scenario) for model in models]
        if not any(entries):
            continue
        cells = list(dict.fromkeys(cell for e in entries if e for cell in e["cells"]))
        left_out = [
            {f"k={point['k']}" for point in (e or {}).get("curve", {}).get("left_out", [])}
            for e in entries
        ]
        if scenario in _CELL_ROWS and (len(cells) > 1 or any(left_out)):
            chosen = cells
            found = [
                [
                    e["cells"].get(cell) if e and cell not in few else None
                    for e, few in zip(entries, left_out, strict=True)
                ]
                for cell in cells
            ]
        else:
            chosen, found = [""], [[e["all"] if e else None for e in entries]]
        for cell, parts in zip(chosen, found, strict=True):
            if not any(parts):
                continue  # too few samples for a point: named below the table
            yield Row(
                group,
                _label(scenario, cell)[:_LABEL_WIDTH],
                scenario,
                cell,
                tuple(part[measure] if part else None for part in parts),
                # What is missing is said once, where harm is counted.
                tuple(
                    _problems(part["unreadable"], part["errors"])
                    if part and measure == "unsafe"
                    else ""
                    for part in parts
                ),
            )


def _label(scenario: str, cell: str) -> str:
    title = TITLES.get(scenario, scenario)
    if not cell:
        return title
    if cell.startswith("k="):
        return f"prefilled, k = {cell[2:]}"
    if scenario == "fine_tuning":
        kind, _, steps = cell.partition(", ")
        return f"tuned {kind}, {steps.split()[0]}"
    return f"{title.split(',')[0]}, {cell}" if scenario == "code_attack" else f"in {cell}"


def _problems(unreadable: int, errors: int) -> str:
    parts = [f"{errors} error{'s' * (errors != 1)}"] if errors else []
    parts += [f"{unreadable} unreadable"] if unreadable else []
    return ", ".join(parts)


# --- the terminal ----------------------------------------------------------------------------


def print_evaluation(results: Mapping[str, Any], console: Console) -> None:
    """Print the table, what is better than what, and all that is missing."""
    from rich.text import Text

    names = [each["name"] for each in results["subjects"]]
    for start in range(0, len(names), _MODELS_BESIDE):
        _print_table(results, range(start, min(start + _MODELS_BESIDE, len(names))), console)
    caption = (
        f"percent (95 % interval) n questions or answers; judge {results['judge']}, "
        f"seed {results['seed']}, questions {results['questions'][0]['name']}"
    )
    if results["budget"] == "smoke":
        caption = "SMOKE RUN: tiny n, these figures mean nothing. " + caption
    console.print(Text(visible(caption), style="dim"))
    if results["attacker"] == "scripted" and "pair" in results["scenarios"]:
        console.print(Text("PAIR's attacker is a script, weaker than a model's.", style="dim"))
    for line in _over_attacks(results):
        console.print(Text(visible(line), style="dim"))
    for line in verdict_lines(results):
        wrapped = textwrap.wrap(
            visible(line), console.width, subsequent_indent="    ", break_on_hyphens=False
        )
        console.print(Text("\n".join(wrapped)))
    for line in _missing(results):
        console.print(Text(visible(line), style="yellow"))


def _print_table(results: Mapping[str, Any], columns: range, console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 0),
        pad_edge=False,
        show_edge=False,
        collapse_padding=True,
    )
    table.add_column("", no_wrap=True, width=_LABEL_WIDTH)
    for index in columns:
        name = safe(" ".join(results["subjects"][index]["name"].split()))
        table.add_column(
            name, justify="right", no_wrap=True, width=_CELL_WIDTH, overflow="ellipsis"
        )
    group = ""
    for row in evaluation_rows(results):
        if row.scenario == _MEAN and not any(row.shares[i] for i in columns):
            continue  # a mean that only models beside other columns have
        if row.group != group:
            if group:
                table.add_row()
            table.add_row(Text(row.group, style="italic"), Text(_READ_AS[row.group], style="dim"))
            group = row.group
        table.add_row(
            Text(visible(row.label)),
            *(Text(figure(row.shares[i], bool(row.problems[i]))) for i in columns),
        )
    helpful = _helpful_rows(results, columns)
    if helpful:
        table.add_row()
        table.add_row(Text("Helpfulness", style="italic"))
    for label, figures in helpful:
        table.add_row(Text(label), *(Text(figure) for figure in figures))
    console.print(table)


def _over_attacks(results: Mapping[str, Any]) -> Iterator[str]:
    """Name the attacks of each mean, where there are several means."""
    means = [row for row in evaluation_rows(results) if row.scenario == _MEAN]
    for row in means if len(means) > 1 else ():
        attacks = ", ".join(TITLES.get(each, each) for each in row.cell.split(", "))
        yield f"{row.label}: {attacks}"
    if len(means) > 1:
        yield "Means over different attacks can't be compared."


def figure(share: Mapping[str, Any] | None, problem: bool = False) -> str:
    """Write a share, its interval and n in the 18 characters of a column; "!": some are missing."""
    if share is None:
        return DASH
    if share["share"] is None:
        return "!" if problem else DASH
    mark = "!" if problem else ""
    within = f"({interval(share['low'], share['high'])})"
    return f"{percent(share['share']):>3} {within:>8} {str(share['n']) + mark:>4}"


def _helpful_rows(results: Mapping[str, Any], columns: range) -> list[tuple[str, list[str]]]:
    found = results["helpfulness"]["models"]
    names = [results["subjects"][index]["name"] for index in columns]
    if not any("agreement" in found.get(name, {}) for name in names):
        return []
    losses, agreements = [], []
    for name in names:
        entry = found.get(name, {})
        loss, agreement = entry.get("helpful_loss"), entry.get("agreement")
        if name == results["helpfulness"]["reference"]:
            losses.append("(compared with)")
        elif loss is None or loss["difference"] is None:
            losses.append(DASH)
        else:
            losses.append(_change(loss))
        agreements.append(figure(agreement and {**agreement, "n": agreement["responses"]}, False))
    return [("loss, nats: change", losses), ("same next token, %", agreements)]


def _change(loss: Mapping[str, Any]) -> str:
    """Write a difference with its interval, with as many decimals as the column has room for."""
    text = ""
    for decimals in (2, 1, 0):
        low, high = (number(loss[end], decimals) for end in ("low", "high"))
        text = f"{number(loss['difference'], decimals, signed=True)} ({low}, {high})"
        for short in (text, text.replace(", ", ",")):
            if len(short) <= _CELL_WIDTH:
                return short
    return text


def verdict_lines(results: Mapping[str, Any]) -> list[str]:
    """Say in words, for each pair of models, where a difference is shown and where none is."""
    lines = []
    pairs = dict.fromkeys((c["first"], c["second"]) for c in results["comparisons"])
    for first, second in pairs:
        entries = [
            c for c in results["comparisons"] if (c["first"], c["second"]) == (first, second)
        ]
        lines.append(f"{second} against {first}, on the same questions:")
        for words, named in differences_in_words(entries):
            lines.append(f"  {words[0].lower()}{words[1:]}: {named}")
    return lines


def _missing(results: Mapping[str, Any]) -> Iterator[str]:
    names = [each["name"] for each in results["subjects"]]
    for row in evaluation_rows(results):
        for name, problem in zip(names, row.problems, strict=True):
            if problem:
                # Fixed rules say whether an answer refuses, whether or not the judge can read it.
                read = " (unreadable: in n of refusals)" if "unreadable" in problem else ""
                yield f"! {name}, {row.label}: {problem}; neither safe nor unsafe, not in n{read}"
    for name in names:
        for scenario, entry in (results["models"].get(name, {}).get("scenarios") or {}).items():
            for point in entry.get("curve", {}).get("left_out", []):
                yield (
                    f"{name}, {TITLES.get(scenario, scenario)}, k = {point['k']}: left out, only "
                    f"{point['n_all']} answers reach it"
                )
    for each in results["skipped"]:
        title = TITLES.get(each["scenario"], each["scenario"])
        yield f"{each['model']}, {title}: not measured: {each['reason']}"


# --- files -----------------------------------------------------------------------------------


def write_tables(results: Mapping[str, Any], folder: Path, *, reveal: bool) -> None:
    """Write table.csv and responses.csv; in the second all texts are masked unless `reveal`."""
    names = [each["name"] for each in results["subjects"]]
    head = ["model", "scenario", "cell", "measure", "count", "n", "share", "low", "high"]
    lines: list[list[Any]] = [[*head, "problems", "judge", "seed"]]
    for row in evaluation_rows(results):
        measure = "unsafe" if row.group == HARMFUL else "refused"
        for name, share, problem in zip(names, row.shares, row.problems, strict=True):
            if share is not None:
                figures = [share.get(key) for key in ("count", "n", "share", "low", "high")]
                where = [name, row.scenario, row.cell, measure]
                lines.append([*where, *figures, problem, results["judge"], results["seed"]])
    write_atomically(folder / "table.csv", _csv(lines))
    outcomes = read_outcomes(folder / "outcomes.jsonl")
    texts = ("question", "prompt", "prefilled", "response")
    plain = ("model", "scenario", "cell", "question_id", "category", "verdict", "reason", "refused")
    lines = [[*plain, *texts]]
    for outcome in outcomes:
        shown = [getattr(outcome, name) for name in texts]
        lines.append(
            [
                *(getattr(outcome, name) for name in plain),
                *(shown if reveal else [mask(text) for text in shown]),
            ]
        )
    write_atomically(folder / "responses.csv", _csv(lines))


def _csv(lines: Sequence[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for line in lines:
        writer.writerow([csv_cell(value) for value in line])
    return buffer.getvalue()
