"""What errors promise: each names its place and the remedy, and many don't fill the screen."""

from __future__ import annotations

from pathlib import Path

from derta.errors import DataError, InputProblem


def test_a_problem_names_its_file_line_and_key() -> None:
    problem = InputProblem("a.jsonl", "the text is empty", "Fill it in", 4, "prompt")
    assert problem.place == "a.jsonl:4 (prompt)"
    assert str(problem) == "a.jsonl:4 (prompt): the text is empty. Fill it in"
    assert InputProblem("a.jsonl", "it is empty", "Choose another", key="row 2").place == (
        "a.jsonl (row 2)"
    )


def test_an_error_of_one_problem_is_made_in_one_go() -> None:
    error = DataError.of(Path("a.jsonl"), "it is empty", "Choose another file")
    assert error.problems == [InputProblem("a.jsonl", "it is empty", "Choose another file")]
    assert str(error) == "a.jsonl: it is empty. Choose another file"
    assert str(DataError.of("mix", "odd", "Mend it", line=3, key="--ratio")) == (
        "mix:3 (--ratio): odd. Mend it"
    )


def test_many_problems_are_counted_behind_the_first() -> None:
    problems = [InputProblem("a.jsonl", "odd", "Mend it", n) for n in range(30)]
    lines = str(DataError(problems)).splitlines()
    assert lines[0] == "a.jsonl:0: odd. Mend it"
    assert lines[20:] == ["... and 10 more problems"]
