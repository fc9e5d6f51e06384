"""A real server in a process of its own, which tests start, stop and kill.

    python -m tests.review.serving_process FOLDER PORT BLIND

Covered: the process. Not covered: what it answers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from derta.review.serving import serve
from derta.review.store import ReviewStore

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS_TO_END = 60


class ServerProcess:
    """Serves the review of a folder; again on the same port after it was killed."""

    def __init__(self, folder: Path, *, blind: bool = True) -> None:
        self.folder = folder
        self.blind = blind
        self.port = 0
        self.address = ""
        """With the token."""
        self._process: subprocess.Popen[str] | None = None

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; done when it listens."""
        assert self._process is None
        arguments = ["-m", "tests.review.serving_process", str(self.folder), str(self.port)]
        paths = [str(REPOSITORY / "src"), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", *arguments, "blind" if self.blind else ""],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        if not self.address:
            raise AssertionError(f"the server didn't start: {self._process.communicate()[1]}")
        self.port = int(self.address.split(":")[2].split("/")[0])

    def kill(self) -> None:
        """End it as a crash does (kill -9): it can't do anything any more."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()
        assert self._process.returncode == -signal.SIGKILL
        self._process = None

    def interrupt(self) -> tuple[int, str]:
        """End it by Ctrl-C; gives its exit status and what it wrote to stderr."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        errors = self._process.communicate(timeout=SECONDS_TO_END)[1]
        status = self._process.returncode
        self._process = None
        return status, errors

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.kill()


def main() -> None:
    folder, port, blind = sys.argv[1:]
    with ReviewStore.open(Path(folder)) as store:
        serve(
            store,
            port=int(port),
            blind=bool(blind),
            title="made-up run",
            announce=lambda address: print(address, flush=True),  # noqa: T201
        )


if __name__ == "__main__":
    main()
