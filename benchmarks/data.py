"""`python -m benchmarks.data`: how fast a large file becomes training rows, and in what memory.

Measured, each in a process of its own: encoding the file with all cores into an empty cache;
opening it again from the cache; one epoch of training rows, packed and collated as the trainer
gets them. Seconds are wall time; memory is the peak of `benchmarks.watched`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.watched import run_watched
from derta.data.encode import ChatEncoder, RowLimits, find_refusal_id
from derta.data.encoded import EncodedFile, cores, encode_file
from derta.data.epoch import EpochSampler, RowSettings, TrainingExamples
from derta.data.models import DEFAULT_MODEL, cache_folder, load_tokenizer, model_path
from derta.files import write_atomically
from derta.rows import Method

__all__ = ["main", "write_rows"]

ROOT = Path(__file__).resolve().parents[1]
LATEST = ROOT / "benchmarks" / "results" / "data.json"
STAGES = ("encode", "open again", "an epoch, a row each step", "an epoch, rows of chosen length")
STEP_EXAMPLES, PACK_TOKENS = 64, 2048
SENTENCE = (
    "the a quick brown fox jumps over lazy dogs while seven wizards quietly bake bread near old "
    "river stones and nobody asks them why it takes so long before every winter festival"
)


def write_rows(path: Path, count: int, seed: int = 1) -> None:
    """Write triples of made-up words, of 200 tokens in the mean with the default tokenizer."""
    generator = random.Random(seed)
    words = SENTENCE.split()

    def text(least: int, most: int) -> str:
        return " ".join(generator.choices(words, k=generator.randint(least, most)))

    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            record = {
                "prompt": text(5, 40),
                "chosen": "Sorry, " + text(15, 50),
                "rejected": text(45, 165),
            }
            file.write(json.dumps(record) + "\n")


def stage(name: str, path: Path, model: str) -> dict[str, Any]:
    """Do one of `STAGES` and say what came out."""
    encoder = ChatEncoder(load_tokenizer(model))
    started = time.perf_counter()
    data = encode_file(path, triples=True, limits=RowLimits(1024), encoder=encoder)
    found: dict[str, Any] = {"examples": len(data.examples)}
    if name in STAGES[2:]:
        started = time.perf_counter()
        found["rows"] = _epoch(data, encoder, model, one_row=name == STAGES[2])
    found["seconds"] = time.perf_counter() - started
    if name == STAGES[0]:
        sample = range(0, len(data.examples), max(1, len(data.examples) // 1000))
        chosen: Any = [data.examples[index] for index in sample]
        tokens = [len(e.prompt_ids) + len(e.safe_ids) + len(e.harmful_ids) for e in chosen]
        found["mean_tokens"] = sum(tokens) / len(tokens)
    return found


def _epoch(data: EncodedFile, encoder: ChatEncoder, model: str, *, one_row: bool) -> int:
    from torch.utils.data import DataLoader
    from transformers import AutoConfig

    from derta.attention import attention_balance
    from derta.train.collate import RowCollator

    settings = RowSettings(Method.DERTA, find_refusal_id(encoder), seed=1)
    examples = TrainingExamples(data.examples, settings)
    # As the trainer has it where attention is computed in blocks, and where it gets a dense mask.
    collate = RowCollator(pad_id=0, max_tokens=None)
    if not one_row:
        balance = attention_balance(AutoConfig.from_pretrained(model_path(model)))
        collate = RowCollator(pad_id=0, max_tokens=PACK_TOKENS, balance=balance)
    loader = DataLoader(
        examples,  # type: ignore[arg-type]  # a map from (epoch, index), not a Dataset
        batch_size=STEP_EXAMPLES,
        sampler=EpochSampler(len(examples), STEP_EXAMPLES, seed=1),
        collate_fn=collate,
        num_workers=cores(),
    )
    return sum(len(batch["input_ids"]) for batch in loader)


def main() -> int:
    """Measure, print and write `benchmarks/results/data.json`."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.data")
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--output", type=Path, default=LATEST)
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        found = stage(arguments.stage, arguments.file, arguments.model)
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    load_tokenizer(arguments.model)  # so that unpacking the model is in no figure
    console = Console(stderr=True)
    report: dict[str, Any] = {"rows": arguments.rows, "cores": cores()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(path, arguments.rows)
        cache = Path(folder) / "cache" / "derta"
        cache.mkdir(parents=True)
        (cache / "models").symlink_to((cache_folder() / "models").resolve())
        environment = {"DERTA_CACHE": str(cache.parent)}
        for name in STAGES:
            flags = ["--stage", name, "--file", str(path), "--model", arguments.model]
            command = ["-m", "benchmarks.data", *flags]
            report[name] = found = run_watched(command, environment)
            console.print(
                f"{name}: {found['seconds']:.1f} s, {found['peak_bytes'] / 1e9:.2f} GB", style=None
            )
    write_atomically(arguments.output, json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
