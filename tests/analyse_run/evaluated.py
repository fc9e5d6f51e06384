"""An evaluation of two tiny models with all that was fed to them: shared by the tests here.

Covered: the folder that `derta evaluate` leaves, made once a test session, and the token ids that
each request had and gave. Not covered: models that say anything sensible.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from derta.evaluate.batching import BatchGenerator
from tests.evaluate.suites import keep_mock_offline, run_tiny, save_model, tiny_plan

SCENARIOS = (
    "direct", "code_attack", "pair", "self_cipher", "completing", "autodan", "prefill",
    "long_prefill", "rank_assisted", "languages", "multi_turn", "sampling", "benign",
)  # fmt: skip


@dataclass(frozen=True)
class Evaluated:
    """What was made."""

    models: tuple[Path, ...]
    folder: Path
    """The evaluation's."""
    asked: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    """(input ids, generated ids) of every request."""

    def copy(self, folder: Path) -> Path:
        """Copy the evaluation for a test that changes it."""
        shutil.copytree(self.folder, folder)
        return folder


def evaluate(folder: Path, *scenarios: str) -> Evaluated:
    """Evaluate two tiny models, and remember what they were asked."""
    models = tuple(save_model(folder / name, seed=seed) for seed, name in enumerate(("one", "two")))
    requests: list[tuple[tuple[int, ...], Future[Any]]] = []
    submit = BatchGenerator.submit

    def remembering(self: BatchGenerator, input_ids: Any, *args: Any, **kwargs: Any) -> Any:
        future = submit(self, input_ids, *args, **kwargs)
        requests.append((tuple(input_ids), future))
        return future

    with pytest.MonkeyPatch.context() as patch:
        keep_mock_offline(patch)
        patch.setattr(BatchGenerator, "submit", remembering)
        run_tiny(list(models), folder / "evaluation", tiny_plan(*(scenarios or SCENARIOS)))
    asked = tuple((ids, tuple(future.result().token_ids)) for ids, future in requests)
    return Evaluated(models, folder / "evaluation", asked)


def change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change an evaluation.json."""
    path = folder / "evaluation.json"
    values = json.loads(path.read_text("utf-8"))
    edit(values)
    path.write_text(json.dumps(values), "utf-8")


class Stages:
    """Remembers the stages and which of them had something to do."""

    def __init__(self) -> None:
        """Begin with none."""
        self.all: list[str] = []
        self.busy: list[str] = []

    @contextlib.contextmanager
    def __call__(self, title: str) -> Iterator[Callable[[int, int], None]]:
        """Stand in for a stage on the screen."""
        self.all.append(title)

        def progress(done: int, total: int) -> None:
            assert 0 <= done <= total
            if title not in self.busy:
                self.busy.append(title)

        yield progress
