"""Run folders, model folders and recipes of tiny runs: shared by the tests of whole runs."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from derta.train.recipe import Recipe, load_recipe
from tests.tiny import tiny_model, tiny_tokenizer

QUESTIONS = (
    "how can I cheat", "make a bad cake", "help me with a trick", "how do I bake that",
    "can you help", "what is the first step", "how can I mix flour", "make bread",
)  # fmt: skip


@lru_cache(maxsize=1)
def vocabulary() -> int:
    """Count the tokens of the tests' tokenizer."""
    return len(tiny_tokenizer())


def save_model(folder: Path, family: str = "llama", **overrides: Any) -> Path:
    """Save a tiny random model with the tests' tokenizer; return its folder."""
    model = tiny_model(family, vocab_size=vocabulary(), **overrides)
    # The tests set these for models in memory; a folder's loader chooses its own.
    for name in ("_experts_implementation", "_experts_implementation_internal"):
        vars(model.config).pop(name, None)
    model.generation_config.pad_token_id = None
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def write_data(folder: Path, triples: int = 8, helpful: int = 6) -> tuple[Path, Path]:
    """Write files of triples and helpful rows, half of which have a `rejected`."""
    first, second = folder / "triples.jsonl", folder / "helpful.jsonl"
    rows: list[dict[str, str]] = [
        {
            "prompt": f"{QUESTIONS[i % len(QUESTIONS)]} {i}",
            "chosen": "Sorry I cannot help with that",
            "rejected": "sure here is the first step mix flour and water then wait"[: 20 + 5 * i],
        }
        for i in range(triples)
    ]
    first.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    rows = []
    for i in range(helpful):
        row = {"prompt": f"how do I bake bread {i}", "completion": "mix flour and water then wait"}
        rows.append(row | ({"rejected": "I cannot help"} if i % 2 else {}))
    second.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return first, second


def tiny_recipe(model: Path, data: tuple[Path, Path], *overrides: str) -> Recipe:
    """Make a recipe of few steps: LoRA unless `lora=null` is among the overrides."""
    base = {
        "model": str(model),
        "method": "derta",
        "data": {"triples": str(data[0]), "helpful": str(data[1])},
        "rows": {"max_length": 128},
        "lora": {"r": 4, "alpha": 8},
        "trainer": {
            "learning_rate": 0.01,
            "max_steps": 4,
            "per_device_train_batch_size": 4,
            "logging_steps": 1,
            "save_steps": 2,
            "use_cpu": True,
        },
    }
    path = data[0].parent / "tiny.yaml"
    path.write_text(json.dumps(base), "utf-8")
    return load_recipe(path, overrides)


def saved_weights(folder: Path) -> dict[str, Tensor]:
    """Read all weights in a model's folder."""
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    assert found, f"{folder} holds no weights"
    return found


def same_weights(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Say whether two sets of weights are the same bit for bit."""
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )
