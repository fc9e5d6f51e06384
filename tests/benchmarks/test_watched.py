"""What a benchmark's process printed and how much memory it and its children took."""

from __future__ import annotations

import pytest

from benchmarks.watched import run_watched

# A parent with 40 MB and a child with 60 MB, both there for a while.
_CHILD = "import time; held = bytearray(b'x' * 60_000_000); time.sleep(1)"
_PARENT = f"""
import json, os, subprocess, sys
held = bytearray(b"x" * 40_000_000)
child = subprocess.run([sys.executable, "-c", {_CHILD!r}])
print("something before")
print(json.dumps({{"told": os.environ["TOLD"], "threads": os.environ["OMP_NUM_THREADS"]}}))
"""


def test_the_result_is_the_last_line_and_the_memory_that_of_all_processes_together() -> None:
    found = run_watched(["-c", _PARENT], {"TOLD": "this"})
    assert (found["told"], found["threads"]) == ("this", "1")
    assert found["peak_bytes"] > 100_000_000


def test_a_process_that_fails_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="failed"):
        run_watched(["-c", "raise SystemExit(3)"])
