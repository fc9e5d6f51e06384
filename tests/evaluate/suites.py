"""Tiny models on disk and suites of them: shared by the tests of `derta evaluate`.

Covered: folders that `derta evaluate` takes, settings so small that a suite takes seconds, what a
suite's folder holds. Not covered: models that say anything sensible.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.model import ModelOutput, ModelUsage
from inspect_ai.model._providers.mockllm import MockLLM

from derta.data.encode import ChatEncoder
from derta.evaluate.log_store import read_logged_samples
from derta.evaluate.settings import load_settings
from derta.evaluate.suite import Plan, make_plan, run_suite
from tests.evaluate.samples import model_and_tokenizer
from tests.tiny import tiny_tokenizer

# inspect-ai asks tenacity under an old name.
INSPECT_WARNING = "ignore:The 'initial' parameter:DeprecationWarning"

LENGTH = 8192
"""Tokens that the tests' models read: their tokenizer makes most letters a token."""

TINY = (
    "questions=3",
    "benign_questions=2",
    "max_tokens=5",
    "prefill.depths=[0,4]",
    "long_prefill.depths=[160]",
    "languages.languages=[French]",
    "fine_tuning.kinds=[benign]",
    "helpfulness.rows=3",
)
"""Changes of the smoke budget: every scenario, few tokens."""


def save_model(folder: Path, *, seed: int = 0, length: int = LENGTH) -> Path:
    """Save a tiny random chat model with its tokenizer; return its folder."""
    model, tokenizer = model_and_tokenizer(seed=seed, max_position_embeddings=length)
    model.generation_config.pad_token_id = None
    # The tests set these for models in memory; a folder's loader chooses its own.
    for name in ("_experts_implementation", "_experts_implementation_internal"):
        vars(model.config).pop(name, None)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def encoder() -> ChatEncoder:
    """Make an encoder of the tests' tokenizer."""
    return ChatEncoder(tiny_tokenizer())


def tiny_plan(*scenarios: str, overrides: tuple[str, ...] = (), **changes: Any) -> Plan:
    """Plan a suite of a few questions and tokens."""
    values: dict[str, Any] = {
        "scenarios": scenarios or None,
        "settings": load_settings("smoke", [*TINY, *overrides]),
        "budget": "smoke",
        "questions": "sample",
        "benign": "sample-benign",
        "columns": {},
        "judge": "offline",
        "attacker": None,
        **changes,
    }
    return make_plan(**values)


@contextlib.contextmanager
def silent(_: str) -> Iterator[Callable[[int, int], None]]:
    """Show nothing of a stage."""
    yield lambda *_: None


def run_tiny(
    models: list[Path] | list[str], output: Path, plan: Plan, *, overwrite: bool = False
) -> dict[str, Any]:
    """Run a suite without showing anything."""
    return run_suite([str(each) for each in models], plan, output, silent, overwrite=overwrite)


def finished(output: Path) -> Counter[tuple[str, str, str]]:
    """Count how often each sample was answered: by its model's log folder, id and key."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for folder in {path.parent for path in output.rglob("*.eval")}:
        for sample in read_logged_samples(folder):
            if sample.error is None and sample.output.choices:
                key = str((sample.metadata or {}).get("key"))
                counts[str(folder.relative_to(output)), str(sample.id), key] += 1
    return counts


def outcomes(output: Path) -> list[dict[str, Any]]:
    """Read the lines of outcomes.jsonl."""
    lines = (output / "outcomes.jsonl").read_text("utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def keep_mock_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep inspect-ai's mock model from fetching a tokenizer to count tokens with."""

    async def count_nothing(_: MockLLM, output: ModelOutput, *__: Any) -> None:
        output.usage = ModelUsage()

    monkeypatch.setattr(MockLLM, "_ensure_default_usage", count_nothing)
