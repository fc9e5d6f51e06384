"""Folders become the data of one page: what is wrong is named, what differs is said."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from derta.errors import DataError
from derta.report.evaluation_page.collect import PageData, collect
from derta.report.evaluation_page.page import render_evaluation_page
from tests.analysis.fake_run import write_fake_run

SECTIONS = ("attacks", "depth", "position", "knowledge", "detection", "stops", "exposure")


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def change(folder: Path, make: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "evaluation.json"
    found = read(path)
    make(found)
    path.write_text(json.dumps(found), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "runs" / "evaluation"
    write_fake_run(made, models=2, questions=20)
    return made


def collected(*folders: Path) -> PageData:
    return collect(list(folders), "derta report " + " ".join(map(str, folders)))


def test_a_folder_becomes_the_data_of_a_page(folder: Path) -> None:
    data = collected(folder)
    assert data.names == ("untouched", "vanilla")
    assert data.methods == {"untouched": "untouched", "vanilla": "vanilla"}
    assert data.evaluation == read(folder / "evaluation.json")
    assert data.evaluations == (data.evaluation,)
    lines = (folder / "outcomes.jsonl").read_text(encoding="utf-8").count("\n")
    assert len(data.outcomes) == lines
    assert {reading.model for reading in data.readings} == set(data.names)
    assert data.notes == ()
    assert not data.smoke
    assert data.created == "2026-01-02T03:04:05+00:00"
    for section in SECTIONS:
        assert data.commands[section].startswith("derta ")
    assert data.commands["knowledge"] == f"derta analyse {folder}"
    assert data.commands["page"] == f"derta report {folder}"


def test_a_model_is_untouched_only_where_that_is_known(tmp_path: Path) -> None:
    made = tmp_path / "evaluation"
    write_fake_run(made, models=3, questions=20)
    shutil.rmtree(made / "analysis")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/recipe.yaml").write_text("model: owner/base\nmethod: harmful-prefix\n")
    kinds = [("hub", "owner/base"), ("folder", "foreign"), ("run", f"{tmp_path / 'mine'}")]

    def place(found: dict[str, Any]) -> None:
        for subject, (kind, reference) in zip(found["subjects"], kinds, strict=True):
            subject |= {"kind": kind, "reference": reference}

    change(made, place)
    first, _, third = (each["name"] for each in read(made / "evaluation.json")["subjects"])
    assert collected(made).methods == {first: "untouched", third: "harmful_prefix"}


def test_the_whole_page_is_made_without_torch(folder: Path, tmp_path: Path) -> None:
    code = f"""
import sys
for name in ("torch", "transformers", "inspect_ai", "accelerate", "peft", "pandas", "matplotlib"):
    sys.modules[name] = None
from pathlib import Path
from derta.report.evaluation_page.page import write_evaluation_page
write_evaluation_page([Path({str(folder)!r})], Path({str(tmp_path / "report.html")!r}), command="c")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").stat().st_size > 100_000


# --- what is wrong -------------------------------------------------------------------------------


def test_a_folder_without_an_evaluation_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"evaluation\.json: there is no such file.*derta evaluate"):
        collected(tmp_path)


def test_a_folder_is_named_once(folder: Path) -> None:
    with pytest.raises(DataError, match="is named twice"):
        collected(folder, folder / ".." / folder.name)


def test_broken_json_is_named_with_its_line(folder: Path) -> None:
    (folder / "evaluation.json").write_text('{\n "schema": \n', encoding="utf-8")
    with pytest.raises(DataError, match=r"evaluation\.json:3: is no JSON"):
        collected(folder)


@pytest.mark.parametrize("schema", ["derta/evaluation/2", None, 7])
def test_another_schema_is_refused_by_its_key(folder: Path, schema: object) -> None:
    change(folder, lambda found: found.update(schema=schema))
    with pytest.raises(DataError, match=r"\(schema\): is .* and not 'derta/evaluation/1'"):
        collected(folder)


@pytest.mark.parametrize("key", ["subjects", "models", "helpfulness", "judge", "seed", "settings"])
def test_a_missing_key_is_named(folder: Path, key: str) -> None:
    change(folder, lambda found: found.pop(key))
    with pytest.raises(DataError, match=rf"\({key}\): is missing or not .*derta evaluate"):
        collected(folder)


def test_answers_of_another_run_are_refused(folder: Path) -> None:
    path = folder / "outcomes.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[5:]), encoding="utf-8")
    with pytest.raises(DataError, match=r"outcomes\.jsonl: has \d+ answers of 'untouched' to dire"):
        collected(folder)


def test_answers_of_a_stranger_are_refused(folder: Path) -> None:
    path = folder / "outcomes.jsonl"
    first = json.loads(path.read_text(encoding="utf-8").split("\n")[0])
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**first, "model": "stranger"}) + "\n")
    with pytest.raises(DataError, match="answers of 'stranger'"):
        collected(folder)


