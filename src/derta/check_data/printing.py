"""The report on a terminal of 80 columns; the data's texts are masked until they are asked for.

Names that come from the data (files, sources, categories, refusal words) are made harmless. A
figure in brackets is the 95 % interval of a share that was measured on a sample. Not covered: HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from derta.check_data.chunks import KINDS
from derta.check_data.data_report import DataReport, Finding
from derta.check_data.judged import OTHER_OPENING, STANDS
from derta.terminal import mask, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["render_report", "share_text"]

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_MOST_ROWS = 8
"""Of a table; the others are in the JSON."""
_BAR = 28
_EXCERPT = 60
_NAMES = {"triples": "triples", "helpful": "helpful"}
_STAND_NAMES = {
    "refuses": "refuses",
    "harmless": "harmless",
    "short": "too short to tell",
    "complies": "complies",
    "unreadable": "not read",
}


def render_report(report: DataReport, console: Console, *, reveal: bool = False) -> None:
    """Print the report.

    Args:
        report: what was found.
        console: where to.
        reveal: show the texts of examples; otherwise they are masked.
    """
    _title(report, console)
    _findings(report.findings, console, reveal=reveal)
    _rows(report, console)
    _languages(report, console)
    _lengths(report, console)
    _repeats(report, console)
    _stands(report, console)
    _words(report, console)
    _positions(report, console)
    _cut_off(report, console)


def share_text(share: Mapping[str, Any]) -> str:
    """Write a share in percent, with its interval where there is one."""
    if share["share"] is None:
        return "–"  # the dash of an empty cell
    text = f"{_percent(share['share'])} %"
    if share["low"] is not None:
        text += f" ({_percent(share['low'])} to {_percent(share['high'])})"
    return text


def _percent(value: float) -> str:
    """Write a share as percent with one digit; never 0 or 100 unless it is."""
    percent = 100 * value
    if 0 < percent < 0.05:
        return "<0.1"
    if 99.95 <= percent < 100:
        return ">99.9"
    return f"{percent:.1f}".removesuffix(".0")


# --- the parts -----------------------------------------------------------------------------------


def _title(report: DataReport, console: Console) -> None:
    names = ", ".join(visible(" ".join(name.split())) for name in report.data["sources"])
    _say(console, ("derta data check: ", "bold"), (names, "bold"))
    again = ", ".join(visible(" ".join(name.split())) for name in report.data["named_again"])
    if again:
        _say(console, (f"Named twice, and read once: {again}", "yellow"))
    rows = report.rows
    counted = f"{rows['triples']:,} triples, {rows['helpful']:,} helpful rows"
    if rows["unreadable"]:
        counted += f", {rows['unreadable']:,} unreadable"
    if rows["skipped"]:
        counted += f", {rows['skipped']:,} that make no example"
    _say(console, (counted, ""))
    sample, total = report.sample, rows["triples"] + rows["helpful"]
    drawn = sum(sample[kind] for kind in KINDS)
    if drawn < total:
        parts = [
            f"{sample[kind]:,} of {rows[kind]:,} {_NAMES[kind]}" for kind in KINDS if rows[kind]
        ]
        said = f"Sample: {' and '.join(parts)}, drawn at random (seed {sample['seed']}). "
        said += "Brackets: 95 % intervals of what was measured on it."
        _say(console, (said, "dim"))
    else:
        _say(console, ("All figures are of all rows.", "dim"))


def _findings(findings: Sequence[Finding], console: Console, *, reveal: bool) -> None:
    console.print()
    if not findings:
        _say(console, ("Nothing wrong was found.", "bold green"))
        return
    from rich.table import Table
    from rich.text import Text

    _say(console, ("FINDINGS", "bold"))
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=max(map(len, _STYLES)))
    table.add_column()
    for finding in findings:
        head = []
        if finding.share is not None:
            share = finding.share
            head.append((f"{share['count']:,} of {share['n']:,}", "bold"))
            head.append((f" ({share_text(share)}) ", ""))
        head += [(finding.text, ""), (f" [{finding.code}]", "dim")]
        table.add_row(Text(finding.level, _STYLES[finding.level]), Text.assemble(*head))
        table.add_row("", Text(f"{finding.remedy}.", "dim"))
        for example in finding.examples:
            if example.about:
                table.add_row("", Text(visible(" ".join(example.about.split()))))
            place = visible(" ".join(example.place.split()))
            indent = "  " if finding.examples[0].about else ""
            table.add_row("", Text(f"{indent}{place}", "dim", overflow="fold"))
            if example.text:
                table.add_row("", Text(f"  {_excerpt(example.text, reveal=reveal)}"))
    console.print(table)
    if not reveal and any(each.text for finding in findings for each in finding.examples):
        _say(console, ("Texts are masked; --reveal shows them.", "dim"))


def _excerpt(text: str, *, reveal: bool) -> str:
    line = visible(" ".join(text.split()))[:_EXCERPT]
    return line if reveal else mask(line)


def _rows(report: DataReport, console: Console) -> None:
    for title, reasons in (
        ("ROWS THAT MAKE NO EXAMPLE", report.skipped),
        ("SOURCES", report.rows["by_source"] if len(report.rows["by_source"]) > 1 else {}),
    ):
        if reasons:
            _table(
                console,
                title,
                ("", "rows"),
                [(name, f"{count:,}") for name, count in reasons.items()],
            )
    categories = [
        (name, _NAMES[kind], f"{count:,}")
        for kind in KINDS
        for name, count in report.rows["by_category"][kind].items()
    ]
    if categories:
        _table(console, "CATEGORIES", ("", "of", "rows"), categories)


def _languages(report: DataReport, console: Console) -> None:
    codes = dict.fromkeys(code for kind in KINDS for code in report.languages[kind])
    empty = {"share": None}
    rows = [
        (code, *(share_text(report.languages[kind].get(code, empty)) for kind in KINDS))
        for code in codes
    ]
    _table(console, "LANGUAGE OF THE PROMPT", ("", "triples", "helpful"), rows)


def _lengths(report: DataReport, console: Console) -> None:
    columns = ("", "shortest", "median", "95 % up to", "longest")
    rows = [
        (name.replace(".", ", "), *(_length(part["words"][key]) for key in _SPREAD))
        for name, part in report.lengths.items()
    ]
    _table(console, "LENGTH IN WORDS", columns, rows)
    if report.tokens is not None:
        rows = [
            (name.replace(".", ", "), *(_length(part[key]) for key in _SPREAD))
            for name, part in report.tokens["parts"].items()
        ]
        model = visible(str(report.data["model"]))
        of = " (sample)" if report.tokens["sampled"] else ""
        _table(console, f"LENGTH IN TOKENS OF {model}{of}", columns, rows)


_SPREAD = ("min", "median", "p95", "max")


def _length(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _repeats(report: DataReport, console: Console) -> None:
    repeats = report.repeats
    near = repeats["near"]
    rows = [
        ("copies of a whole row", f"{repeats['rows']['count']:,}", "all rows"),
        ("prompts that came before", f"{repeats['prompts']['count']:,}", "all rows"),
        (
            "prompts with a near duplicate",
            share_text(near["prompts"]),
            f"{near['prompts']['n']:,} different prompts",
        ),
        ("groups of near duplicates", f"{near['groups']:,}", f"largest {_largest(near)}"),
        ("learnt here, rejected there", f"{repeats['contradictions']['count']:,}", "all rows"),
        (
            "refused here, answered there",
            f"{repeats['refused_and_answered']['count']:,}",
            "all rows",
        ),
    ]
    leaks = report.leaks
    if leaks is not None:
        compared = f"{leaks['compared']:,} rows" + ("" if leaks["compared_all"] else " (sample)")
        rows.append(("held-out, word for word", f"{leaks['exact']['count']:,}", "all rows"))
        rows.append(("held-out, nearly", f"{leaks['near']['count']:,}", compared))
    _table(console, "REPEATED", ("", "how many", "of"), rows)


def _largest(near: Mapping[str, Any]) -> str:
    return ", ".join(str(size) for size in near["largest"][:5]) or "–"


def _stands(report: DataReport, console: Console) -> None:
    rows = []
    for field, shares in report.stands.items():
        n = shares["refuses"]["n"]
        if not n:
            continue
        names = STANDS if field != "completion" else ("refuses", "complies")
        rows += [
            (field, _STAND_NAMES[name], share_text(shares[name]), f"{n:,}")
            for name in names
            if shares[name]["count"]
        ]
    _table(console, "WHAT THE RESPONSES DO", ("", "", "share", "n"), rows)


def _words(report: DataReport, console: Console) -> None:
    rows = []
    for code, words in report.refusals["words"].items():
        rows += [
            (code, word if word != OTHER_OPENING else "another beginning", share_text(share))
            for word, share in list(words.items())[:_MOST_ROWS]
        ]
    _table(console, "SAFE RESPONSES BEGIN WITH", ("", "", "share"), rows)
    for each in report.model_words:
        said = "is one token" if each["one_token"] else "is NOT one token"
        _say(console, (f"{visible(each['word'])} {said} of {visible(report.data['model'])}.", ""))


def _positions(report: DataReport, console: Console) -> None:
    rows = []
    for field, found in report.refusals["positions"].items():
        responses = found["responses"]
        if not responses:
            continue
        bins = [(_bin_name(each), each["count"]) for each in found["bins"]]
        for name, count in (*bins, ("none", found["none"])):
            bar = "█" * round(_BAR * count / responses)
            bar = bar or ("▏" if count else "")
            rows.append((field, name, f"{count:,}", bar))
    _table(console, "WORDS BEFORE THE FIRST REFUSAL", ("", "words", "", ""), rows, most=None)
    for field, found in report.refusals["positions"].items():
        within = found["within_five_words"]
        if within["n"]:
            said = f"{field}: {share_text(within)} of {within['n']:,} refusals begin within the "
            _say(console, (said + "first five words.", ""))


def _bin_name(each: Mapping[str, Any]) -> str:
    return f"{each['from']}+" if each["to"] is None else f"{each['from']} to {each['to']}"


def _cut_off(report: DataReport, console: Console) -> None:
    rows = [
        (name.replace(".", ", "), share_text(share), f"{share['n']:,}")
        for name, share in report.cut_off.items()
    ]
    _table(console, "SEEM TO STOP IN MID-SENTENCE", ("", "share", "n"), rows)


# --- tables --------------------------------------------------------------------------------------


def _table(
    console: Console,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    most: int | None = _MOST_ROWS * 2,
) -> None:
    """Print a table: texts to the left, the last columns of figures to the right."""
    from rich import box
    from rich.table import Table

    if not rows:
        return
    console.print()
    _say(console, (title, "bold"))
    table = Table(
        box=box.SIMPLE_HEAD if any(columns) else None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        show_edge=False,
        show_header=any(columns),
    )
    for index, column in enumerate(columns):
        table.add_column(
            column,
            justify="left" if index == 0 or not column else "right",
            overflow="ellipsis",
            no_wrap=True,
        )
    for row in rows[:most]:
        table.add_row(*(_text(cell) for cell in row))
    console.print(table)
    if most is not None and len(rows) > most:
        _say(console, (f"... and {len(rows) - most} more (--json has all)", "dim"))


def _text(cell: str) -> Text:
    from rich.text import Text

    return Text(visible(" ".join(cell.split())))


def _say(console: Console, *pieces: tuple[str, str]) -> None:
    from rich.text import Text

    console.print(Text.assemble(*pieces))
