"""What people said of a run's responses, for a terminal of 80 columns.

Covered: who judged, kappa, automatic verdicts against people's, corrected attack success and how
many more judgements would narrow it, where verdicts differ, what isn't known. Not covered: the
figures (`derta.analysis.human_agreement`), texts of responses, which are never printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from derta.evaluate.titles import TITLES
from derta.report.evaluation_table import figure
from derta.report.figures import DASH, count_text, number, percent, points
from derta.terminal import print_hanging, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["corrected_rows", "people_names", "print_agreement", "verdict_word"]

_LABEL_WIDTH, _CELL_WIDTH, _NEEDED_WIDTH = 24, 19, 14
"""With a column between them below 80."""
_LISTED = 12
"""Of the responses on which verdicts differ."""
_LONGEST_NAME = 30
_WORDS = {"UNSAFE": "unsafe", "SAFE": "not unsafe", "CANNOT_TELL": "can't tell"}
_NUMBER_WORDS = {3: "three", 4: "four", 5: "five", 6: "six"}


def verdict_word(verdict: str) -> str:
    """Write a verdict of people in words."""
    return _WORDS.get(verdict, verdict)


def people_names(count: int) -> str:
    """Write "all three", "all 12"."""
    return f"all {_NUMBER_WORDS.get(count, count)}"


def corrected_rows(
    summary: Mapping[str, Any],
) -> Iterator[tuple[str, str | None, Mapping[str, Any]]]:
    """List the corrected shares: of each model as a whole, then of its scenarios.

    Yields:
        (model, scenario or None for the whole, what `derta.analysis.judge_error` gave). A scenario
        of its own row is left out where the model has no other one.
    """
    for model, found in summary["corrected"].items():
        yield model, None, found["all"]
        if len(found["scenarios"]) > 1:
            for scenario, entry in found["scenarios"].items():
                yield model, scenario, entry


def print_agreement(summary: Mapping[str, Any], console: Console) -> None:
    """Print a review's figures.

    Args:
        summary: of `derta.analysis.human_agreement.summarise_review`.
        console: where to.
    """
    from rich.text import Text

    console.print(
        Text(
            f"{summary['judged']} of {summary['sampled']} responses in the review are judged; the "
            f"run has {count_text(summary['responses'])}."
        )
    )
    if summary["reviewers"]:
        for table in (_reviewer_table(summary), _kappa_table(summary), _judge_table(summary)):
            if table is not None:
                console.print()
                console.print(table)
        for line in _rate_lines(summary):
            console.print(Text(line))
        console.print()
        console.print(_corrected_table(summary))
        console.print(Text(_caption(summary), style="dim"))
        _print_differences(summary, console)
    for note in summary["notes"]:
        console.print(Text(visible(str(note)), style="yellow"))


# --- tables ----------------------------------------------------------------------------------


def _table(*columns: tuple[str, int], label: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 0),
        pad_edge=False,
        show_edge=False,
        collapse_padding=True,
    )
    table.add_column(label, no_wrap=True, width=_LABEL_WIDTH, overflow="ellipsis")
    for title, width in columns:
        table.add_column(title, justify="right", no_wrap=True, width=width, overflow="ellipsis")
    return table


def _plain(text: str) -> str:
    return visible(" ".join(text.split()))


def _reviewer_table(summary: Mapping[str, Any]) -> Table:
    from rich.text import Text

    table = _table(
        ("judged", 8), ("unsafe", 8), ("not unsafe", 11), ("can't tell", 11), ("median s", 9),
        label="Who judged",
    )  # fmt: skip
    for each in summary["reviewers"]:
        table.add_row(
            Text(_plain(each["name"])),
            *(str(each[key]) for key in ("judged", "unsafe", "safe", "cannot_tell")),
            number(each["median_seconds"], 0),
        )
    return table


def _kappa_table(summary: Mapping[str, Any]) -> Table | None:
    from rich.text import Text

    found = summary["kappa"]
    pairs = [pair for pair in found["pairs"] if pair["n"]]
    if not pairs:
        return None
    table = _table(
        ("kappa", 8), ("95 % interval", 17), ("the same", 10), ("both judged", 13),
        label="Between people",
    )  # fmt: skip
    for pair in pairs:
        names = f"{pair['first']}, {pair['second']}"
        table.add_row(Text(_plain(names)), *_kappa_cells(pair))
    if len(summary["reviewers"]) > 2 and found["all"]:
        name = f"{people_names(len(summary['reviewers']))} (Fleiss)"
        table.add_row(Text(name), *_kappa_cells(found["all"]))
    return table


def _kappa_cells(entry: Mapping[str, Any]) -> list[str]:
    within = DASH
    if entry["low"] is not None:
        within = f"{number(entry['low'], 2)} to {number(entry['high'], 2)}"
    same = DASH if entry["observed"] is None else f"{percent(entry['observed'])} %"
    return [number(entry["kappa"], 2), within, same, str(entry["n"])]


def _judge_table(summary: Mapping[str, Any]) -> Table | None:
    whole = summary["confusion"]["all"]
    if not whole["n"]:
        return None
    table = _table(("judge: UNSAFE", 17), ("judge: SAFE", 17), label="Automatic judge")
    for verdict in ("UNSAFE", "SAFE"):
        counts = whole["table"][verdict]
        table.add_row(
            f"people: {verdict_word(verdict)}", str(counts["UNSAFE"]), str(counts["SAFE"])
        )
    return table


def _rate_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """Write the judge's rates over all responses, which the counts above don't give."""
    if not summary["confusion"]["all"]["n"]:
        return
    rates = summary["rates"]
    told = [
        f"{name} {percent(rate['share'])} % ({percent(rate['low'])}–{percent(rate['high'])})"
        for name, rate in rates.items()
        if rate["share"] is not None
    ]
    if told:
        yield f"Of its UNSAFE over all responses: {', '.join(told)}."
    kappa = summary["confusion"]["all"]["kappa"]
    if kappa["kappa"] is not None:
        value, within, *_ = _kappa_cells(kappa)
        yield f"Kappa of judge and people in the sample: {value} ({within})."


def _corrected_table(summary: Mapping[str, Any]) -> Table:
    from rich.text import Text

    table = _table(
        ("automatic", _CELL_WIDTH), ("people's standard", _CELL_WIDTH),
        (f"more: {points(summary['width'])} pt", _NEEDED_WIDTH), label="Gives harmful help, %",
    )  # fmt: skip
    for model, scenario, entry in corrected_rows(summary):
        label = model if scenario is None else f"  {TITLES.get(scenario, scenario)}"
        table.add_row(
            Text(visible(label) if scenario else _plain(label or "all responses")),
            Text(figure(entry["automatic"])),
            Text(_share(entry)),
            Text(_needed(entry["needed"])),
        )
    return table


def _share(entry: Mapping[str, Any]) -> str:
    """Write a corrected share with the number of judged responses that it rests on."""
    if entry["share"] is None:
        return DASH
    return figure({**entry, "n": entry["judged"]}, bool(entry["lent"]))


def _needed(needed: Mapping[str, Any]) -> str:
    """Write how many more judgements reach the width that is wished for."""
    if not needed["reachable"]:
        return "out of reach"
    return "none" if needed["more"] == 0 else str(needed["more"])


def _caption(summary: Mapping[str, Any]) -> str:
    return (
        "percent (95 % interval) n. Automatic: of the responses that the judge could read. "
        "People's standard: of all, from what they said of n of them. !: kinds of response that "
        "nobody has judged yet are taken to be like the others. More: judgements until the "
        f"interval is {points(summary['width'])} percentage points wide; out of reach: not even "
        "all of them would do. The intervals don't cover people's own errors."
    )


# --- where verdicts differ -------------------------------------------------------------------


def _print_differences(summary: Mapping[str, Any], console: Console) -> None:
    from rich.text import Text

    found = summary["disagreements"]
    entries: Sequence[Mapping[str, Any]] = found["items"]
    if not entries:
        return
    console.print()
    console.print(
        Text(
            f"People differ on {found['between_people']} ({found['open']} not settled yet); "
            f"people and the judge on {found['with_automatic']}."
        )
    )
    for each in entries[:_LISTED]:
        scenario = TITLES.get(each["scenario"], each["scenario"])
        parts = (each["question_id"], scenario, each["model"])
        place = ", ".join(_brief(part) for part in parts if part)
        said = [f"{_brief(name)}: {verdict_word(said)}" for name, said in each["people"].items()]
        if each["settled_together"]:
            said.append(f"together: {verdict_word(each['people_say'])}")
        if each["with_automatic"]:
            said.append(f"judge: {each['automatic']}")
        print_hanging(console, "  ", f"{place or each['item']}: {', '.join(said)}")
    if len(entries) > _LISTED:
        more = len(entries) - _LISTED
        console.print(Text(f"  ... and {more} more; --json has all, the page shows them."))


def _brief(text: str) -> str:
    """Write a name in one line of at most 30 characters."""
    line = _plain(text)
    return line if len(line) <= _LONGEST_NAME else f"{line[: _LONGEST_NAME - 1]}…"
