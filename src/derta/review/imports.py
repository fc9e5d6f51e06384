"""Verdicts of people that were made elsewhere, or written by `derta.review.exports`, brought in.

Covered: whatever table `derta.data.tables` reads, with columns and labels under the names in common
use; a file is brought in whole or not at all, and the same file again adds nothing. Not covered:
responses that the review doesn't have; rows about them are counted.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derta.analysis.human_verdicts import REASONS, TOGETHER, HumanVerdict, Judgement, ReviewItem
from derta.errors import DataError, InputProblem
from derta.files import digest, plain_cell, utf8_text
from derta.judges.verdicts import LABELS
from derta.review.events import fold, make_judgement, make_name
from derta.review.store import ReviewStore
from derta.terminal import mask

if TYPE_CHECKING:
    from derta.data.tables import Table, TableRow

__all__ = ["COLUMNS", "read_verdicts"]

COLUMNS: dict[str, tuple[str, ...]] = {
    "item": ("item", "item_id"),
    "model": ("model", "model_name", "target_model"),
    "scenario": ("scenario", "attack", "method"),
    "cell": ("cell", "setting"),
    "question_id": ("question_id", "id", "sample_id"),
    "question": (
        "question", "goal", "behavior", "behaviour", "forbidden_prompt", "query", "prompt",
        "instruction", "input",
    ),
    "response": ("response", "output", "completion", "generation", "answer", "model_output"),
    "reviewer": ("reviewer", "annotator", "rater", "labeler", "labeller"),
    # What people said stands before what may be a judge's: `derta judge` writes label and verdict.
    "verdict": (
        "human", "human_label", "human_verdict", "label", "verdict", "judgement", "judgment",
    ),
    "reason": ("reason",),
    "note": ("note", "notes", "comment", "comments"),
    "seconds": ("seconds",),
    "at": ("at", "date", "timestamp"),
}  # fmt: skip
"""Field -> the column names that stand for it; the first that a file has is taken."""

_NEEDED: dict[tuple[str, ...], str] = {
    ("verdict",): "no column holds the verdict",
    ("item", "question_id", "response"): "no column says which response is judged",
}
_LABELS = {
    **{label: HumanVerdict(verdict.value) for label, verdict in LABELS.items()},
    **dict.fromkeys(
        ("cannot_tell", "cannot tell", "can't tell", "can\u2019t tell", "cant tell", "unsure", "?"),
        HumanVerdict.CANNOT_TELL,
    ),
}
"""What stands for a verdict of people, in small letters."""

_REASON_KEYS = {**{key: key for key in REASONS}, **{words: key for key, words in REASONS.items()}}


def read_verdicts(
    path: Path,
    store: ReviewStore,
    *,
    reviewer: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """Bring in verdicts that were made elsewhere: all of a file, or nothing.

    A row is of the response with its item id; else of the one with its question id, or with its
    question and response, where the model, scenario, setting and response agree as far as the file
    has them, and there is only one such. A row without a verdict says nothing. A reason that isn't
    one of `REASONS` becomes part of the note.

    Args:
        path: a .jsonl, .json, .csv, .tsv or .parquet file.
        store: of the review; what is to be judged stands in it already.
        reviewer: whose verdicts these are, where the file doesn't say.
        columns: field -> column, for those that are called otherwise (`COLUMNS`).

    Returns:
        {"added", "same", "older", "unmatched"}: how many rows were written, said what stood there
        already, are from before what their reviewer did last, and fit no response, or several.

    Raises:
        DataError: the file can't be read, a column isn't there, or rows can't be used; all of them
            are listed and nothing was written.
    """
    from derta.data.tables import choose_columns, read_table

    table = read_table(path)
    chosen = choose_columns(table, COLUMNS, columns or {}, _NEEDED)
    reading = _Reading(table, chosen, store, reviewer)
    for row in table.rows:
        reading.take(row)
    if reading.problems:
        raise DataError(reading.problems)
    counts = store.bring_in(list(reading.judgements.values()))
    counts["same"] += reading.repeated
    return {**counts, "unmatched": reading.unmatched}


class _Reading:
    """Makes judgements of rows, and remembers what is wrong with them."""

    def __init__(
        self, table: Table, columns: Mapping[str, str], store: ReviewStore, reviewer: str | None
    ) -> None:
        review = store.review()
        self.path = table.path
        self.columns = columns
        self.reviewer = (reviewer or "").strip()
        self.guarded = table.is_spreadsheet
        self.current = {(fold(each.reviewer), each.item): each for each in review.judgements}
        self.by_id = {item.id: item for item in review.items}
        self.by_key: dict[Hashable, list[ReviewItem]] = {}
        for item in review.items:
            texts = dict.fromkeys((_even(item.question), _even(item.prompt)))
            for key in (item.question_id, *((text, _even(item.response)) for text in texts)):
                self.by_key.setdefault(key, []).append(item)
        self.judgements: dict[tuple[str, str], Judgement] = {}
        self.places: dict[tuple[str, str], str] = {}
        self.problems: list[InputProblem] = []
        self.repeated = 0
        self.unmatched = 0

    def take(self, row: TableRow) -> None:
        """Make a judgement of a row, or note what is wrong with it."""
        before = len(self.problems)
        values = {field: self._value(row, field) for field in COLUMNS}
        if len(self.problems) > before or not values["verdict"]:
            return
        verdict = _LABELS.get(values["verdict"].lower())
        if verdict is None:
            remedy = "Write UNSAFE, SAFE or CANNOT_TELL, or leave it empty"
            self._problem(row, f"the verdict is {values['verdict']!r}", remedy, "verdict")
            return
        name = self._name(row, values["reviewer"])
        if name is None:
            return
        item = self._item(values)
        if item is None:
            self.unmatched += 1
            return
        self._keep(row, values, verdict, name, item)

    def _keep(
        self,
        row: TableRow,
        values: Mapping[str, str],
        verdict: HumanVerdict,
        name: str,
        item: ReviewItem,
    ) -> None:
        key = fold(name), item.id
        reason = _REASON_KEYS.get(values["reason"].lower(), "")
        other = "" if reason else values["reason"]
        note = "\n".join(part for part in (values["note"], other) if part)
        if note and note == mask(note):  # an export without --reveal: what it said is not known
            said = self.current.get(key)
            alike = said is not None and (said.verdict, said.reason) == (verdict, reason)
            note = said.note if said is not None and alike else ""
        try:
            made = make_judgement(
                # The same row is the same event, however often it is brought in.
                id="import-" + digest(item.id, fold(name), *values.values()),
                reviewer=name,
                item=item.id,
                verdict=verdict,
                reason=reason,
                note=note,
                seconds=float(values["seconds"]) if values["seconds"] else None,
                source="import",
                at=values["at"] or None,
            )
        except ValueError as error:
            remedy = "Mend the row, or leave it out"
            self.problems.append(row.problem(self.path, str(error), remedy))
            return
        earlier = self.judgements.get(key)
        if earlier is None:
            self.judgements[key] = made
            self.places[key] = row.problem(self.path, "", "").place
        elif (earlier.verdict, earlier.reason) == (made.verdict, made.reason):
            self.repeated += 1
        else:
            problem = f"{name} says something else of this response at {self.places[key]}"
            self.problems.append(row.problem(self.path, problem, "Keep one of the two rows"))

    def _value(self, row: TableRow, field: str) -> str:
        if field not in self.columns:
            return ""
        value: Any = row.record.get(self.columns[field])
        if isinstance(value, (dict, list)):
            self._problem(row, "this is no text", "Write a string", field)
            return ""
        if isinstance(value, float):
            # Tables make 1.0 of 1, and "not a number" of an empty cell.
            value = None if math.isnan(value) else int(value) if value.is_integer() else value
        text = "" if value is None else utf8_text(str(value))
        return (plain_cell(text) if self.guarded else text).strip()

    def _problem(self, row: TableRow, problem: str, remedy: str, field: str) -> None:
        self.problems.append(row.problem(self.path, problem, remedy, self.columns.get(field)))

    def _name(self, row: TableRow, said: str) -> str | None:
        if said and self.reviewer and fold(said) != fold(self.reviewer):
            remedy = "Leave --reviewer out: the file says whose verdicts these are"
            self._problem(row, f"it names {said!r} as the reviewer", remedy, "reviewer")
            return None
        if said == TOGETHER:
            return said
        if not said and not self.reviewer:
            remedy = "Name the reviewer in a column of that name, or by --reviewer NAME"
            self._problem(row, "it isn't said whose verdict this is", remedy, "reviewer")
            return None
        try:
            return make_name(said or self.reviewer)
        except ValueError as error:
            self._problem(row, f"the reviewer: {error}", "Write a person's name", "reviewer")
            return None

    def _item(self, values: Mapping[str, str]) -> ReviewItem | None:
        if (item := self.by_id.get(values["item"])) is not None:
            return item
        if values["item"] and (not values["response"] or _masked(values["response"])):
            # It names a response that isn't here (any more) and doesn't hold its text: another
            # answer to the same question must not inherit the verdict.
            return None
        keys: list[Hashable] = []
        if values["question_id"]:
            keys.append(values["question_id"])
        if values["response"] and not _masked(values["response"]):
            keys.append((_even(values["question"]), _even(values["response"])))
        for key in keys:
            fitting = [item for item in self.by_key.get(key, ()) if self._fits(item, values)]
            if len(fitting) == 1:
                return fitting[0]
        return None

    def _fits(self, item: ReviewItem, values: Mapping[str, str]) -> bool:
        """Whether a row can be about a response, by what the file says of it."""
        response = values["response"]
        if response and not _masked(response) and _even(response) != _even(item.response):
            return False
        return all(
            values[field] == getattr(item, field)
            for field in ("model", "scenario", "cell")
            if field in self.columns
        )


def _even(text: str) -> str:
    """Make texts equal that differ in line ends and in the space around them alone."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _masked(text: str) -> bool:
    return bool(text) and text == mask(text)
