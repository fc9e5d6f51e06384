"""Runs that are killed: each a fork of one interpreter with everything imported.

A start takes no seconds then. Covered: starting, killing and ending. Not covered: what is run; the
script that forks comes from the test.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["Forks", "written_samples"]

ROOT = Path(__file__).parents[1]


class Forks:
    """Starts runs in forks of one process."""

    def __init__(self, script: str) -> None:
        """Start that process.

        Args:
            script: reads a line of arguments with tabs between them, forks, and prints the
                child's number and then its exit code.
        """
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def run(
        self,
        *arguments: object,
        until: Callable[[], bool] | None = None,
        by: signal.Signals = signal.SIGKILL,
    ) -> int:
        """Run until it ends, or gets a signal when a condition holds; return its exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\t".join(map(str, arguments)) + "\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        if until is not None:
            with contextlib.suppress(ProcessLookupError):  # it was done before
                while not until():
                    os.kill(child, 0)
                    time.sleep(0.005)
                os.kill(child, by)
        return int(self.process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


def written_samples(output: Path) -> int:
    """Count the samples that have been written, those of logs that are still open included."""
    logs = (path.read_bytes() for path in output.rglob("*.eval"))
    return sum(len(re.findall(rb"PK\x03\x04.{26}samples/", log, re.DOTALL)) for log in logs)
