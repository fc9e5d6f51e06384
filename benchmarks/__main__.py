"""`python -m benchmarks`: train the same steps with every contestant in turn, and compare.

Every run is a process of its own; one at a time. A round runs all contestants of a workload one
after another, every other round in reverse order, and ratios are taken within a round, so that a
machine that becomes slower or faster disturbs them little. Each run's result is kept at once in
`runs/bench/`, and `--resume` continues there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import tables
from benchmarks.workloads import WORKLOADS, Workload
from derta.data.encoded import cores
from derta.data.models import DEFAULT_MODEL
from derta.files import prepare_run_folder, write_atomically

ROOT = Path(__file__).resolve().parents[1]
LATEST = ROOT / "benchmarks" / "results" / "latest.json"
EVERYTHING = {"onednn": True, "memory": True}
BASE = {"rows": "plain", "blocks": False, "adapters": False}

COMPETITION: dict[str, tuple[str, dict[str, Any]]] = {
    "authors": ("authors", {}),
    "trl_default": ("trl", {}),
    "trl_best": ("trl", {}),  # its options are found first
    "derta": ("derta", EVERYTHING),
}
LEVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "stock": ("stock", {}),
    # Each alone, added to this one.
    "supervised positions only": ("derta", BASE),
    "+ trees": ("derta", {**BASE, "rows": "trees"}),
    "+ trees, packed": ("derta", {**BASE, "rows": "packed"}),
    "+ trees, packed, in blocks": ("derta", {**BASE, "rows": "packed", "blocks": True}),
    "+ adapters": ("derta", {**BASE, "adapters": True}),
    "+ oneDNN": ("derta", {**BASE, "onednn": True}),
    "+ freed memory kept": ("derta", {**BASE, "memory": True}),
    # And one taken away from all.
    "all but trees": ("derta", {**EVERYTHING, "rows": "plain"}),
    "all but oneDNN": ("derta", {"memory": True}),
}


def main() -> int:
    """Run what the command line asks for, print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks")
    names = [each.name for each in WORKLOADS]
    parser.add_argument("--workload", action="append", choices=names, help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lever-rounds", type=int, default=3)
    parser.add_argument("--without", action="append", default=[], choices=list(COMPETITION))
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--resume", action="store_true", help="keep what runs/bench has")
    parser.add_argument("--output", type=Path, default=LATEST)
    arguments = parser.parse_args()
    console = Console(stderr=True)
    raw = ROOT / "runs" / "bench" / "runs.jsonl"
    prepare_run_folder(raw.parent)
    if not arguments.resume:
        raw.unlink(missing_ok=True)
    bench = _Bench(arguments, raw, console)
    workloads = [each for each in WORKLOADS if each.name in (arguments.workload or names)]
    for workload in workloads:
        bench.compete(workload)
        report = tables.report(bench.runs, _machine(arguments))
        write_atomically(arguments.output, json.dumps(report, indent=1) + "\n")
    Console().print(tables.terminal(report))
    console.print(f"Written: {arguments.output}")
    return 0


class _Bench:
    """Runs contestants, and keeps what they gave."""

    def __init__(self, arguments: argparse.Namespace, raw: Path, console: Console) -> None:
        self.arguments = arguments
        self.raw = raw
        self.console = console
        lines = raw.read_text(encoding="utf-8").splitlines() if raw.exists() else []
        self.runs: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def compete(self, workload: Workload) -> None:
        contestants = {k: v for k, v in COMPETITION.items() if k not in self.arguments.without}
        if "trl_best" in contestants:
            contestants["trl_best"] = ("trl", self.fastest_trl(workload))
        self.rounds(workload, contestants, self.arguments.rounds)
        if workload.mix == "safety":
            self.rounds(workload, LEVERS, self.arguments.lever_rounds)

    def fastest_trl(self, workload: Workload) -> dict[str, Any]:
        """Find SFTTrainer's fastest settings, one run each; packing needs a GPU's attention.

        First the rows at once, in the data's order; then by length, at the two fastest of those.
        """
        rows = 2 * workload.triples + workload.helpful

        def seconds(options: dict[str, Any]) -> float:
            name = f"trl, {rows // options['accumulate']} rows at once"
            name += ", by length" * options["by_length"]
            return float(sum(self.once(workload, name, "trl", options, 0)["seconds"]))

        counts = [count for count in (1, 2, 4, rows) if rows % count == 0]
        tried = [{"accumulate": count, "by_length": False} for count in counts]
        tried.sort(key=seconds)
        tried += [{**options, "by_length": True} for options in tried[:2]]
        return min(tried, key=seconds)

    def rounds(
        self, workload: Workload, contestants: dict[str, tuple[str, dict[str, Any]]], count: int
    ) -> None:
        for number in range(count):
            order = list(contestants.items())
            for name, (kind, options) in order if number % 2 == 0 else reversed(order):
                self.once(workload, name, kind, options, number)

    def once(
        self, workload: Workload, name: str, kind: str, options: dict[str, Any], number: int
    ) -> dict[str, Any]:
        """Run one contestant, unless this run is there already."""
        key = {"workload": workload.name, "contestant": name, "round": number}
        for run in self.runs:
            if all(run[field] == value for field, value in key.items()):
                return run
        spec = {
            "workload": workload.name,
            "kind": kind,
            "options": options,
            "model": self.arguments.model,
            "threads": self.arguments.threads,
            "rate": name == "derta",
        }
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(self.arguments.threads),
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
        }
        started = time.monotonic()
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
        ) as progress:
            label = f"{workload.name:<14} {name:<28} round {number + 1}"
            progress.add_task(label, total=None)
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.child", json.dumps(spec)],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            self.console.print(done.stderr[-3000:], markup=False)
            raise SystemExit(f"{name} failed on {workload.name} (its output stands above)")
        run = {**key, "kind": kind, "options": options, **json.loads(done.stdout)}
        self.runs.append(run)
        with self.raw.open("a", encoding="utf-8") as file:
            file.write(json.dumps(run) + "\n")
        per_step = sum(run["seconds"]) / len(run["seconds"])
        self.console.print(
            f"{workload.name:<14} {name:<28} round {number + 1}: {per_step:7.2f} s a step, "
            f"{run['peak_bytes'] / 1e9:.2f} GB ({time.monotonic() - started:.0f} s)",
            highlight=False,
            markup=False,
        )
        return run


def _machine(arguments: argparse.Namespace) -> dict[str, Any]:
    import importlib.metadata as metadata

    import torch

    from derta.quickstart import machine

    names = ("torch", "transformers", "peft", "accelerate", "trl")
    return {
        **machine(),
        "threads": arguments.threads,
        "model": arguments.model,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "versions": {name: metadata.version(name) for name in names},
    }


if __name__ == "__main__":
    raise SystemExit(main())
