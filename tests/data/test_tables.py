"""Tables as they stand in a file: which of their columns holds what.

Not covered: how files are read (`test_streams`).
"""

from __future__ import annotations

import pytest

from derta.data.tables import Table, TableRow, choose_columns
from derta.errors import DataError

FIELDS = {"question": ("question", "goal"), "response": ("response", "output"), "id": ("id",)}
NEEDED = {("response",): "no column holds the response", ("question", "id"): "nothing was asked"}


def table(*columns: str, path: str = "theirs.jsonl") -> Table:
    return Table(path, [TableRow(dict.fromkeys(columns, "text"), line=1)])


@pytest.mark.parametrize(
    ("columns", "given", "expected"),
    [
        (("goal", "output"), {}, {"question": "goal", "response": "output"}),
        (("goal", "question", "output"), {}, {"question": "question", "response": "output"}),
        (("Output", "OUTPUT", "Id"), {}, {"response": "Output", "id": "Id"}),
        (("goal", "a", "b"), {"response": "b"}, {"question": "goal", "response": "b"}),
        (("goal", "output", "b"), {"response": "b"}, {"question": "goal", "response": "b"}),
    ],
)
def test_the_first_name_that_is_there_is_taken_unless_another_is_given(
    columns: tuple[str, ...], given: dict[str, str], expected: dict[str, str]
) -> None:
    assert choose_columns(table(*columns), FIELDS, given, NEEDED) == expected


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        (("a", "b"), {}, r"no column holds the response.*--column response=NAME; it has a, b"),
        (("output",), {}, r"nothing was asked.*Map one: --column question=NAME; it has output"),
        (("output",), {"mood": "output"}, r"no field 'mood'.*Map one of question, response, id"),
        (("output", "b"), {"id": "c"}, r"no column 'c'.*It has output, b"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(
    columns: tuple[str, ...], given: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=rf"theirs\.jsonl: .*{message}"):
        choose_columns(table(*columns), FIELDS, given, NEEDED)


@pytest.mark.parametrize(
    ("path", "expected"), [("a.csv", True), ("A.TSV", True), ("a.jsonl", False), ("csv", False)]
)
def test_a_spreadsheet_is_told_by_its_ending(path: str, expected: bool) -> None:
    assert table(path=path).is_spreadsheet is expected
