"""What a process keeps of its freed memory. Linux with glibc only; elsewhere nothing is kept."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from derta.memory import give_back_freed_memory, keep_freed_memory

_PROCESS = """
import json, threading
from derta.memory import give_back_freed_memory, keep_freed_memory

def resident_mb():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:")) / 1024

def work():
    held = [b"x" * 10_000_000 for _ in range(20)]
    seen["used"] = resident_mb()

keep_freed_memory()
seen = {"before": resident_mb()}
thread = threading.Thread(target=work)
thread.start()
thread.join()
seen["freed"] = resident_mb()
give_back_freed_memory()
seen["given back"] = resident_mb()
print(json.dumps(seen))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is about glibc")
def test_what_a_thread_has_freed_is_kept_until_it_is_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROCESS], capture_output=True, text=True, check=True
    )
    megabytes = json.loads(done.stdout)
    assert megabytes["used"] > megabytes["before"] + 180
    assert megabytes["freed"] > megabytes["before"] + 100
    assert megabytes["given back"] < megabytes["before"] + 50


def test_other_systems_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
    assert not give_back_freed_memory()
