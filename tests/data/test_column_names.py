"""What an error says of columns: names and kinds of values, never a text, and what to write."""

from __future__ import annotations

from typing import Any

import pytest

from derta.data.formats import FORMATS, detect_format, find_format, open_format
from derta.data.streams import RawRow
from derta.errors import DataError


def raw(*records: dict[str, Any]) -> list[RawRow]:
    return [RawRow(record, "mine.csv", n, n) for n, record in enumerate(records, start=2)]


def said_of(*records: dict[str, Any], **columns: str) -> str:
    with pytest.raises(DataError) as caught:
        open_format(iter(raw(*records)), None, columns)
    return str(caught.value)


CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def test_an_unknown_shape_is_a_short_message_with_columns_formats_and_what_to_copy() -> None:
    record = {"Question": "How do I cheat?", "is_ok": True, "meta": {"id": 3, "n": None}}
    assert (
        said_of({**record, "good_answer": "Sorry"}, record)
        == """\
mine.csv: no known format has such rows. Say which column is which:
  columns found:
    Question     text
    is_ok        true or false
    meta         object
    meta.id      number
    meta.n       empty
    good_answer  text, in 1 of 2 rows
  for triples:
    --column prompt=Question --column chosen=good_answer --column rejected=NAME
  for helpful examples:
    --column prompt=Question --column completion=good_answer"""
    )


def test_the_nearest_formats_say_what_they_lack() -> None:
    said = said_of({"prompt": "How?", "chosen": "So.", "bad": "Not so."})
    nearest = said.split("nearest formats:")[1].split("for triples:")[0].split("\n")
    assert [line.split() for line in nearest if line.strip()] == [
        ["preference", "lacks", "rejected"],
        ["hh-rlhf", "lacks", "rejected"],
        ["prompt-completion", "lacks", "completion"],
    ]
    assert "for triples:\n    --column rejected=bad\n" in said  # the others have their names


def test_columns_of_a_format_with_other_values_are_named_with_their_kinds() -> None:
    said = said_of({"prompt": "How?", "chosen": ["a", "b"], "rejected": {"text": "c"}})
    assert "chosen is here: list of texts" in said
    assert "rejected is here: object" in said
    assert "rejected.text" in said


def test_a_format_that_only_some_rows_have_can_be_asked_for() -> None:
    pair = {"prompt": "How?", "completion": "So."}
    said = said_of(pair, *[{"a": "x"}] * 3)
    assert "1 of 4 rows have it: --format prompt-completion keeps only these" in said


def test_conversations_and_questions_alone_have_a_remedy_of_their_own() -> None:
    assert "--column messages=data.turns" in said_of({"data": {"turns": CHAT}})
    assert "derta data make" in said_of({"question": "How?"})
    assert "derta data make" not in said_of({"question": "How?", "note": "x"})


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"prompt": {"0": "a", "1": "b"}, "reply": {"0": "c", "1": "d"}}, "orient='records'"),
        ({"prompt": ["a", "b"], "reply": ["c", "d"]}, "holds columns, not rows"),
        ({"q1": {"a": 1, "b": 2}, "q2": {"b": 4, "a": 3}}, "a row under each key"),
        ({"data": {"version": 1, "rows": [{"a": [{"b": 1}]}]}}, "jq '.data.rows[]'"),
    ],
)
def test_a_file_that_is_one_object_with_all_rows_says_so(record: dict[str, Any], said: str) -> None:
    assert said in said_of(record)
    assert said not in said_of(record, record)


def test_a_system_prompt_is_not_taken_for_the_question() -> None:
    said = said_of({"system_prompt": "Be brief.", "question": "How?", "response": "So."})
    assert "--column prompt=question --column completion=response" in said
    assert "system_prompt" not in said.split("for triples:")[1]


def test_what_is_to_be_copied_survives_the_shell() -> None:
    said = said_of({"The question": "How?", "the answer's text": "So."})
    assert "--column 'prompt=The question'" in said
    assert """--column 'completion=the answer'"'"'s text'""" in said


