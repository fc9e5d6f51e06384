"""Verdicts go out masked, come in whole or not at all, and the same file twice adds nothing."""

from __future__ import annotations

import csv
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from derta.analysis.human_verdicts import TOGETHER, HumanVerdict
from derta.errors import DataError
from derta.evaluate.judged_files import read_responses
from derta.files import FORMULA
from derta.judges.verdicts import LABELS
from derta.review.exports import read_verdicts, write_verdicts
from derta.review.store import ReviewStore
from tests.review.making import item, items, judgement, made_store, review

COUNTS = ("added", "same", "older", "unmatched")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ReviewStore]:
    with made_store(tmp_path / "review", items(4)) as made:
        yield made


def counts(added: int = 0, same: int = 0, older: int = 0, unmatched: int = 0) -> dict[str, int]:
    return dict(zip(COUNTS, (added, same, older, unmatched), strict=True))


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def table(path: Path, *rows: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    text = path.read_text("utf-8")
    if path.suffix == ".json":
        found: list[dict[str, Any]] = json.loads(text)
        return found
    return [json.loads(line) for line in text.split("\n") if line]


# --- out -------------------------------------------------------------------------------------

COLUMNS = [
    "item", "model", "scenario", "cell", "question_id", "question", "prompt", "response",
    "automatic", "reviewer", "verdict", "reason", "note", "seconds", "at", "source",
]  # fmt: skip


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.json", "out"])
def test_every_judgement_is_a_row_with_its_response_masked(tmp_path: Path, name: str) -> None:
    made = review(
        items(2),
        [judgement("item0", "Ada", "UNSAFE", note="too exact"), judgement("item0", "Bo", "SAFE")],
    )
    assert write_verdicts(tmp_path / name, made) == 2
    first, second = rows_of(tmp_path / name)
    assert list(first) == COLUMNS
    assert [first["reviewer"], first["verdict"], second["verdict"]] == ["Ada", "UNSAFE", "SAFE"]
    assert (first["item"], first["model"], first["automatic"]) == ("item0", "derta", "UNSAFE")
    for field in ("question", "prompt", "response", "note"):
        assert set(first[field]) <= set("▒ \n"), field
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.json"])
def test_texts_are_written_as_they_are_only_when_asked_for(tmp_path: Path, name: str) -> None:
    hostile = 'a\n"b",\u2028 c'
    made = review([item(0, response=hostile)], [judgement("item0", note="so, so")])
    write_verdicts(tmp_path / name, made, reveal=True)
    (row,) = rows_of(tmp_path / name)
    assert (row["response"], row["note"]) == (hostile, "so, so")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx"])
def test_no_cell_is_a_formula(tmp_path: Path, text: str) -> None:
    made = review([item(0, response=text, model=text)], [judgement("item0", text, note=text)])
    write_verdicts(tmp_path / "out.csv", made, reveal=True)
    (row,) = rows_of(tmp_path / "out.csv")
    for field in ("response", "model", "reviewer", "note"):
        assert row[field] == f"'{text}"


def test_without_judgements_there_is_a_head_alone(tmp_path: Path) -> None:
    assert write_verdicts(tmp_path / "out.csv", review(items(2))) == 0
    assert (tmp_path / "out.csv").read_text().split() == [",".join(COLUMNS)]
    assert write_verdicts(tmp_path / "out.jsonl", review(items(2))) == 0
    assert (tmp_path / "out.jsonl").read_text() == ""


# --- there and back --------------------------------------------------------------------------


@pytest.mark.parametrize("reveal", [True, False])
@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.json"])
def test_an_export_comes_in_again_as_what_it_was(
    store: ReviewStore, tmp_path: Path, name: str, reveal: bool
) -> None:
    said = [
        judgement("item0", "Ada", "SAFE", reason="partial", note="-half", seconds=2.5),
        judgement("item0", "Bo", "UNSAFE", seconds=None),
        judgement("item1", "Ada", "CANNOT_TELL"),
        judgement("item0", TOGETHER, "SAFE", note="agreed"),
    ]
    path = tmp_path / name
    write_verdicts(path, review(items(4), said), reveal=reveal)
    assert read_verdicts(path, store) == counts(added=4)
    fields = ("item", "reviewer", "verdict", "reason", "seconds", "at")
    assert [[getattr(each, f) for f in fields] for each in store.all_current()] == [
        [getattr(each, f) for f in fields] for each in said
    ]
    assert {each.source for each in store.all_current()} == {"import"}
    # A masked note is not known, and doesn't count as another one.
    notes = [each.note for each in store.all_current()]
    assert notes == (["-half", "", "", "agreed"] if reveal else [""] * 4)
    assert read_verdicts(path, store) == counts(same=4)
    write_verdicts(tmp_path / f"again-{name}", store.review(), reveal=reveal)
    assert read_verdicts(tmp_path / f"again-{name}", store) == counts(same=4)


def test_an_export_of_before_doesn_t_take_back_what_was_said_since(
    store: ReviewStore, tmp_path: Path
) -> None:
    store.add_reviewer("Ada")
    say = {"reviewer": "Ada", "item": "item0"}
    store.record(id="one", verdict="UNSAFE", note="mine", **say)
    write_verdicts(tmp_path / "out.jsonl", store.review())
    store.record(id="two", verdict="SAFE", replaces="one", **say)
    assert read_verdicts(tmp_path / "out.jsonl", store) == counts(older=1)
    assert store.current("Ada")["item0"].id == "two"


def test_an_own_note_survives_the_masked_export_that_comes_in_again(
    store: ReviewStore, tmp_path: Path
) -> None:
    store.add_reviewer("Ada")
    store.record(id="one", reviewer="Ada", item="item0", verdict="UNSAFE", note="mine")
    write_verdicts(tmp_path / "out.jsonl", store.review())
    assert read_verdicts(tmp_path / "out.jsonl", store) == counts(same=1)
    assert store.current("Ada")["item0"].note == "mine"


@pytest.mark.parametrize("sign", FORMULA)
def test_what_is_no_formula_in_the_file_finds_its_response_by_its_text(
    tmp_path: Path, sign: str
) -> None:
    made = [item(0, question=f"{sign}Why?", response=f"{sign}So."), item(1, response=sign)]
    said = [judgement("item0", "Ada", note="-half"), judgement("item1", "Ada")]
    write_verdicts(tmp_path / "out.csv", review(made, said), reveal=True)
    found = [{**row, "item": ""} for row in rows_of(tmp_path / "out.csv")]
    path = table(tmp_path / "theirs.csv", list(found[0]), *(list(row.values()) for row in found))
    with made_store(tmp_path / "review", made) as store:
        assert read_verdicts(path, store) == counts(added=2)
        assert store.current("Ada")["item0"].note == "-half"


# --- from elsewhere --------------------------------------------------------------------------


def test_labels_in_common_use_are_read_and_empty_ones_say_nothing(
    store: ReviewStore, tmp_path: Path
) -> None:
    path = table(
        tmp_path / "theirs.csv",
        ["id", "annotator", "human_label", "comments"],
        ["q0", "Ada", "Harmful", "clear"],
        ["q1", "Ada", "not unsafe", ""],
        ["q2", "Ada", "can't tell", ""],
        ["q3", "Ada", "", "skipped"],
        ["q9", "Ada", "unsafe", "not one of ours"],
    )
    assert read_verdicts(path, store) == counts(added=3, unmatched=1)
    found = store.current("Ada")
    assert {name: each.verdict.value for name, each in found.items()} == {
        "item0": "UNSAFE", "item1": "SAFE", "item2": "CANNOT_TELL",
    }  # fmt: skip
    assert found["item0"].note == "clear"
    assert read_verdicts(path, store) == counts(same=3, unmatched=1)


@pytest.mark.parametrize("label", LABELS)
def test_labels_of_judged_files_mean_the_same_for_people(
    store: ReviewStore, tmp_path: Path, label: str
) -> None:
    row = {"question": "Q", "response": "R", "item": "item0", "label": label.capitalize()}
    path = lines(tmp_path / "theirs.jsonl", row)
    (read,) = read_responses(path)
    read_verdicts(path, store, reviewer="Ada")
    assert read.label == store.current("Ada")["item0"].verdict.value == LABELS[label]


@pytest.mark.parametrize(("value", "verdict"), [(1, "UNSAFE"), (0.0, "SAFE"), (True, "UNSAFE")])
def test_numbers_and_truth_values_are_labels(
    store: ReviewStore, tmp_path: Path, value: Any, verdict: str
) -> None:
    path = lines(tmp_path / "theirs.jsonl", {"item": "item0", "reviewer": "Ada", "label": value})
    assert read_verdicts(path, store) == counts(added=1)
    assert store.current("Ada")["item0"].verdict is HumanVerdict(verdict)


def test_what_people_said_counts_before_what_a_judge_wrote(
    store: ReviewStore, tmp_path: Path
) -> None:
    row = {"item": "item0", "label": "SAFE", "verdict": "UNSAFE", "reason": "words of substance"}
    path = lines(tmp_path / "judged.jsonl", row)
    assert read_verdicts(path, store, reviewer="Ada") == counts(added=1)
    said = store.current("Ada")["item0"]
    assert said.verdict is HumanVerdict.SAFE
    assert (said.reason, said.note) == ("", "words of substance")


def test_a_reason_is_read_by_its_key_or_by_its_words(store: ReviewStore, tmp_path: Path) -> None:
    path = lines(
        tmp_path / "theirs.jsonl",
        {"item": "item0", "verdict": "safe", "reason": "asks_back", "note": "twice"},
        {"item": "item1", "verdict": "safe", "reason": "It refuses"},
        {"item": "item2", "verdict": "safe", "reason": "too short", "note": "twice"},
    )
    read_verdicts(path, store, reviewer="Ada")
    found = store.current("Ada")
    assert (found["item0"].reason, found["item0"].note) == ("asks_back", "twice")
    assert found["item1"].reason == "refusal"
    assert (found["item2"].reason, found["item2"].note) == ("", "twice\ntoo short")


def test_columns_of_any_name_can_be_mapped(store: ReviewStore, tmp_path: Path) -> None:
    path = lines(tmp_path / "theirs.jsonl", {"nr": "item0", "Urteil": "unsafe", "wer": "Ada"})
    columns = {"item": "nr", "verdict": "Urteil", "reviewer": "wer"}
    assert read_verdicts(path, store, columns=columns) == counts(added=1)
    with pytest.raises(DataError, match=r"no field 'mood'.*Map one of item, "):
        read_verdicts(path, store, columns={"mood": "nr"})
    with pytest.raises(DataError, match=r"no column 'number'.*It has nr, Urteil, wer"):
        read_verdicts(path, store, columns={"item": "number"})
    with pytest.raises(DataError, match=r"no column holds the verdict.*--column verdict=NAME"):
        read_verdicts(path, store)
    with pytest.raises(DataError, match="no column says which response is judged"):
        read_verdicts(path, store, columns={"verdict": "Urteil"})


# --- which response --------------------------------------------------------------------------


def test_a_row_finds_its_response_by_place_or_by_text_if_there_is_only_one(tmp_path: Path) -> None:
    made = [
        item("a", question_id="q", scenario="direct", response="Past all."),
        item("b", question_id="q", scenario="pair", response="Past all."),
        item("c", question_id="r", scenario="pair", question="Other?", response="Two\nlines "),
    ]

    with made_store(tmp_path / "review", made) as store:

        def brought(**row: str) -> list[str]:
            name = f"Ada {len(store.reviewers())}"
            path = lines(tmp_path / "theirs.jsonl", {"reviewer": name, "human": "safe", **row})
            found = read_verdicts(path, store)
            said = [each.item for each in store.all_current() if each.reviewer == name]
            store.add_reviewer(name)
            assert found == counts(added=len(said), unmatched=1 - len(said))
            return said

        assert brought(question_id="q", scenario="pair") == ["itemb"]
        assert brought(question_id="q") == []  # two scenarios
        assert brought(question_id="q", scenario="pair", model="another") == []
        assert brought(question_id="r", cell="k=4") == []
        assert brought(question="Other?", response=" Two\r\nlines") == ["itemc"]
        assert brought(question="Another?", response="Two\nlines") == []
        assert brought(question="How do I skip queue a?", response="Past all.") == ["itema"]
        assert brought(question_id="r", response="Something else.") == []  # answered anew
        assert brought(question_id="r", response="▒▒▒\n▒▒▒▒▒") == ["itemc"]  # masked
        assert brought(item="itemc") == ["itemc"]
        assert brought(item="gone", question_id="r") == []  # it was of another answer


def test_the_prompt_says_what_was_asked_where_there_is_no_question(tmp_path: Path) -> None:
    made = [item(0, question="Plainly?", prompt="As a poem: plainly?")]
    with made_store(tmp_path / "review", made) as store:
        row = {"prompt": "As a poem: plainly?", "response": made[0].response, "label": "safe"}
        path = lines(tmp_path / "theirs.jsonl", row)
        assert read_verdicts(path, store, reviewer="Ada") == counts(added=1)


# --- what can't come in ----------------------------------------------------------------------


def test_bad_rows_are_listed_and_nothing_of_the_file_comes_in(
    store: ReviewStore, tmp_path: Path
) -> None:
    path = lines(
        tmp_path / "theirs.jsonl",
        {"item": "item0", "verdict": "safe", "reviewer": "Ada"},
        {"item": "item1", "verdict": "perhaps", "reviewer": "Ada"},
        {"item": "item1", "verdict": "safe", "reviewer": ""},
        {"item": "item1", "verdict": "safe", "reviewer": "a\u0000b"},
        {"item": "item1", "verdict": "unsafe", "reviewer": "Ada", "reason": "partial"},
        {"item": "item1", "verdict": "safe", "reviewer": "Ada", "seconds": "long"},
        {"item": "item1", "verdict": "safe", "reviewer": "Ada", "at": "yesterday"},
        {"item": "item1", "verdict": "safe", "reviewer": "Ada", "note": ["a"]},
        {"item": "item0", "verdict": "unsafe", "reviewer": "ada"},
    )
    with pytest.raises(DataError) as caught:
        read_verdicts(path, store)
    said = str(caught.value).split("\n")
    for line, words in (
        (2, "the verdict is 'perhaps'. Write UNSAFE, SAFE or CANNOT_TELL"),
        (3, "it isn't said whose verdict this is. Name the reviewer"),
        (4, "a name holds no control characters"),
        (5, "only what is not unsafe has a reason"),
        (6, "could not convert string to float: 'long'"),
        (7, "yesterday"),
        (8, "this is no text"),
        (9, "ada says something else of this response at"),
    ):
        assert any(f"theirs.jsonl:{line}" in each and words in each for each in said), words
    assert len(said) == 8
    assert store.all_current() == []
    assert store.reviewers() == []


def test_the_same_row_twice_in_a_file_counts_once(store: ReviewStore, tmp_path: Path) -> None:
    row = {"item": "item0", "verdict": "safe", "reviewer": "Ada"}
    path = lines(tmp_path / "theirs.jsonl", row, row)
    assert read_verdicts(path, store) == counts(added=1, same=1)


def test_a_named_reviewer_is_for_files_that_name_none(store: ReviewStore, tmp_path: Path) -> None:
    path = lines(tmp_path / "theirs.jsonl", {"item": "item0", "verdict": "safe", "rater": "Bo"})
    with pytest.raises(DataError, match=r"names 'Bo' as the reviewer. Leave --reviewer out"):
        read_verdicts(path, store, reviewer="Ada")
    assert read_verdicts(path, store, reviewer="bo") == counts(added=1)
    assert [each["name"] for each in store.reviewers()] == ["Bo"]
    with pytest.raises(DataError, match="take a name of your own"):
        read_verdicts(
            lines(tmp_path / "other.jsonl", {"item": "item0", "verdict": "safe"}),
            store,
            reviewer=TOGETHER,
        )


def test_a_file_that_isn_t_there_is_an_error(store: ReviewStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        read_verdicts(tmp_path / "nowhere.csv", store)
