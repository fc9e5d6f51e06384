"""Files of triples and helpful rows become one data set of wanted numbers: `derta data mix`.

The files are read twice. The first time each row leaves hashes and small numbers behind
(`derta.data.mixing.plan`), which decide; the second time the chosen rows are written. So memory is
33 bytes a row while reading and about 100 while deciding, however long the texts are: 100 MB for a
million rows; the sources' names come on top. Which rows are drawn depends on the seed and on their
prompts, not on their places: a file that is added moves few of the others' rows.

Covered: our two formats in any file or data set that `derta.data.streams` reads. Not covered: other
formats (`derta data import`), near-duplicates, which `derta data check` finds, and pipes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np

from derta.data.held_out import HELD_OUT_FIELD, read_held_out, split_columns
from derta.data.made_files import hash_file, output_folder
from derta.data.mixing.first_reading import Progress, Steps, read_tables
from derta.data.mixing.options import (
    KINDS,
    Kind,
    MixWish,
    language_code,
    parse_ratio,
    parse_share,
    read_shares,
    wrong_option,
)
from derta.data.mixing.plan import (
    Fate,
    RowTable,
    allot,
    available,
    choose,
    half_up,
    largest,
    leave_out,
)
from derta.data.mixing.report import MixReport, count_reasons
from derta.data.mixing.rows import parse_row, read_cells, written_row
from derta.data.prompts import asked
from derta.data.streams import stream_rows
from derta.errors import DataError, InputProblem
from derta.files import whole_file

__all__ = ["mix_data"]

ROWS_OF_A_TRIPLE = 2
"""A triple counts as two safety rows, as the paper counts 3,000 triples as 6,000 pairs: DeRTa
trains one row of each term."""


def mix_data(
    triples: Sequence[str | Path],
    helpful: Sequence[str | Path],
    output: str | Path,
    *,
    ratio: str | float | None = None,
    look_alike_share: float | None = None,
    languages: Mapping[str, float] | None = None,
    triple_rows: int | None = None,
    limit_per_source: int | None = None,
    seed: int = 0,
    refusal_word: Literal["keep", "table"] = "keep",
    held_out: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    load_hub: Any = None,
    progress: Progress | None = None,
) -> MixReport:
    """Write triples.jsonl, helpful.jsonl and mix.json into a folder.

    Rows are written as they stand, in the order of their files; one without a `source` gets its
    file's name as one.

    Args:
        triples: files or data sets of triples.
        helpful: files or data sets of helpful rows.
        output: the folder.
        ratio: helpful rows : safety rows, a triple being two; None takes all helpful rows.
        look_alike_share: of the helpful rows, of those whose `category` is look-alike.
        languages: code -> share, of the triples and of the helpful rows each; a row's language is
            its `language`, else that of its response. Rows in others are left out.
        triple_rows: how many triples; None takes all that the languages' shares allow.
        limit_per_source: most rows of a kind that one source gives, by the rows' `source`, else
            by file.
        seed: decides which rows are drawn.
        refusal_word: "table" lets refusals begin with their language's word
            (`derta.data.refusal_openings`).
        held_out: questions that are left out of both kinds; a file, data set or name as for
            `derta.data.held_out`.
        columns: "held-out.question" -> the column of those questions; None: it is recognised.
        load_hub: for `stream_rows`; tests bring their own.
        progress: called with (done, total): 100 for each reading of a source.

    Raises:
        DataError: a source can't be read, nothing usable is in it, there are too few rows for
            what was asked (the message names the largest mix), or a file would be replaced.
    """
    others, held_column = split_columns(columns or {})
    if others:
        problem = "the columns of triples and helpful rows have derta's names here"
        remedy = f"Write --column {HELD_OUT_FIELD}=NAME, or make files of ours: derta data import"
        raise wrong_option(f"--column {next(iter(others))}", problem, remedy)
    wish = MixWish(
        triples=tuple(map(str, triples)),
        helpful=tuple(map(str, helpful)),
        ratio=None if ratio is None else parse_ratio(str(ratio)),
        look_alike_share=None if look_alike_share is None else parse_share(look_alike_share),
        languages=None if not languages else tuple(language_code(code) for code in languages),
        shares=read_shares(languages),
        triple_rows=triple_rows,
        limit_per_source=limit_per_source,
        seed=seed,
        with_refusal_word=refusal_word == "table",
        held_out=None if held_out is None else str(held_out),
        held_out_column=held_column,
        load_hub=load_hub,
    )
    folder = Path(output)
    wish.check(folder)
    report = MixReport(str(folder))
    steps = Steps(200 * (len(wish.triples) + len(wish.helpful)), progress)
    held: frozenset[int] = frozenset()
    if wish.held_out is not None:
        held = read_held_out(wish.held_out, load_hub, wish.held_out_column).hashes()
    tables = read_tables(wish, held, report, steps)
    fates = _decide(wish, tables)
    _write(wish, folder, tables, fates, report, steps)
    return report


# --- the decision ------------------------------------------------------------------------------


def _decide(wish: MixWish, tables: dict[Kind, RowTable]) -> dict[Kind, Any]:
    """Say of each row whether it is written, or why not: kind -> (N,) of Fate."""
    many = None if wish.languages is None else len(wish.languages)
    fates: dict[Kind, Any] = {}
    supply: dict[Kind, list[list[int]]] = {}
    share: dict[Kind, Fraction | None] = {"triples": None, "helpful": wish.look_alike_share}
    for kind, other in zip(KINDS, reversed(KINDS), strict=True):
        fates[kind] = leave_out(
            tables[kind], tables[other], languages=many, limit_per_source=wish.limit_per_source
        )
        if wish.sources(kind) and not np.isin(fates[kind], _IN_REACH).any():
            raise _none_left(wish, kind, fates[kind])
        categories = 1 if share[kind] is None else 2
        supply[kind] = available(tables[kind], fates[kind], many or 1, categories).tolist()
    problems = [
        problem
        for kind in KINDS
        if wish.sources(kind)
        for problem in _missing(wish, kind, supply[kind])
    ]
    if problems:
        raise DataError(problems)
    most = {kind: largest(supply[kind], wish.shares, share[kind]) for kind in KINDS}
    for kind in KINDS:
        if wish.sources(kind) and not most[kind]:
            raise DataError([_no_mix(wish, kind, supply[kind])])
    numbers: dict[Kind, int] = {"triples": most["triples"], "helpful": most["helpful"]}

    def allotted(kind: Kind, total: int) -> list[list[int]] | None:
        return allot(total, supply[kind], wish.shares, share[kind])

    if wish.triple_rows is not None and wish.triples:
        numbers["triples"] = wish.triple_rows
        if allotted("triples", wish.triple_rows) is None:
            problem = f"{wish.triple_rows:,} triples are asked for, and {most['triples']:,} can be"
            remedy = f"Set --triple-rows {most['triples']}, or bring more"
            raise wrong_option("--triple-rows", f"{problem} had", remedy)
    if wish.ratio is not None:
        numbers["helpful"] = half_up(ROWS_OF_A_TRIPLE * wish.ratio * numbers["triples"])
        if not numbers["helpful"] or allotted("helpful", numbers["helpful"]) is None:
            raise _too_few(wish, numbers, most["helpful"], allotted)
    return {
        kind: choose(tables[kind], fates[kind], allotted(kind, numbers[kind]) or [[0]])
        for kind in KINDS
    }


_IN_REACH = [Fate.CHOSEN, Fate.OTHER_LANGUAGE]


def _none_left(wish: MixWish, kind: Kind, fates: Any) -> DataError:
    reasons = count_reasons(np.bincount(fates, minlength=len(Fate)).tolist())
    why = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
    problem = f"none of the {kind} is left ({why})"
    return DataError.of(", ".join(wish.sources(kind)), problem, "Bring other rows")


def _missing(wish: MixWish, kind: Kind, supply: list[list[int]]) -> list[InputProblem]:
    """Name what has a share and no row: few rows would round its share down to none."""
    without = (
        []
        if wish.languages is None
        else [
            f"no usable row is in {name}"
            for name, cell in zip(wish.languages, supply, strict=True)
            if not sum(cell)
        ]
    )
    share = wish.look_alike_share
    if kind == "helpful" and share is not None:
        if share > 0 and not any(cell[1] for cell in supply):
            without.append("no usable row is a look-alike")
        if share < 1 and not any(cell[0] for cell in supply):
            without.append("every usable row is a look-alike")
    return [_no_mix(wish, kind, supply, f": {reason}") for reason in without]


def _no_mix(wish: MixWish, kind: Kind, supply: list[list[int]], reason: str = "") -> InputProblem:
    names = wish.languages or ("all",)
    counts = ", ".join(f"{name} {sum(cell):,}" for name, cell in zip(names, supply, strict=True))
    if kind == "helpful" and wish.look_alike_share is not None:
        counts += f"; look-alikes {sum(cell[1] for cell in supply):,}"
    problem = f"no mix of the {kind} has these shares{reason} (usable rows by language: {counts})"
    remedy = "Bring rows of what is missing, or leave its share out"
    return InputProblem(", ".join(wish.sources(kind)), problem, remedy)


def _too_few(
    wish: MixWish,
    numbers: dict[Kind, int],
    most_helpful: int,
    allotted: Callable[[Kind, int], list[list[int]] | None],
) -> DataError:
    """Name the largest mix of this ratio."""
    assert wish.ratio is not None
    beside = ROWS_OF_A_TRIPLE * wish.ratio
    count = min(numbers["triples"], int((most_helpful + Fraction(1, 2)) / beside))
    while count and not (
        allotted("triples", count)
        and half_up(beside * count)
        and allotted("helpful", half_up(beside * count))
    ):
        count -= 1
    problem = (
        f"{numbers['triples']:,} triples (two safety rows each) want {numbers['helpful']:,} "
        f"helpful rows, and {most_helpful:,} can be had"
    )
    if not count:
        return wrong_option(
            "--ratio", problem, "No mix has this ratio: bring more rows, or change it"
        )
    return wrong_option(
        "--ratio",
        problem,
        f"The largest mix of this ratio has {count:,} triples and {half_up(beside * count):,} "
        f"helpful rows: --triple-rows {count}. Or bring more helpful rows",
    )


# --- the second reading ------------------------------------------------------------------------


def _write(
    wish: MixWish,
    folder: Path,
    tables: dict[Kind, RowTable],
    fates: dict[Kind, Any],
    report: MixReport,
    steps: Steps,
) -> None:
    """Write the chosen rows; the files take their places together, when all are whole."""
    with output_folder(folder), ExitStack() as stack:
        for kind in KINDS:
            report.count_fates(kind, np.bincount(fates[kind], minlength=len(Fate)).tolist())
            if not wish.sources(kind):
                continue
            temporary = stack.enter_context(whole_file(folder / f"{kind}.jsonl"))
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                _write_kind(wish, kind, tables[kind], fates[kind], file, report, steps)
            report.files[f"{kind}.jsonl"] = hash_file(temporary)
        said = stack.enter_context(whole_file(folder / "mix.json"))
        said.write_text(report.to_json(wish.settings()) + "\n", "utf-8")
        wish.check_place(folder)  # a file may have come or changed since the beginning


def _write_kind(
    wish: MixWish,
    kind: Kind,
    table: RowTable,
    fate: Any,
    file: TextIO,
    report: MixReport,
    steps: Steps,
) -> None:
    chosen = fate == Fate.CHOSEN
    place = 0
    for source in wish.sources(kind):
        for raw in stream_rows(source, load_hub=wish.load_hub, on_bytes=steps.within):
            if isinstance(raw, InputProblem):
                continue
            if place >= len(chosen):
                raise _changed(source)
            if chosen[place]:
                cells = read_cells(raw, kind)
                row = parse_row(cells, kind)
                if (
                    isinstance(row, InputProblem)
                    or asked(row.prompt).question != table.prompt[place]
                ):
                    raise _changed(source)
                file.write(written_row(cells, row, report, wish.with_refusal_word))
                if wish.languages is not None:
                    report.languages[kind][wish.languages[table.language[place]]] += 1
            place += 1
        steps()
    if place != len(chosen):
        raise _changed(", ".join(wish.sources(kind)))


def _changed(path: str) -> DataError:
    problem = "it was changed between its two readings, or can be read only once"
    return DataError([InputProblem(path, problem, "Run it again, on a file that stays as it is")])
