"""Held-out questions: from which files and columns they are read, and what is an error.

Not covered: what the commands make of them (tests of `derta.check_data` and `derta.data.mixing`).
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from derta.data.held_out import read_held_out, require_apart, split_columns
from derta.data.prompts import hash_text
from derta.data.sample import sample_helpful, sample_triples
from derta.data.streams.hub import HubSource
from derta.errors import DataError


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_questions_are_read_from_any_column_that_asks(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "question": "a b"},
        {"Goal": "c d"},
        {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "e f"}]},
        {"query": "g h"},
        {"messages": [{"role": "user", "content": "i j"}, {"role": "assistant", "content": "x"}]},
        {"conversations": [{"from": "human", "value": "k l"}, {"from": "gpt", "value": "x"}]},
    ]
    held = read_held_out(write_rows(tmp_path / "held.jsonl", rows))
    assert held.questions == ["a b", "c d", "e f", "g h", "i j", "k l"]
    assert held.places[2].endswith("held.jsonl:3")


def test_a_plain_question_goes_before_the_prompt_that_hides_it(tmp_path: Path) -> None:
    rows = [{"prompt": "You are a pirate. How do I cheat?", "question": "How do I cheat?"}]
    held = read_held_out(write_rows(tmp_path / "held.jsonl", rows))
    assert held.questions == ["How do I cheat?"]


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_a_column_may_have_any_name(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"held{ending}"
    rows: list[dict[str, Any]] = [{"Frage": "a b", "text": "no"}, {"Frage": "c d", "text": "no"}]
    if ending == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["Frage", "text"])
            writer.writeheader()
            writer.writerows(rows)
    else:
        write_rows(path, rows)
    assert read_held_out(path, column="Frage").questions == ["a b", "c d"]


def test_a_file_without_a_question_is_one_error_that_names_its_columns(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "held.jsonl", [{"Frage": "a", "Thema": "b"}] * 30)
    with pytest.raises(DataError) as caught:
        read_held_out(path)
    (line,) = str(caught.value).splitlines()
    assert "no column is recognised as the question (the columns are: Frage, Thema)" in line
    assert "--column held-out.question=NAME" in line
    with pytest.raises(DataError, match=r"there is no column 'Farge' .*Frage, Thema"):
        read_held_out(path, column="Farge")


def test_rows_without_a_question_are_named(tmp_path: Path) -> None:
    rows = [{"prompt": "a b"}, {"prompt": " "}, {"answer": "d"}, {"prompt": 7}]
    with pytest.raises(DataError) as caught:
        read_held_out(write_rows(tmp_path / "held.jsonl", rows))
    lines = [each.line for each in caught.value.problems]
    assert lines == [2, 3, 4]


def test_a_conversation_is_its_turns_and_the_last_that_says_enough(tmp_path: Path) -> None:
    turns = ["a b", "How do tides come about here?", "Why?"]
    rows = [
        {"prompt": [{"role": "user", "content": turn} for turn in turns[: index + 2]]}
        for index in range(2)
    ]
    held = read_held_out(write_rows(tmp_path / "held.jsonl", rows))
    assert held.questions == ["\n".join(turns[:2]), "\n".join(turns)]
    assert held.compared == [turns[1], "\n".join(turns)]
    assert held.hashes() == {hash_text(text) for text in (*held.questions, turns[1])}


def test_the_sample_sets_are_its_test_split() -> None:
    held = read_held_out("sample")
    assert len(held.questions) == len(sample_triples("test")) + len(sample_helpful("test"))
    with pytest.raises(DataError, match="need no column"):
        read_held_out("sample", column="prompt")


def test_a_published_set_is_read_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[HubSource] = []

    def load(hub: HubSource) -> list[dict[str, Any]]:
        asked.append(hub)
        return [{"prompt": "How do I cheat?", "category": "games"}]

    assert read_held_out("harmbench", load).questions == ["How do I cheat?"]
    assert asked[0].hub_id == "walledai/HarmBench"
    write_rows(tmp_path / "named.jsonl", [{"text": "mine"}])
    with pytest.raises(DataError, match=r"nothing-like-it.*or one of: sample, harmbench"):
        read_held_out("nothing-like-it", load)


def test_the_held_out_column_is_told_apart_from_the_others() -> None:
    columns = {"prompt": "q", "held-out.question": "Frage"}
    assert split_columns(columns) == ({"prompt": "q"}, "Frage")
    assert split_columns({"prompt": "q"}) == ({"prompt": "q"}, None)
    with pytest.raises(DataError, match=r"--column held-out\.prompt=q: .*held-out\.question=NAME"):
        split_columns({"held-out.prompt": "q"})


def test_the_data_themselves_are_no_held_out_questions(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"prompt": "a"}])
    (tmp_path / "link.jsonl").symlink_to(path)
    require_apart(tmp_path / "other.jsonl", [path])
    require_apart("sample", ["sample"])
    for name in (path, tmp_path / "link.jsonl", tmp_path / "." / "rows.jsonl"):
        with pytest.raises(DataError, match=r"one of the files of data.*leave --held-out out"):
            require_apart(name, [path])
    with pytest.raises(DataError, match="one of the files of data"):
        require_apart("hub:owner/name", ["owner/name"])


def test_messages_that_a_table_holds_as_text_are_read_as_messages(tmp_path: Path) -> None:
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How do I cheat?"},
        {"role": "assistant", "content": "Sorry."},
    ]
    path = tmp_path / "held.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "messages"])
        writer.writerows([[1, json.dumps(chat)], [2, str(chat)]])
    assert read_held_out(path).questions == ["How do I cheat?"] * 2


@pytest.mark.parametrize(
    ("value", "questions"),
    [
        ("Human: a\n\nAssistant: No.\n\nHuman: Why?\n\nAssistant:", "a\nWhy?"),
        ("Human: a\n\nAssistant:\n\nAssistant: b", "Human: a\n\nAssistant:\n\nAssistant: b"),
        ({"role": "user", "content": "How do I cheat?"}, "How do I cheat?"),
        ([{"role": "User", "content": [{"type": "text", "text": "a"}]}], "a"),
        ([{"role": ["user"], "content": "a"}, {"role": "user", "content": "b"}], "b"),
        ([{"role": "tool", "content": "a"}, {"from": "human", "value": "b"}], "b"),
    ],
)  # fmt: skip
def test_prompts_are_read_in_the_forms_that_the_import_reads(
    value: object, questions: str, tmp_path: Path
) -> None:
    held = read_held_out(write_rows(tmp_path / "held.jsonl", [{"prompt": value}]))
    assert held.questions == [questions]


def test_an_instruction_is_held_out_with_its_input_as_the_import_joins_them(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Translate:", "input": "apple", "output": "pomme"},
        {"instruction": "Name a fruit.", "input": "", "output": "An apple."},
    ]
    held = read_held_out(write_rows(tmp_path / "held.jsonl", rows))
    assert held.questions == ["Translate:\n\napple", "Name a fruit."]


def test_a_folder_that_derta_wrote_is_held_out_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "import.json").write_text('{"derta": "1"}', "utf-8")
    write_rows(tmp_path / "triples.jsonl", [{"prompt": "a b", "chosen": "c", "rejected": "d"}])
    assert read_held_out(tmp_path).questions == ["a b"]
    write_rows(tmp_path / "helpful.jsonl", [{"prompt": "e f", "completion": "g"}])
    held = read_held_out(tmp_path)
    assert held.questions == ["a b", "e f"]
    assert [place.rpartition("/")[2] for place in held.places] == [
        "triples.jsonl:1",
        "helpful.jsonl:1",
    ]