def test_a_broken_line_of_answers_is_named(folder: Path) -> None:
    with (folder / "outcomes.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"model": "x"}\n')
    with pytest.raises(DataError, match=r"outcomes\.jsonl:\d+: is not an outcome"):
        collected(folder)


def test_damaged_readings_are_named(folder: Path) -> None:
    (folder / "analysis" / "vanilla" / "readings.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"readings\.parquet: can't be read.*derta analyse"):
        collected(folder)


# --- what must be said ---------------------------------------------------------------------------


def test_answers_of_an_older_version_make_a_page_with_a_note(folder: Path) -> None:
    path = folder / "outcomes.jsonl"
    fields = ("refusal_start", "words_before_refusal", "tokens_before_refusal", "exposed_words")
    lines = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line:
            row = json.loads(line)
            lines.append(json.dumps({k: v for k, v in row.items() if k not in fields}) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    data = collected(folder)
    assert "written by an older derta" in data.notes[0]
    page = render_evaluation_page(data)
    assert "written by an older derta" in page
    assert 'id="position"' not in page
    assert "Not in this report" in page


def test_a_model_without_readings_is_named_where_others_have_some(folder: Path) -> None:
    (folder / "analysis" / "vanilla" / "reading.json").unlink()
    (note,) = collected(folder).notes
    assert note.startswith("vanilla: no token readings")
    assert f"derta analyse {folder}" in note


def test_readings_of_other_weights_are_left_out_and_named(folder: Path) -> None:
    change(folder, lambda found: found["subjects"][1].update(fingerprint="new"))
    data = collected(folder)
    assert {reading.model for reading in data.readings} == {"untouched"}
    assert data.notes[0].startswith("vanilla: its token readings are of other weights")


def test_without_any_readings_the_page_says_which_command_adds_them(folder: Path) -> None:
    for path in (folder / "analysis").glob("*/*"):
        path.unlink()
    data = collected(folder)
    assert data.notes == ()
    page = render_evaluation_page(data)
    assert 'id="knowledge"' not in page
    assert f"derta analyse {folder}" in page[page.index("Not in this report") :]


# --- several folders -----------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "one", tmp_path / "two"
    write_fake_run(first, models=2, questions=20)
    write_fake_run(second, models=3, questions=20)
    return first, second


def test_models_of_two_folders_stand_side_by_side_with_unique_names(two: tuple[Path, Path]) -> None:
    data = collected(*two)
    assert data.names == (
        "untouched (one)", "vanilla (one)", "untouched (two)", "vanilla (two)", "derta",
    )  # fmt: skip
    assert {outcome.model for outcome in data.outcomes} == set(data.names)
    assert {reading.model for reading in data.readings} == set(data.names)
    assert list(data.evaluation["models"]) == list(data.names)
    assert set(data.methods) == set(data.names)
    assert data.commands["knowledge"] == f"derta analyse {two[0]}\nderta analyse {two[1]}"
    render_evaluation_page(data)


def test_models_of_two_folders_are_paired_where_they_were_asked_alike(
    two: tuple[Path, Path],
) -> None:
    pairs = {(e["first"], e["second"]) for e in collected(*two).analysis["differences"]}
    assert ("vanilla (one)", "derta") in pairs
    assert ("vanilla (one)", "untouched (one)") not in pairs
    assert len(pairs) == 1 + 3 + 2 * 3


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("judge", "rubric:openai/a-judge", "judge"),
        ("questions", [{"name": "other", "rows": 1, "sha256": "x"}], "questions"),
        ("budget", "smoke", "budget"),
    ],
)
def test_unlike_evaluations_are_not_paired_and_the_page_says_why(
    two: tuple[Path, Path], key: str, value: Any, word: str
) -> None:
    change(two[1], lambda found: found.update({key: value}))
    data = collected(*two)
    pairs = {(e["first"], e["second"]) for e in data.analysis["differences"]}
    assert ("vanilla (one)", "derta") not in pairs
    assert len(pairs) == 1 + 3
    assert f"differs from {two[0]} in its {word}" in data.notes[0]
    assert data.notes[0] in render_evaluation_page(data).replace("&#x27;", "'")
    assert data.smoke == (key == "budget")


def test_folders_of_one_name_are_told_apart_by_more_of_their_paths(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "run", tmp_path / "b" / "run"
    for place in (first, second):
        write_fake_run(place, models=1, questions=20)
    assert collected(first, second).names == ("untouched (a/run)", "untouched (b/run)")


def test_helpfulness_against_two_different_models_is_said(two: tuple[Path, Path]) -> None:
    change(two[1], lambda found: found["subjects"][0].update(fingerprint="other"))
    assert any("Helpfulness is compared" in note for note in collected(*two).notes)


def test_the_command_of_a_call_from_python_is_made_up_from_what_it_did(folder: Path) -> None:
    change(folder, lambda found: found.update(command=""))
    assert collected(folder).commands["attacks"] == (
        f"derta evaluate runs/untouched runs/vanilla --budget small --output {folder}"
    )
