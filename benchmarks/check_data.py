"""`python -m benchmarks.check_data`: how fast `derta data check` reads a million rows.

The rows are made up: triples and helpful examples, half and half, 60 words in every text, with
copies, prompts that differ in one word, responses that are on the wrong side, and held-out
questions, all in known numbers. Seconds are wall time of the whole check, the start of its
processes included, and beside it the time that all of them computed; memory is the peak of
`benchmarks.watched`. What the check found stands beside what was put in. Not covered: languages
other than English, files on a network.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

from benchmarks.watched import run_watched
from derta.check_data import SAMPLE_ROWS, check_data
from derta.data.encoded import cores
from derta.files import write_atomically

__all__ = ["main", "write_rows"]

ROOT = Path(__file__).resolve().parents[1]
LATEST = ROOT / "benchmarks" / "results" / "check_data.json"
WORDS = 60
COPIES, NEARLY, EXCHANGED, HELD_OUT = 0.02, 0.03, 0.01, 100
"""Shares of rows that are copies, whose prompt differs from another in a word, whose responses are
exchanged (triples), and the number of held-out questions that stand in the data."""
OPENINGS = (
    "Sorry, I can't help with that, because",
    "I'm sorry, but I can't help you with",
    "I cannot assist with this request, as",
)


def write_rows(folder: Path, count: int, seed: int = 1) -> dict[str, int]:
    """Write triples.jsonl, helpful.jsonl and held_out.jsonl; return how many of what is in them.

    Args:
        folder: where to.
        count: rows of both files together.
        seed: of the words.
    """
    generator = random.Random(seed)
    text = resources.files("derta.judges").joinpath("common_words.txt").read_text("utf-8")
    words = [line for line in text.split() if line.isalpha()]
    put: dict[str, int] = {"copies": 0, "nearly": 0, "exchanged": 0, "held_out": 0}

    def some(number: int) -> list[str]:
        return generator.choices(words, k=number)

    with (folder / "held_out.jsonl").open("w", encoding="utf-8") as held:
        for kind in ("triples", "helpful"):
            rows = count // 2 if kind == "triples" else count - count // 2
            kept: list[dict[str, str]] = []
            with (folder / f"{kind}.jsonl").open("w", encoding="utf-8") as file:
                for number in range(rows):
                    drawn = generator.random()
                    if kept and drawn < COPIES:
                        record = generator.choice(kept)
                        put["copies"] += 1
                    else:
                        prompt = some(WORDS)
                        if kept and drawn < COPIES + NEARLY:
                            prompt = generator.choice(kept)["prompt"].rstrip("?").split()
                            prompt[generator.randrange(len(prompt))] = "elsewhere"
                            put["nearly"] += 1
                        record = _record(kind, f"{' '.join(prompt)}?", some, generator, put)
                    file.write(json.dumps(record) + "\n")
                    if len(kept) < 10_000:
                        kept.append(record)
                    if kind == "triples" and number < HELD_OUT:
                        held.write(json.dumps({"question": record["prompt"]}) + "\n")
                        put["held_out"] += 1
    return put


def _record(
    kind: str, prompt: str, some: Any, generator: random.Random, put: dict[str, int]
) -> dict[str, str]:
    if kind == "helpful":
        return {"prompt": prompt, "completion": f"{' '.join(some(WORDS))}."}
    opening = generator.choice(OPENINGS)
    reasons = " ".join(some(WORDS - len(opening.split())))
    safe = f"{opening} {reasons}."
    sentences = [f"Step {step}: {' '.join(some(13))}." for step in range(1, 5)]
    harmful = "\n".join(sentences)
    if generator.random() < EXCHANGED:
        put["exchanged"] += 1
        safe, harmful = harmful, safe
    return {"prompt": prompt, "chosen": safe, "rejected": harmful}


def check(folder: Path, processes: int | None, model: str | None, *, full: bool) -> dict[str, Any]:
    """Check the files of a folder; say how long it took and what was found."""
    started = time.perf_counter()
    report = check_data(
        [folder / "triples.jsonl", folder / "helpful.jsonl"],
        held_out=folder / "held_out.jsonl",
        processes=processes,
        model=model,
        full=full,
    )
    seconds = time.perf_counter() - started
    assert report.leaks is not None
    return {
        "seconds": seconds,
        "cpu_seconds": sum(os.times()[:4]),
        "rows": report.rows["triples"] + report.rows["helpful"],
        "sampled": report.sample["triples"] + report.sample["helpful"],
        "copies": report.repeats["rows"]["count"],
        "near_share": report.repeats["near"]["prompts"]["share"],
        "held_out": report.leaks["exact"]["count"],
        "safe_complies": report.stands["chosen"]["complies"]["share"],
        "harmful_refuses": report.stands["rejected"]["refuses"]["share"],
    }


def main() -> int:
    """Measure, print and write `benchmarks/results/check_data.json`."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.check_data")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=None)
    parser.add_argument("--model", default=None)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--output", type=Path, default=LATEST)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder:
        found = check(arguments.folder, arguments.processes, arguments.model, full=arguments.full)
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        put = write_rows(Path(folder), arguments.rows)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        flags = ["--folder", folder]
        flags += ["--processes", str(arguments.processes)] if arguments.processes else []
        flags += ["--model", arguments.model] if arguments.model else []
        flags += ["--full"] if arguments.full else []
        found = run_watched(["-m", "benchmarks.check_data", *flags])
    report = {
        "rows": arguments.rows,
        "bytes": size,
        "words_a_text": WORDS,
        "cores": cores(),
        "sample_rows_a_kind": None if arguments.full else SAMPLE_ROWS,
        "model": arguments.model,
        "put_in": put,
        "found": found,
    }
    write_atomically(arguments.output, json.dumps(report, indent=1) + "\n")
    sys.stdout.write(
        f"{found['rows']:,} rows, {size / 1e9:.2f} GB: {found['seconds']:.1f} s "
        f"({found['cpu_seconds']:.1f} s of computing), peak of {found['peak_bytes'] / 1e9:.2f} GB\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
