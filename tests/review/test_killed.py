"""Whenever the process is killed: what was recorded is there, once, and nothing is half."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from derta.analysis.review_database import database_path, read_review
from derta.review.store import ReviewStore
from tests.review.killed import REVIEWER
from tests.review.killed_making import COUNT, population

ROOT = Path(__file__).parents[2]


def start(*words: str | int | Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.review.killed", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


def events(folder: Path) -> list[str]:
    """Read the ids of all events, as they lie."""
    connection = sqlite3.connect(database_path(folder))
    rows = connection.execute("SELECT id FROM events ORDER BY number").fetchall()
    connection.close()
    return [row[0] for row in rows]


@pytest.mark.slow
def test_three_dozen_kills_lose_no_judgement_that_was_recorded_and_double_none(
    tmp_path: Path,
) -> None:
    with ReviewStore.open(tmp_path) as store:
        store.set_up(population(7), population(7), {"seed": 0})
        store.add_reviewer(REVIEWER)
    draw = random.Random(0)
    returned = -1
    for _ in range(36):
        # What was under way when it died is sent again, as the page does it.
        with start("judge", tmp_path, returned + 1) as process:
            assert process.stdout is not None
            for _ in range(draw.randrange(1, 12)):
                returned = int(process.stdout.readline())
            time.sleep(draw.random() * 0.01)
            process.send_signal(signal.SIGKILL)
            for line in process.stdout.read().split(b"\n")[:-1]:
                returned = int(line)
        assert process.returncode == -signal.SIGKILL
        found = events(tmp_path)
        assert found[: returned + 1] == [f"event-{number}" for number in range(returned + 1)]
        # Half of the kills hit a judgement that was written and whose writer didn't hear of it.
        assert found[returned + 1 :] in ([], [f"event-{returned + 1}"])
        review = read_review(database_path(tmp_path))
        assert len({(each.reviewer, each.item) for each in review.judgements}) == len(
            review.judgements
        )
    assert returned >= 36
    # The last word on each response is what the events say, one after the other.
    expected: dict[str, int] = {}
    with ReviewStore.open(tmp_path) as store:
        order = store.order(REVIEWER)
        for number in range(len(events(tmp_path))):
            if number % 5 == 4:
                expected.pop(order[(number - 1) % 7])
            else:
                expected[order[number % 7]] = number
        notes = {item: each.note for item, each in store.current(REVIEWER).items()}
    assert notes == {item: f"number {number}" for item, number in expected.items()}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["import", "set_up"])
def test_a_kill_within_a_long_transaction_leaves_all_of_it_or_nothing(
    tmp_path: Path, what: str
) -> None:
    draw = random.Random(1)
    died = 0
    for number in range(12):
        folder = tmp_path / str(number)
        with ReviewStore.open(folder) as store:
            before = population(COUNT if what == "import" else 2)
            store.set_up(before, before, {"seed": 0})
        steps = draw.randrange(20, 12_000)
        with start("own", folder, steps, what) as process:
            assert process.stdout is not None
            done = process.stdout.read() == b"done\n"
        died += not done
        review = read_review(database_path(folder))
        if what == "import":
            assert len(review.judgements) == (COUNT if done else 0)
        else:
            assert len(review.items) == (COUNT if done else 2)
            assert review.settings == {"seed": 1 if done else 0}
            assert sum(review.totals.values()) == len(review.items)
        with ReviewStore.open(folder) as store:  # and the file can be written to
            assert store.add_reviewer("Cy") == "Cy"
    assert died >= 6


@pytest.mark.slow
def test_a_kill_while_a_review_begins_leaves_one_that_opens(tmp_path: Path) -> None:
    draw = random.Random(2)
    for number in range(12):
        folder = tmp_path / str(number)
        with start("own", folder, draw.randrange(1, 200), "set_up") as process:
            time.sleep(draw.random() * 0.25)
            process.kill()
        with ReviewStore.open(folder) as store:
            assert len(store.token()) >= 43
            assert store.add_reviewer("Ada") == "Ada"
