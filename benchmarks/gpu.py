"""`python -m benchmarks.gpu`: a large model's shape on one CUDA GPU, ours beside TRL.

A Llama with random weights, which costs what a trained one costs, in bfloat16: LoRA r 16, and all
parameters as far as memory allows. Tokens a second, peak memory, and the share of the matrix rate
that the card reaches on the model's own shapes. Each run is a process of its own.

It has been tested at toy size on a CPU (`--shape toy`), where its figures mean nothing. It has not
been run on a GPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import child
from benchmarks.scaling import Size, random_model
from benchmarks.workloads import Workload
from derta.data.models import DEFAULT_MODEL, load_tokenizer
from derta.files import write_atomically

__all__ = ["CONTESTANTS", "SHAPES", "main", "one"]

ROOT = Path(__file__).resolve().parents[1]
LATEST = ROOT / "benchmarks" / "results" / "gpu.json"
SHAPES = {
    "8B": (Size(4096, 14336, 32, 32, 8), 128_256),
    "1B": (Size(2048, 8192, 16, 32, 8), 128_256),
    "toy": (Size(48, 96, 2, 3, 3), None),
}
"""Llama 3's shapes with their vocabularies; None takes the tokenizer's."""
CONTESTANTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "trl": ("trl", "sdpa", {}),
    "derta, SDPA": ("derta", "sdpa", {"pack_tokens": 4096}),
    "derta, flex_attention": ("derta", "flex_attention", {"pack_tokens": 4096}),
}
TRAINED = ("lora", "full")
WORKLOADS = {
    "8B": Workload("safety", "long", triples=16, helpful=0, steps=8),
    "1B": Workload("safety", "long", triples=32, helpful=0, steps=8),
    "toy": Workload("safety", "long", triples=1, helpful=0, steps=1),
}


def one(shape: str, trained: str, contestant: str) -> dict[str, Any]:
    """Train one contestant in this process.

    Args:
        shape: a key of `SHAPES`.
        trained: "lora" or "full".
        contestant: a key of `CONTESTANTS`.
    """
    kind, attention, options = CONTESTANTS[contestant]
    size, vocabulary = SHAPES[shape]
    tokenizer = load_tokenizer(DEFAULT_MODEL)
    on_gpu = torch.cuda.is_available()
    torch.set_default_dtype(torch.bfloat16 if on_gpu else torch.float32)
    with torch.device("cuda" if on_gpu else "cpu"):
        model = random_model(size, vocabulary or len(tokenizer), tied=vocabulary is None)
    torch.set_default_dtype(torch.float32)
    model.config._attn_implementation = attention
    if trained == "lora":
        model = child.adapted(model, autocast_adapter_dtype=False)
    return child.measure(model, tokenizer, WORKLOADS[shape], kind, options, rate=True)


def summarised(run: dict[str, Any]) -> dict[str, Any]:
    """Turn a run into tokens and triples a second, peak memory and share of the matrix rate."""
    seconds = sum(run["seconds"])
    return {
        "triples_per_second": run["triples"] * len(run["seconds"]) / seconds,
        "tokens_per_second": sum(run["tokens"]) / seconds,
        "peak_bytes": run["peak_bytes"],
        "operations_per_second": run["rate"],
        "share_of_floor": sum(run["operations"]) / run["rate"] / seconds,
        "losses": run["losses"],
    }


def main() -> int:
    """Measure, print and write `benchmarks/results/gpu.json`."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.gpu")
    parser.add_argument("--shape", choices=list(SHAPES), default="8B")
    parser.add_argument("--output", type=Path, default=LATEST)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        sys.stdout.write(json.dumps(one(arguments.shape, *arguments.one)) + "\n")
        return 0
    console = Console(stderr=True)
    if arguments.shape != "toy" and not torch.cuda.is_available():
        console.print("There is no CUDA GPU here; --shape toy runs on a CPU.")
        return 2
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    report: dict[str, Any] = {"device": device, "shape": arguments.shape, "runs": {}}
    for trained in TRAINED:
        for contestant in CONTESTANTS:
            if contestant.endswith("flex_attention") and not torch.cuda.is_available():
                continue  # it can't train on a CPU
            flags = ["--shape", arguments.shape, "--one", trained, contestant]
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.gpu", *flags],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            name = f"{trained}, {contestant}"
            if done.returncode:  # out of memory, say: the others still run
                report["runs"][name] = {"failed": done.stderr.strip().splitlines()[-1:]}
            else:
                report["runs"][name] = summarised(json.loads(done.stdout.splitlines()[-1]))
            shown = {k: v for k, v in report["runs"][name].items() if k != "losses"}
            console.print(name, shown, highlight=False)
    write_atomically(arguments.output, json.dumps(report, indent=1) + "\n")
    return int(all("failed" in run for run in report["runs"].values()))


if __name__ == "__main__":
    raise SystemExit(main())