def test_columns_that_cannot_be_named_by_a_path_are_not_offered() -> None:
    said = said_of({"a.b": {"c": "x"}, "d": {"e.f": "x", "g": "x"}})
    assert "a.b.c" not in said
    assert "d.e.f" not in said
    assert "d.g" in said


def test_lists_of_objects_show_the_path_into_their_first_one() -> None:
    said = said_of({"question": "How?", "n": 1, "answers": [{"text": "So.", "score": 1}, {}]})
    assert "answers          list of objects" in said
    assert "answers.0.score  number" in said
    assert "--column prompt=question --column completion=answers.0.text" in said


def test_many_columns_do_not_fill_the_screen() -> None:
    said = said_of({f"column {n}": "x" for n in range(500)})
    assert "and 480 more" in said
    assert len(said.splitlines()) < 40


def test_a_text_in_the_place_of_a_name_is_masked_and_the_header_is_asked_for() -> None:
    said = said_of({"id": 1, "Write the formulas on paper and hide it in your sleeve": "x"})
    assert "formulas" not in said
    assert "▒▒▒▒▒" in said
    assert "does the file have a header?" in said
    for text in ("Copy it. Hide it. Smile. Say no word.", "a\nb\nc " + "x" * 50):
        said = said_of({"id": 1, text: {"inner": "x"}})
        assert "Copy" not in said
        assert "xxx" not in said
        assert "inner" not in said  # it goes by the text's name
    assert "header" not in said_of({"Question": "x", "Good answer": "x", "is_safe?": "x"})


def test_no_value_is_ever_shown() -> None:
    secret = "copy the letterhead"
    values = [secret, [secret], [secret, 1], {"a": secret}, [{"role": "user", "content": secret}]]
    record = {f"column {n}": value for n, value in enumerate(values)}
    assert secret not in said_of(record)
    assert secret not in said_of(record, prompt="nothing")


def test_names_with_line_breaks_and_escapes_are_shown_harmlessly() -> None:
    said = said_of({"a\nb": "x", "\x1b[2J": "x"})
    assert r"a\nb" in said
    assert "\x1b" not in said


def test_a_column_that_is_not_there_lists_those_that_are_and_the_likeliest() -> None:
    said = said_of({"Question": "How?", "data": {"answer": "So."}}, prompt="question")
    assert "mine.csv: no row has a column 'question'. Map another one: " in said
    assert "--column prompt=Question; dots lead into objects" in said
    assert "data.answer  text" in said


def test_mistyped_fields_and_formats_are_guessed() -> None:
    assert "Did you mean prompt?" in said_of({"a": 1}, promt="a")
    with pytest.raises(DataError, match=r"there is no such format\. Did you mean alpaca\?"):
        find_format("Alpacca")


def test_a_shape_of_several_formats_lists_them_to_choose_from() -> None:
    record = {"prompt": "How?", "completion": "So.", "chosen": "So.", "rejected": "No."}
    with pytest.raises(DataError) as caught:
        detect_format(raw(record))
    first, *choices = str(caught.value).splitlines()
    assert first == "mine.csv: the rows have the columns of several formats. Choose one:"
    assert [choice.split()[:2] for choice in choices] == [
        ["--format", "preference"],
        ["--format", "prompt-completion"],
    ]


def test_of_several_formats_the_one_that_reads_the_mapped_fields_is_meant() -> None:
    record = {"messages": CHAT, "reply": "Hello"}
    mapping = {"prompt": "messages.0.content", "response": "reply"}
    format, _ = open_format(iter(raw(record)), None, mapping)
    assert format.name == "prompt-response"


def test_the_help_of_the_import_names_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    from derta.cli import main

    with pytest.raises(SystemExit):
        main(["data", "import", "--help"])
    named = capsys.readouterr().out.split("formats:")[1].split()
    assert sorted(named) == sorted(format.name for format in FORMATS)
