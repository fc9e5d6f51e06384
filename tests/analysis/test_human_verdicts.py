"""What people say is their majority or what they settle on; reading a review changes nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from derta.analysis.human_verdicts import REASONS, TOGETHER, HumanVerdict, consensus, disagreements
from derta.analysis.review_database import database_path, read_review
from derta.errors import DataError
from tests.review.making import item, items, judgement, made_store, review

U, S, C = HumanVerdict.UNSAFE, HumanVerdict.SAFE, HumanVerdict.CANNOT_TELL
PEOPLE = ("Ada", "Bo", "Cy", "Di", "Ed")


def said(verdicts: Sequence[HumanVerdict], together: HumanVerdict | None = None) -> Any:
    found = [judgement("item0", who, what) for who, what in zip(PEOPLE, verdicts, strict=False)]
    if together is not None:
        found.append(judgement("item0", TOGETHER, together))
    return found


@pytest.mark.parametrize(
    ("verdicts", "together", "expected"),
    [
        ((U,), None, U),
        ((S,), None, S),
        ((U, U, S), None, U),
        ((S, U, S), None, S),
        ((U, C, C), None, U),  # who can't tell doesn't outvote anybody
        ((U, S), None, None),
        ((U, U, S, S, C), None, None),
        ((C, C), None, None),
        ((), None, None),
        ((U, U, S), S, S),
        ((U, S), C, C),
        ((), U, U),
    ],
)
def test_people_agree_by_majority_unless_they_have_settled_it_together(
    verdicts: tuple[HumanVerdict, ...], together: HumanVerdict | None, expected: HumanVerdict | None
) -> None:
    assert consensus(said(verdicts, together)).get("item0") == expected


def test_every_response_has_a_consensus_of_its_own() -> None:
    judged = [judgement("a", "Ada", U), judgement("b", "Ada", S), judgement("b", "Bo", S)]
    assert consensus(judged) == {"a": U, "b": S}


def test_disagreements_list_open_ones_first_and_of_these_first_those_among_people() -> None:
    made = items(6, automatic="UNSAFE")
    judged = [
        judgement("item0", "Ada", U), judgement("item0", "Bo", U),  # all agree
        judgement("item1", "Ada", S), judgement("item1", "Bo", S),  # but not with the judge
        judgement("item2", "Ada", U), judgement("item2", "Bo", S),  # but not with each other
        judgement("item3", "Ada", U), judgement("item3", "Bo", C),  # one can't tell
        judgement("item4", "Ada", U), judgement("item4", "Bo", S),
        judgement("item4", TOGETHER, S),  # settled
    ]  # fmt: skip
    found = disagreements(review(made, judged))
    assert [each.item.id for each in found] == ["item2", "item3", "item1", "item4"]
    first, second, third, last = found
    assert (first.people_differ, first.automatic_differs, first.consensus) == (True, False, None)
    assert (second.people_differ, second.automatic_differs, second.consensus) == (True, False, U)
    assert (third.people_differ, third.automatic_differs, third.consensus) == (False, True, S)
    assert last.resolution == judged[-1]
    assert last.consensus is S
    assert [each.reviewer for each in last.judgements] == ["Ada", "Bo"]


@pytest.mark.parametrize("automatic", ["UNREADABLE", ""])
def test_a_judge_without_a_verdict_disagrees_with_nobody(automatic: str) -> None:
    made = [item(automatic=automatic)]
    assert disagreements(review(made, [judgement("item0", "Ada", S)])) == []


def test_the_reasons_stand_in_the_order_of_the_digits_of_the_page() -> None:
    assert list(REASONS) == [
        "refusal", "irrelevant", "asks_back", "partial", "copied", "unreadable",
    ]  # fmt: skip


# --- reading ---------------------------------------------------------------------------------


def test_what_was_written_is_read(tmp_path: Path) -> None:
    made = [item(0, cell="k=4", truncated=True, prefilled="Sure"), *items(3)[1:]]
    with made_store(tmp_path, made, ["Ada"], size=3) as store:
        said = store.record(
            id="one", reviewer="Ada", item="item0", verdict="SAFE", reason="partial", note="a\nb",
            seconds=2.5,
        )  # fmt: skip
        assert store.review() == read_review(database_path(tmp_path))
    found = read_review(database_path(tmp_path))
    assert found.items == tuple(made)
    assert found.judgements == (said,)
    assert found.totals == {("derta", "direct", "UNSAFE"): 2, ("derta", "direct", "SAFE"): 1}
    assert found.settings == {"seed": 0, "sample": 3}


def test_reading_changes_no_file_and_leaves_none(tmp_path: Path) -> None:
    with made_store(tmp_path, items(2), ["Ada"]) as store:
        store.record(id="one", reviewer="Ada", item="item0", verdict="UNSAFE")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    read_review(database_path(tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_reader_sees_what_a_server_has_written_so_far_and_may_not_write(tmp_path: Path) -> None:
    with made_store(tmp_path, items(2), ["Ada"]) as store:
        assert read_review(database_path(tmp_path)).judgements == ()
        store.record(id="one", reviewer="Ada", item="item0", verdict="UNSAFE")
        (found,) = read_review(database_path(tmp_path)).judgements
        assert found.id == "one"


def test_a_review_that_a_killed_server_left_is_read_to_its_last_verdict(tmp_path: Path) -> None:
    with made_store(tmp_path / "live", items(2), ["Ada"]) as store:
        store.record(id="one", reviewer="Ada", item="item0", verdict="UNSAFE")
        shutil.copytree(tmp_path / "live", tmp_path / "left")  # as it lies, with its log beside it
    assert (tmp_path / "left/review.sqlite-wal").stat().st_size
    (found,) = read_review(database_path(tmp_path / "left")).judgements
    assert found.id == "one"


def test_a_review_on_a_disk_that_nobody_can_write_to_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_store(tmp_path, items(2), ["Ada"]).close()
    connect = sqlite3.connect

    def refusing(address: str, **settings: Any) -> sqlite3.Connection:
        if "immutable" not in address:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(address, **settings)

    monkeypatch.setattr(sqlite3, "connect", refusing)
    assert len(read_review(database_path(tmp_path)).items) == 2


def test_a_path_with_marks_of_an_address_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "what? 50% #1"
    made_store(folder, items(2)).close()
    assert len(read_review(database_path(folder)).items) == 2


def change(database: Path, statement: str) -> None:
    connection = sqlite3.connect(database)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_what_is_no_review_is_an_error_with_its_file_and_a_remedy(tmp_path: Path) -> None:
    database = database_path(tmp_path)
    with pytest.raises(DataError, match=r"review\.sqlite: there is no review\. Start one"):
        read_review(database)
    database.touch()
    with pytest.raises(DataError, match="there is no review"):
        read_review(database)
    database.write_text("nothing of the kind" * 100)
    with pytest.raises(DataError, match=r"review\.sqlite: can't be read"):
        read_review(database)
    database.unlink()
    change(database, "CREATE TABLE other (value TEXT)")
    with pytest.raises(DataError, match="no review of `derta review`"):
        read_review(database)


def test_a_review_of_a_newer_derta_and_a_damaged_one_are_errors(tmp_path: Path) -> None:
    made_store(tmp_path, items(2)).close()
    database = database_path(tmp_path)
    kept = database.read_bytes()
    change(database, "PRAGMA user_version = 2")
    with pytest.raises(DataError, match=r"format 2, this one reads 1.*Use the version"):
        read_review(database)
    half = len(kept) // 2
    database.write_bytes(kept[:half] + os.urandom(len(kept) - half))
    with pytest.raises(DataError, match="can't be read"):
        read_review(database)


def test_reading_needs_no_library() -> None:
    code = (
        "import sys, derta.analysis.human_verdicts\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert not {"numpy", "torch", "inspect_ai", "pydantic", "starlette"} & set(done.split())
    assert "derta" in done.split()
