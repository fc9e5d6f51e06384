"""A process that writes to a review until somebody kills it: run by `test_killed`.

    python -m tests.review.killed judge FOLDER NUMBER    judges, from event NUMBER on
    python -m tests.review.killed own FOLDER STEPS WHAT  kills itself after so many steps of SQLite

It says what has returned, one number a line. Covered: nothing but writing.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from derta.review.store import ReviewStore
from tests.review.killed_making import imported, population

REVIEWER = "Ada"


def judge(folder: Path, number: int) -> None:
    """Judge one response after the other, change what was judged, and take every fifth back."""
    with ReviewStore.open(folder) as store:
        items = store.order(REVIEWER)
        while True:
            item = items[number % len(items)]
            current = store.current(REVIEWER).get(item)
            if number % 5 == 4:
                # What it takes back: what was judged just before.
                item = items[(number - 1) % len(items)]
                before = f"event-{number - 1}"
                store.undo(id=f"event-{number}", reviewer=REVIEWER, item=item, replaces=before)
            else:
                store.record(
                    id=f"event-{number}",
                    reviewer=REVIEWER,
                    item=item,
                    verdict="UNSAFE" if number % 2 else "SAFE",
                    note=f"number {number}",
                    replaces=current.id if current is not None else None,
                )
            os.write(1, f"{number}\n".encode())  # unbuffered: it has returned
            number += 1


def own(folder: Path, steps: int, what: str) -> None:
    """Write much in one transaction, and die in the middle of it."""

    def die() -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    with ReviewStore.open(folder) as store:
        store._connection.set_progress_handler(die, steps)
        if what == "import":
            store.bring_in(imported())
        else:
            store.set_up(population(), population(), {"seed": 1})
        os.write(1, b"done\n")


if __name__ == "__main__":
    if sys.argv[1] == "judge":
        judge(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        own(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
