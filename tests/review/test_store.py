"""What is recorded stays, and nobody overwrites what they haven't seen."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from derta.analysis.human_verdicts import TOGETHER, HumanVerdict
from derta.analysis.review_database import database_path, read_review
from derta.errors import DataError
from derta.review.store import Conflict, ReviewStore
from tests.review.making import item, items, judgement, made_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ReviewStore]:
    with made_store(tmp_path / "review", items(5), ["Ada", "Bo"]) as made:
        yield made


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewStore]:
    """A store that no test writes to."""
    with made_store(tmp_path_factory.mktemp("review"), items(5), ["Ada", "Bo"]) as made:
        yield made
        assert made.all_current() == []
        assert len(made.reviewers()) == 2


def events(folder: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(database_path(folder))
    rows = connection.execute("SELECT id, kind FROM events ORDER BY number").fetchall()
    connection.close()
    return rows


def say(store: ReviewStore, id: str, item: str = "item0", **changes: Any) -> Any:
    return store.record(**{"id": id, "reviewer": "Ada", "item": item, "verdict": "SAFE", **changes})


# --- judging ---------------------------------------------------------------------------------


def test_a_judgement_is_kept_with_all_that_was_said(store: ReviewStore, tmp_path: Path) -> None:
    made = say(
        store, "one", reason="partial", note=" two\nlines \x00\u202e ", seconds=3,
        at="2026-01-02T05:04:05+02:00",
    )  # fmt: skip
    assert made.verdict is HumanVerdict.SAFE
    assert (made.reason, made.note, made.seconds) == ("partial", "two\nlines \x00\u202e", 3.0)
    assert (made.at, made.source) == ("2026-01-02T03:04:05.000+00:00", "page")
    store.close()
    with ReviewStore.open(tmp_path / "review") as again:
        assert again.current("Ada") == {"item0": made}
        assert again.current("Bo") == {}
        assert again.all_current() == [made]


def test_the_same_submission_again_returns_what_stands_and_writes_nothing(
    store: ReviewStore, tmp_path: Path
) -> None:
    first = say(store, "one")
    assert say(store, "one") == first
    # Even when it is stale, and when it says something else: the first word of an id counts.
    say(store, "two", verdict="UNSAFE", replaces="one")
    assert say(store, "one", verdict="CANNOT_TELL", replaces="anything") == first
    assert store.current("Ada")["item0"].id == "two"
    assert events(tmp_path / "review") == [("one", "verdict"), ("two", "verdict")]


@pytest.mark.parametrize("changes", [{"reviewer": "Bo"}, {"item": "item1"}])
def test_an_id_can_t_be_used_for_something_else(
    store: ReviewStore, changes: dict[str, Any]
) -> None:
    say(store, "one")
    with pytest.raises(ValueError, match="this id is of something else"):
        say(store, **{"id": "one", **changes})
    store.undo(id="two", reviewer="Ada", item="item0", replaces="one")
    for id, act in (("two", say), ("one", undo)):
        with pytest.raises(ValueError, match="this id is of something else"):
            act(store, id)


def undo(store: ReviewStore, id: str) -> None:
    store.undo(id=id, reviewer="Ada", item="item0", replaces="one")


def test_a_writer_who_doesn_t_know_what_stands_overwrites_nothing_and_is_told(
    store: ReviewStore, tmp_path: Path
) -> None:
    first = say(store, "one")
    for replaces in (None, "another"):
        with pytest.raises(Conflict) as caught:
            say(store, "two", replaces=replaces)
        assert caught.value.current == first
    with pytest.raises(Conflict) as caught:
        say(store, "two", "item1", replaces="one")
    assert caught.value.current is None
    assert events(tmp_path / "review") == [("one", "verdict")]
    assert say(store, "two", verdict="UNSAFE", replaces="one").verdict is HumanVerdict.UNSAFE


def test_reviewers_don_t_stand_in_each_other_s_way(store: ReviewStore) -> None:
    say(store, "one")
    say(store, "two", reviewer="Bo", verdict="UNSAFE")
    say(store, "three", reviewer=TOGETHER, verdict="CANNOT_TELL")
    found = {each.reviewer: each.verdict.value for each in store.all_current()}
    assert found == {"Ada": "SAFE", "Bo": "UNSAFE", TOGETHER: "CANNOT_TELL"}


def test_undo_leaves_the_response_unjudged_and_is_an_event_itself(
    store: ReviewStore, tmp_path: Path
) -> None:
    say(store, "one")
    say(store, "two", replaces="one")
    undo = {"id": "three", "reviewer": "Ada", "item": "item0"}
    with pytest.raises(Conflict):
        store.undo(**undo, replaces="one")
    store.undo(**undo, replaces="two")
    store.undo(**undo, replaces="two")
    assert store.current("Ada") == {}
    with pytest.raises(Conflict) as caught:
        store.undo(id="four", reviewer="Ada", item="item0", replaces="two")
    assert caught.value.current is None
    say(store, "five")
    kinds = [kind for _, kind in events(tmp_path / "review")]
    assert kinds == ["verdict", "verdict", "undo", "verdict"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": "safe"}, "the verdict is one of UNSAFE, SAFE, CANNOT_TELL"),
        ({"verdict": None}, "the verdict is no text"),
        ({"verdict": "UNSAFE", "reason": "partial"}, "only what is not unsafe has a reason"),
        ({"verdict": "CANNOT_TELL", "reason": "partial"}, "only what is not unsafe"),
        ({"reason": "mood"}, "the reason is one of refusal, "),
        ({"note": "x" * 4001}, "at most 4000 characters"),
        ({"note": "\ud800"}, "the note holds half a character"),
        ({"note": 5}, "the note is no text"),
        ({"seconds": -1.0}, "a number from 0 on"),
        ({"seconds": float("nan")}, "a number from 0 on"),
        ({"seconds": float("inf")}, "a number from 0 on"),
        ({"seconds": 10**400}, "a number from 0 on"),
        ({"at": "0001-01-01T00:00:00+05:00"}, "the date is out of range"),
        ({"seconds": True}, "the seconds are no number"),
        ({"seconds": "3"}, "the seconds are no number"),
        ({"source": "guess"}, "the source is one of page, import"),
        ({"at": "yesterday"}, "yesterday"),
        ({"id": ""}, "an id has 1 to 100 characters"),
        ({"id": "x" * 101}, "an id has 1 to 100 characters"),
        ({"id": 5}, "the id is no text"),
    ],
)
def test_what_can_t_be_a_judgement_is_refused_in_words_and_not_written(
    untouched: ReviewStore, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        say(untouched, **{"id": "one", **changes})
    assert untouched.all_current() == []


def test_an_unknown_response_or_reviewer_is_a_key_error(untouched: ReviewStore) -> None:
    store = untouched
    for changes in ({"item": "item9"}, {"reviewer": "Nobody"}):
        with pytest.raises(KeyError):
            say(store, **{"id": "one", **changes})
        values = {"id": "one", "reviewer": "Ada", "item": "item0", "replaces": "x", **changes}
        with pytest.raises(KeyError):
            store.undo(**values)
    for ask in (store.current, store.order):
        with pytest.raises(KeyError):
            ask("Nobody")
    with pytest.raises(KeyError):
        store.item("item9")


def test_judgements_can_t_be_changed_or_deleted_even_by_hand(
    store: ReviewStore, tmp_path: Path
) -> None:
    say(store, "one")
    connection = sqlite3.connect(database_path(tmp_path / "review"))
    for statement in ("UPDATE events SET verdict = 'UNSAFE'", "DELETE FROM events"):
        with pytest.raises(sqlite3.IntegrityError, match="only ever added"):
            connection.execute(statement)
    connection.close()
    assert store.current("Ada")["item0"].verdict is HumanVerdict.SAFE


# --- reviewers -------------------------------------------------------------------------------


def test_a_name_is_trimmed_and_in_capitals_or_not_one_person(store: ReviewStore) -> None:
    assert store.add_reviewer("  Zoë Müller ") == "Zoë Müller"
    assert store.add_reviewer("ZOË MÜLLER") == "Zoë Müller"
    assert store.add_reviewer("Zoe\u0308 Mu\u0308ller") == "Zoë Müller"
    say(store, "one", reviewer="zoë müller")
    assert store.reviewers() == [
        {"name": "Ada", "judged": 0, "total": 5},
        {"name": "Bo", "judged": 0, "total": 5},
        {"name": "Zoë Müller", "judged": 1, "total": 5},
    ]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "  ",
        "x" * 61,
        "a\nb",
        "a\x00",
        "a\u202eb",
        "a\u2028b",
        "\ud800",
        TOGETHER,
        " (Together) ",
    ],
)
def test_what_can_t_be_a_name_is_refused(untouched: ReviewStore, name: str) -> None:
    with pytest.raises(ValueError, match=r"name|together"):
        untouched.add_reviewer(name)
    assert len(untouched.reviewers()) == 2


def test_each_reviewer_has_an_order_of_their_own_that_stays(store: ReviewStore) -> None:
    made = items(40)
    store.set_up(made, made[:20], {"seed": 0})
    orders = {name: store.order(name) for name in ("Ada", "Bo")}
    assert sorted(orders["Ada"]) == sorted(orders["Bo"]) == sorted(each.id for each in made[:20])
    assert orders["Ada"] != orders["Bo"]
    assert store.order("ada") == orders["Ada"]
    store.set_up(made, made, {"seed": 0})
    longer = store.order("Ada")
    assert [each for each in longer if each in orders["Ada"]] == orders["Ada"]
    store.set_up(made, made, {"seed": 1})
    assert store.order("Ada") != longer


# --- what is judged --------------------------------------------------------------------------


def test_more_to_judge_keeps_what_was_judged(tmp_path: Path) -> None:
    made = items(6)
    with made_store(tmp_path, made, ["Ada"], size=2) as store:
        (first, _) = store.order("Ada")
        said = say(store, "one", first)
        store.set_up(made, made[:5], {"seed": 0, "sample": 5})
        assert store.current("Ada") == {first: said}
        assert len(store.order("Ada")) >= 5
        before = store.review()
        store.set_up(made, made[:5], {"seed": 0, "sample": 5})
        assert store.review() == before
        assert before.totals == {("derta", "direct", "UNSAFE"): 3, ("derta", "direct", "SAFE"): 3}
        assert store.settings() == {"seed": 0, "sample": 5}
        assert store.item(first) == next(each for each in made if each.id == first)


def test_another_scenario_is_added_and_the_first_one_s_totals_stay(tmp_path: Path) -> None:
    with made_store(tmp_path, items(4), ["Ada"]) as store:
        say(store, "one")
        other = [item("p0", scenario="pair"), item("p1", scenario="pair")]
        store.set_up(other, other[:1], {"seed": 0})
        review = store.review()
        assert [each.id for each in review.items] == ["item0", "item1", "item2", "item3", "itemp0"]
        assert review.totals["derta", "pair", "UNSAFE"] == 2
        assert review.totals["derta", "direct", "SAFE"] == 2
        assert len(review.judgements) == 1


def test_a_response_that_the_run_no_longer_has_leaves_the_review_but_not_the_file(
    tmp_path: Path,
) -> None:
    made = items(4)
    with made_store(tmp_path, made, ["Ada"]) as store:
        say(store, "one")
        answered_anew = [item("new"), *made[1:]]
        store.set_up(answered_anew, answered_anew, {"seed": 0})
        assert "item0" not in store.order("Ada")
        assert store.count_items() == len(store.order("Ada")) == 4
        assert store.current("Ada") == {}
        assert len(store.review().items) == 4
        # A page that was open meanwhile can still send what it has.
        say(store, "two", verdict="UNSAFE", replaces="one")
        store.set_up(made, made, {"seed": 0})
        assert store.current("Ada")["item0"].id == "two"


def test_another_judge_s_verdicts_take_the_place_of_the_first_one_s(tmp_path: Path) -> None:
    with made_store(tmp_path, items(4), ["Ada"]) as store:
        say(store, "one")
        other = items(4, automatic="UNREADABLE")
        store.set_up(other, other, {"seed": 0})
        review = store.review()
        assert {each.automatic for each in review.items} == {"UNREADABLE"}
        assert review.totals == {("derta", "direct", "UNREADABLE"): 4}
        assert len(review.judgements) == 1


def test_a_sample_from_elsewhere_is_refused(store: ReviewStore) -> None:
    with pytest.raises(ValueError, match="part of the population"):
        store.set_up(items(2), items(3), {})
    assert len(store.order("Ada")) == 5


# --- verdicts from elsewhere -----------------------------------------------------------------


def test_verdicts_from_elsewhere_come_in_once_and_never_over_newer_ones(
    store: ReviewStore,
) -> None:
    say(store, "one", at="2026-01-01T00:00:00+00:00")
    brought = [
        judgement("item0", verdict="UNSAFE"),  # newer than what stands
        judgement("item1"),
        judgement("item1", "Cy"),  # a new reviewer
        judgement("item2", TOGETHER),
    ]
    assert store.bring_in(brought) == {"added": 4, "same": 0, "older": 0}
    assert store.bring_in(brought) == {"added": 0, "same": 4, "older": 0}
    assert [each["name"] for each in store.reviewers()] == ["Ada", "Bo", "Cy"]
    newer = say(store, "two", verdict="CANNOT_TELL", replaces="Ada-item0")
    old = judgement("item0", verdict="SAFE", id="other")
    assert store.bring_in([old]) == {"added": 0, "same": 0, "older": 1}
    store.undo(id="three", reviewer="Ada", item="item0", replaces=newer.id)
    assert store.bring_in([old]) == {"added": 0, "same": 0, "older": 1}
    assert "item0" not in store.current("Ada")


def test_one_bad_verdict_from_elsewhere_keeps_all_of_them_out(store: ReviewStore) -> None:
    with pytest.raises(KeyError):
        store.bring_in([judgement("item0", "Cy"), judgement("item9", "Cy")])
    assert store.all_current() == []
    assert len(store.reviewers()) == 2


# --- the file --------------------------------------------------------------------------------


def test_only_the_owner_can_read_the_files_and_git_leaves_them_out(
    store: ReviewStore, tmp_path: Path
) -> None:
    say(store, "one")
    folder = tmp_path / "review"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    kept = {path.name: path for path in folder.iterdir()}
    assert {"review.sqlite", "review.sqlite-wal", "review.sqlite-shm"} <= set(kept)
    modes = {name: stat.S_IMODE(path.stat().st_mode) for name, path in kept.items()}
    assert {mode for name, mode in modes.items() if "sqlite" in name} == {0o600}
    assert kept[".gitignore"].read_text() == "*\n"


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    made_store(tmp_path, items(1)).close()
    database_path(tmp_path).chmod(0o644)
    ReviewStore.open(tmp_path).close()
    assert stat.S_IMODE(database_path(tmp_path).stat().st_mode) == 0o600


def test_every_commit_is_on_the_disk_when_it_returns(store: ReviewStore) -> None:
    def setting(name: str) -> Any:
        return store._connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert (setting("journal_mode"), setting("synchronous")) == ("wal", 2)  # 2: FULL


def test_the_token_is_long_stays_and_is_another_one_elsewhere(
    store: ReviewStore, tmp_path: Path
) -> None:
    token = store.token()
    assert len(token) >= 43
    store.close()
    store.close()
    with ReviewStore.open(tmp_path / "review") as again:
        assert again.token() == token
    with ReviewStore.open(tmp_path / "other") as other:
        assert other.token() != token


def test_the_port_is_remembered(store: ReviewStore, tmp_path: Path) -> None:
    assert store.port() is None
    for port in (20_000, 21_000):
        store.keep_port(port)
        with ReviewStore.open(tmp_path / "review") as again:
            assert again.port() == port
    assert store.settings() == {"seed": 0, "sample": None}


def test_a_file_that_another_program_holds_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("derta.review.store._BUSY_SECONDS", 0.01)
    with made_store(tmp_path / "review", items(1), ["Ada"]) as store:
        other = sqlite3.connect(database_path(tmp_path / "review"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DataError, match="Another program holds it: close that"):
            say(store, "one")
        other.execute("ROLLBACK")
        other.close()
        assert say(store, "one").id == "one"


def test_a_damaged_file_a_foreign_one_and_a_newer_one_are_refused_and_left_alone(
    tmp_path: Path,
) -> None:
    database = database_path(tmp_path)

    def spoil(act: Callable[[], object], message: str) -> None:
        act()
        before = database.read_bytes()
        with pytest.raises(DataError, match=message):
            ReviewStore.open(tmp_path)
        assert database.read_bytes() == before
        database.unlink()

    def change(statement: str) -> Callable[[], object]:
        def act() -> None:
            connection = sqlite3.connect(database)
            connection.execute(statement)
            connection.commit()
            connection.close()

        return act

    spoil(lambda: database.write_text("no database" * 500), "Another file lies in its place")
    spoil(change("CREATE TABLE other (value TEXT)"), "no review of `derta review`")
    made_store(tmp_path, items(1)).close()
    spoil(change("PRAGMA user_version = 9"), "format 9, this one reads 1")


def test_a_folder_that_can_t_be_made_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"review\.sqlite: can't be used .*written to"):
        ReviewStore.open(tmp_path / "file" / "review")
    with pytest.raises(DataError, match="A file lies where the review's folder belongs"):
        ReviewStore.open(tmp_path / "file")


def test_a_full_disk_is_an_error_that_costs_nothing_that_was_there(store: ReviewStore) -> None:
    say(store, "one")
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    with pytest.raises(DataError, match=r"full.*the disk has room"):
        fill(store)
    assert store.current("Ada")["item0"].id == "one"
    store._connection.execute("PRAGMA max_page_count = 100000").fetchall()
    say(store, "two", replaces="one")


def fill(store: ReviewStore) -> None:
    before = None
    for number in range(100):
        say(store, f"note{number}", "item1", note="x" * 3900, replaces=before)
        before = f"note{number}"


# --- at the same time ------------------------------------------------------------------------


@pytest.mark.parametrize("stores", [1, 2])
def test_reviewers_at_the_same_time_lose_nothing(tmp_path: Path, stores: int) -> None:
    """In threads of one server, and through two servers at the same file."""
    made_store(tmp_path, items(30), ["Ada", "Bo", "Cy"]).close()
    opened = [ReviewStore.open(tmp_path) for _ in range(stores)]
    names = ("Ada", "Bo", "Cy")

    def judge(number: int) -> None:
        store, name = opened[number % stores], names[number]
        for each in store.order(name):
            store.record(id=f"{name}-{each}", reviewer=name, item=each, verdict="SAFE", note=name)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(judge, range(3)))
    for each in opened:
        each.close()
    found = read_review(database_path(tmp_path)).judgements
    assert {(each.reviewer, each.item, each.note) for each in found} == {
        (name, f"item{number}", name) for name in names for number in range(30)
    }
    assert len(found) == len(events(tmp_path)) == 90


def test_of_two_windows_of_one_reviewer_one_wins_and_the_other_is_told(tmp_path: Path) -> None:
    made_store(tmp_path, items(20), ["Ada"]).close()
    opened = [ReviewStore.open(tmp_path) for _ in range(2)]
    together = threading.Barrier(2, timeout=60)
    verdicts = ("SAFE", "UNSAFE")

    def judge(number: int) -> list[tuple[str, str]]:
        told = []
        for each in range(20):
            together.wait()
            id = f"{number}-{each}"
            try:
                say(opened[number], id, f"item{each}", verdict=verdicts[number])
            except Conflict as conflict:
                told.append((f"item{each}", conflict.current.id if conflict.current else ""))
        return told

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(judge, range(2))
    for each in opened:
        each.close()
    assert {item for item, _ in (*first, *second)} == {f"item{number}" for number in range(20)}
    assert all(winner.startswith("1-") for _, winner in first)
    assert all(winner.startswith("0-") for _, winner in second)
    assert len(first) + len(second) == len(events(tmp_path)) == 20
