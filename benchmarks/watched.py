"""Run a benchmark's work in a process of its own, and watch the memory of it and its children.

The last line of its output is the result as JSON. The peak is that of the resident memory of all of
its processes together, sampled 20 times a second (shared pages counted in each of them). Not
covered: memory of a GPU (`benchmarks.child`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

__all__ = ["run_watched"]

ROOT = Path(__file__).resolve().parents[1]
_SECONDS_BETWEEN = 0.05


def run_watched(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run Python with arguments.

    Args:
        arguments: such as ["-m", "benchmarks.data", ...].
        environment: is added to this process's; PyTorch gets one thread a process.

    Returns:
        What it printed last, and its "peak_bytes".

    Raises:
        SystemExit: it failed.
    """
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
    )
    # Before anybody waits for it: until then its number is its own, even if it has ended already.
    parent = psutil.Process(process.pid)
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, _family_bytes(parent))
            time.sleep(_SECONDS_BETWEEN)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    output, _ = process.communicate()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed (its output stands above)")
    return {**json.loads(output.splitlines()[-1]), "peak_bytes": peak}


def _family_bytes(parent: psutil.Process) -> int:
    """Sum the resident memory of a process and its children, as far as they still are."""
    try:
        family = [parent, *parent.children(recursive=True)]
    except psutil.Error:
        family = [parent]
    total = 0
    for each in family:
        try:
            total += each.memory_info().rss
        except psutil.Error:  # it ended meanwhile
            continue
    return total
