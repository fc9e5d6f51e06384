"""What `derta data make` says at its end.

Covered: counts, who was left out and why, one example with its harmful response masked; where there
is no triple, what can be done. Not covered: make.json, which holds all of it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from derta.make_triples.making import MakeReport
from derta.terminal import mask, safe, visible

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_make_report"]

_SHOWN_CHARACTERS = 240
_SHOWN_REASONS = 6
_REMEDIES = {
    ("question", "nothing serves"): "Say what language the questions are in (language=en), or name "
    "its refusal word (refusal_words.en=Sorry).",
    ("harmful", "nothing serves"): "The judge found no response that complies. Name another "
    "--harmful-model, best an untuned relative of this one; let it try more often (tries=8) or "
    "say more (max_tokens=300); or let a model judge (--judge).",
    ("harmful", "failed"): "Calls failed. Mend what they say; the same command asks again.",
    ("safe", "nothing serves"): "The teacher's refusals didn't serve, and this language has no "
    "patterns. Name another --safe-model, or say with instruction=... how to refuse.",
    ("safe", "failed"): "The teacher failed. Mend what it says, or leave --safe-model out.",
}
"""What can be done where no question became a triple, by stage and status."""


def print_make_report(report: MakeReport, console: Console, *, reveal: bool = False) -> None:
    """Print what was made.

    Args:
        report: of `derta.make_triples.make_data`.
        console: what is printed goes here.
        reveal: show the example's harmful response.
    """
    content, counts = report.content, report.content["counts"]
    tries = _list({_try_name(name): count for name, count in counts["by_try"].items()})
    console.print(
        f"Triples:  {report.triples} of {counts['harmful_questions']} questions"
        + (f" ({tries})" if tries else "")
    )
    if report.triples:
        by_teacher, by_pattern = counts["safe_by_teacher"], counts["safe_by_pattern"]
        console.print(
            f"          safe responses: {by_pattern} by pattern, {by_teacher} by a teacher"
        )
    if "benign" in content["questions"]:
        cut = report.helpful - counts["helpful_finished"]
        console.print(
            f"Helpful:  {report.helpful} of {counts['benign_questions']} questions"
            + (f", {cut} cut by the token limit" if cut else "")
        )
    else:
        console.print("Helpful:  none; name benign questions with --benign")
    for reason, count in _most_common(content["teacher_not_used"]):
        console.print(f"A pattern stands for the teacher's text {count} times: {safe(reason)}")
    _print_left_out(content["left_out"], console)
    if report.example is not None:
        _print_example(report.example, console, reveal=reveal)
    else:
        _print_why_none(content["left_out"], console)
    if not report.complete:
        console.print("The budget is spent. The same command goes on where this one stopped.")
    for name, made in (("triples.jsonl", report.triples), ("helpful.jsonl", report.helpful)):
        if made:
            console.print(f"{safe(str(report.output / name))}", soft_wrap=True)
    console.print(f"{safe(str(report.output / 'make.json'))}", soft_wrap=True)


def _print_left_out(left_out: list[dict[str, Any]], console: Console) -> None:
    if not left_out:
        return
    console.print(f"Left out: {len(left_out)}, with their ids (make.json has them all)")
    reasons: dict[tuple[str, str], list[str]] = {}
    for each in left_out:
        reasons.setdefault((each["stage"], each["reason"]), []).append(each["id"])
    ordered = sorted(reasons.items(), key=lambda item: -len(item[1]))
    rows = []
    for (stage, reason), ids in ordered[:_SHOWN_REASONS]:
        some = ", ".join(ids[:5]) + (" ..." if len(ids) > 5 else "")
        rows.append((f"{len(ids):>7,}", f"{stage}: {reason} ({some})"))
    if len(ordered) > _SHOWN_REASONS:
        rows.append(("", f"and {len(ordered) - _SHOWN_REASONS} more reasons"))
    _print_rows(rows, console)


def _print_why_none(left_out: list[dict[str, Any]], console: Console) -> None:
    """Say that there is nothing to train on, and what to do: of each cause once, the main first."""
    console.print("No triple was made: there is nothing to train refusals on.", style="bold red")
    causes = Counter((each["stage"], each["status"]) for each in left_out)
    for cause, _ in causes.most_common():
        if cause in _REMEDIES:
            console.print(_REMEDIES[cause], markup=False)


def _print_example(row: dict[str, Any], console: Console, *, reveal: bool) -> None:
    rejected = row["rejected"] if reveal else mask(row["rejected"])
    console.print()
    rows = []
    for name, text in (
        ("prompt", row["prompt"]),
        ("chosen", row["chosen"]),
        ("rejected", rejected),
    ):
        shown = " ".join(text.split())
        if len(shown) > _SHOWN_CHARACTERS:
            shown = shown[: _SHOWN_CHARACTERS - 1] + "…"
        rows.append((f"  {name}", shown))
    _print_rows(rows, console)
    if not reveal:
        console.print("  (the harmful response is masked; --reveal shows it)", style="dim")
    console.print()


def _print_rows(rows: list[tuple[str, str]], console: Console) -> None:
    """Print names and texts side by side, so that a long text stays in its column."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    for name, text in rows:
        table.add_row(Text(visible(name)), Text(visible(text)))
    console.print(table)


def _try_name(name: str) -> str:
    return "prefilled" if name == "prefilled" else f"try {name}"


def _list(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items())


def _most_common(counts: dict[str, int]) -> list[tuple[str, int]]:
    return Counter(counts).most_common(_SHOWN_REASONS)
