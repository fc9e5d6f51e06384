"""The delimiter of a table: found as a careful reader would, whatever stands in names and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from derta.data.streams import RawRow, stream_rows
from derta.errors import InputProblem


def read(folder: Path, text: str | bytes, name: str = "a.csv") -> list[dict[str, Any]]:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    found = list(stream_rows(path))
    assert not [str(each) for each in found if isinstance(each, InputProblem)]
    return [each.record for each in found if isinstance(each, RawRow)]


TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "a comma in a quoted name": (
        '"question, English";answer\nHow?;So.\n',
        {"question, English": "How?", "answer": "So."},
    ),
    "a comma in a name": ("a,b;c;d\n1;2;3\n4;5;6\n", {"a,b": "1", "c": "2", "d": "3"}),
    "a comma in a name and in every row": (
        "a,b;c;d\n1,5;2;3\n4,5;5;6\n",
        {"a,b": "1,5", "c": "2", "d": "3"},
    ),
    "prose in a name and in the texts": (
        "question, English;answer\nHow, please?;So, there.\nWhen?;Now.\nWhy?;It is.\n",
        {"question, English": "How, please?", "answer": "So, there."},
    ),
    "semicolons in the texts": (
        '"labels; several",text\n"a; b",x\n"c; d",y\n',
        {"labels; several": "a; b", "text": "x"},
    ),
    "a row too few and semicolons in every text": (
        'id,"labels;scores",text\n1,"a;b",x\n2,"a;b",y\n3,"a;b",z\n',
        {"id": "1", "labels;scores": "a;b", "text": "x"},
    ),
    "bars in a name": (
        "id,label (a|b|c),text\n1,a,x\n",
        {"id": "1", "label (a|b|c)": "a", "text": "x"},
    ),
    "tabs": ("a\tb, c\n1\t2, 3\n", {"a": "1", "b, c": "2, 3"}),
    "bars": ("a|b\n1|2,3\n", {"a": "1", "b": "2,3"}),
    "line breaks in quotation marks": ('a;b\n"1\n2,3\n4;5";6\n', {"a": "1\n2,3\n4;5", "b": "6"}),
    "blanks behind the commas": ("id, text\n1, x\n", {"id": "1", "text": " x"}),
    "one column": ("question\nHow?\n", {"question": "How?"}),
    "lines of Windows": ("a,b;c\r\n1;2\r\n", {"a,b": "1", "c": "2"}),
    "Excel's hint": ("sep=;\r\na;b\r\n1;2\r\n", {"a": "1", "b": "2"}),
    "Excel's hint in quotation marks": ('"sep=|"\na,b|c\n1|2\n', {"a,b": "1", "c": "2"}),
    "Excel's hint behind a mark": ("\ufeffSEP=,\na,b\n1,2\n", {"a": "1", "b": "2"}),
    "Excel's hint of a tab": ("sep=\t\na\tb\n1\t2\n", {"a": "1", "b": "2"}),
    "an unusual delimiter that is named": ("sep=^\na^b\n1^2\n", {"a": "1", "b": "2"}),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_delimiter_is_what_divides_the_rows_as_it_does_the_header(
    tmp_path: Path, name: str
) -> None:
    text, expected = TABLES[name]
    assert read(tmp_path, text)[0] == expected


def test_a_hint_and_a_header_keep_the_numbers_of_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("sep=;\na;b\n1;2\n3\n")
    row, problem = stream_rows(path)
    assert isinstance(row, RawRow)
    assert isinstance(problem, InputProblem)
    assert (row.line, problem.line) == (3, 4)


def test_a_tab_divides_tsv_and_nothing_else_where_the_header_has_one(tmp_path: Path) -> None:
    assert read(tmp_path, "a\tb;c,d\n1;2,3\t4\n", "a.tsv") == [{"a": "1;2,3", "b;c,d": "4"}]
    assert read(tmp_path, "a;b\n1;2\n", "b.tsv") == [{"a": "1", "b": "2"}]


def test_ragged_rows_and_open_quotation_marks_do_not_change_the_delimiter(tmp_path: Path) -> None:
    lines = ["id,note;more,text", *(f"{n},x;y,z" for n in range(50))]
    lines[3:6] = ["2,a", '3,"open,x', "4,a,b,c"]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines))
    found = [each for each in stream_rows(path) if isinstance(each, RawRow)]
    assert len(found) == 47
    assert found[0].record == {"id": "0", "note;more": "x;y", "text": "z"}


def test_a_text_longer_than_what_is_looked_at_does_not_hide_the_delimiter(tmp_path: Path) -> None:
    text = "a long, long text;\n" * 20_000
    rows = read(tmp_path, f'a,b;c;d\n"{text}";2;3\n')
    assert rows == [{"a,b": text, "c": "2", "d": "3"}]
