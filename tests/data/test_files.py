"""What reading of data files promises: formats, and an error with line and key for each defect."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from derta.data.files import (
    load_helpful,
    load_triples,
    overlong_problems,
    read_helpful,
    read_triples,
)
from derta.data.sample import sample_file, sample_helpful, sample_triples
from derta.errors import DataError, InputProblem
from derta.triple import Message

GOOD: dict[str, Any] = {"prompt": "How?", "chosen": "Sorry, no.", "rejected": "Like this."}


def write(folder: Path, *rows: object, name: str = "rows.jsonl") -> Path:
    path = folder / name
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def only_problem(path: Path) -> InputProblem:
    with pytest.raises(DataError) as caught:
        read_triples(path)
    assert len(caught.value.problems) == 1
    problem = caught.value.problems[0]
    assert str(path) in str(caught.value)
    assert problem.remedy
    return problem


def test_text_and_chat_messages_give_the_same_triple(tmp_path: Path) -> None:
    chat = {
        "prompt": [{"role": "user", "content": "How?"}],
        "chosen": [{"role": "assistant", "content": "Sorry, no."}],
        "rejected": [{"role": "assistant", "content": "Like this."}],
    }
    first, second = read_triples(write(tmp_path, GOOD, chat))
    assert first == second
    assert first.prompt.messages == (Message("user", "How?"),)
    assert (first.safe_response, first.harmful_response) == ("Sorry, no.", "Like this.")


def test_a_prompt_may_hold_a_system_message_and_earlier_turns(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "How?"},
    ]
    (triple,) = read_triples(write(tmp_path, {**GOOD, "prompt": turns}))
    assert [message.role for message in triple.prompt.messages] == [t["role"] for t in turns]
    assert triple.prompt.last_text == "How?"


def test_helpful_rows_may_have_a_rejected_response(tmp_path: Path) -> None:
    row = {"prompt": "2+2?", "completion": "4"}
    plain, null, with_rejected = read_helpful(
        write(tmp_path, row, {**row, "rejected": None}, {**row, "rejected": "5"})
    )
    assert plain == null
    assert plain.rejected is None
    assert with_rejected.rejected == "5"


def test_other_columns_are_kept_beside_the_rows(tmp_path: Path) -> None:
    loaded = load_triples(write(tmp_path, {**GOOD, "id": "a", "split": "train"}))
    assert loaded.columns == [{"id": "a", "split": "train"}]
    assert loaded.lines == [1]


def test_byte_order_mark_line_ends_of_windows_and_blank_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "windows.jsonl"
    line = json.dumps(GOOD).encode()
    path.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\r\n  \r\n" + line)
    loaded = load_triples(path)
    assert loaded.lines == [1, 4]
    assert loaded.problems == []


@pytest.mark.parametrize(
    ("row", "key", "said"),
    [
        ("{not json", None, "not JSON"),
        ('["a", "list"]', None, "a list"),
        ("[" * 100_000, None, "not JSON"),
        ({"prompt": "q", "chosen": "a"}, "rejected", "missing"),
        ({**GOOD, "chosen": "  \n"}, "chosen", "empty"),
        ({**GOOD, "prompt": ""}, "prompt", "empty"),
        ({**GOOD, "prompt": 3}, "prompt", "a number"),
        ({**GOOD, "rejected": None}, "rejected", "null"),
        ({**GOOD, "chosen": []}, "chosen", "empty"),
        ({**GOOD, "prompt": ["q"]}, "prompt[0]", "text"),
        ({**GOOD, "prompt": [{"role": "human", "content": "q"}]}, "prompt[0].role", "human"),
        ({**GOOD, "prompt": [{"role": "user", "content": 3}]}, "prompt[0].content", "a number"),
        ({**GOOD, "prompt": [{"role": "user", "content": " "}]}, "prompt[0].content", "empty"),
        ({**GOOD, "prompt": [{"role": "assistant", "content": "a"}]}, "prompt", "assistant"),
        ({**GOOD, "chosen": [{"role": "user", "content": "a"}]}, "chosen", "user"),
        ({**GOOD, "rejected": " Sorry, no.\n"}, "rejected", "same text"),
        ('{"prompt": "\\ud800", "chosen": "a", "rejected": "b"}', "prompt", "surrogate"),
    ],
)
def test_a_bad_row_is_named_by_line_and_key(
    tmp_path: Path, row: object, key: str | None, said: str
) -> None:
    problem = only_problem(write(tmp_path, GOOD, row))
    assert problem.line == 2
    assert problem.key == key
    assert said in problem.problem


def test_bytes_that_are_not_utf8_are_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"prompt": "caf\xe9"}\n')
    problem = only_problem(path)
    assert problem.line == 2
    assert "UTF-8" in problem.problem


def test_all_problems_of_a_file_are_reported_together(tmp_path: Path) -> None:
    path = write(tmp_path, "{", GOOD, {"chosen": "", "rejected": 3}, {**GOOD, "chosen": None})
    with pytest.raises(DataError) as caught:
        read_triples(path)
    found = [(problem.line, problem.key) for problem in caught.value.problems]
    assert found == [(1, None), (3, "prompt"), (3, "chosen"), (3, "rejected"), (4, "chosen")]


def test_loading_keeps_the_good_rows_and_the_problems_of_the_others(tmp_path: Path) -> None:
    loaded = load_triples(write(tmp_path, GOOD, "{", {**GOOD, "prompt": "Why?"}))
    assert [triple.prompt.last_text for triple in loaded.rows] == ["How?", "Why?"]
    assert loaded.lines == [1, 3]
    assert [problem.line for problem in loaded.problems] == [2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"", "no rows"),
        (b"\xef\xbb\xbf \n\n", "no rows"),
        (json.dumps(GOOD).encode("utf-16"), "UTF-16"),
        (json.dumps([GOOD], indent=1).encode(), "not JSONL"),
        (json.dumps(GOOD, indent=1).encode(), "not JSONL"),
    ],
)
def test_a_file_that_is_no_jsonl_at_all_is_one_problem(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "file.jsonl"
    if content is not None:
        path.write_bytes(content)
    for load in (load_triples, load_helpful):
        with pytest.raises(DataError, match=said) as caught:
            load(path)
        assert len(caught.value.problems) == 1


def test_a_folder_is_not_a_file_of_rows(tmp_path: Path) -> None:
    assert "folder" in only_problem(tmp_path).problem


def test_a_helpful_row_with_two_equal_responses_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {"prompt": "q", "completion": "a", "rejected": "a "})
    with pytest.raises(DataError, match="same text"):
        read_helpful(path)


def test_overlong_rows_are_named_with_their_length() -> None:
    (problem,) = overlong_problems("rows.jsonl", [(1, 10), (2, 11), (5, 10)], 10)
    assert problem.line == 2
    assert "11 tokens" in problem.problem
    assert "max_length" in problem.remedy


def test_every_row_of_the_sample_set_is_in_one_split_and_the_test_split_is_large_enough() -> None:
    splits = ("train", "tune", "test")
    triples = {split: sample_triples(split) for split in splits}
    helpful = {split: sample_helpful(split) for split in splits}
    lines = len(sample_file("triples.jsonl").splitlines())
    assert sum(len(rows) for rows in triples.values()) == lines
    categories = [row.category for row in helpful["test"]]
    assert len(triples["test"]) >= 50
    assert categories.count("ordinary") >= 100
    assert categories.count("look-alike") >= 40


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="train, tune, test"):
        sample_triples("validation")  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_the_column_of_broken_json_does_not_depend_on_how_the_line_ends(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "how"' + ending.encode())
    assert "at column 17" in only_problem(path).problem


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=[json.dumps(GOOD) + "\n"])
    writer.start()
    (triple,) = read_triples(pipe)
    writer.join()
    assert triple.safe_response == GOOD["chosen"]


@pytest.mark.parametrize("value", [False, "False", " false "])
def test_a_response_that_is_labelled_as_a_bad_one_is_not_trained_on(
    tmp_path: Path, value: object
) -> None:
    """TRL's unpaired preference type has our columns, and half of its responses are bad ones."""
    row = {"prompt": "How?", "completion": "Like this."}
    path = write(tmp_path, {**row, "label": True}, {**row, "label": value}, {**row, "label": 0})
    loaded = load_helpful(path)
    assert loaded.lines == [1, 3]
    (problem,) = loaded.problems
    assert (problem.line, problem.key) == (2, "label")
    assert "derta data import" in problem.remedy


@pytest.mark.parametrize("value", ["false", 0, None])
def test_finished_is_true_or_false_and_nothing_like_it(tmp_path: Path, value: object) -> None:
    """A cut response that is taken for a finished one teaches the model to stop in mid-sentence."""
    row = {"prompt": "How?", "completion": "Like", "finished": value}
    path = write(tmp_path, {**row, "finished": False}, {**row, "finished": True}, row)
    with pytest.raises(DataError) as caught:
        read_helpful(path)
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (3, "finished")
