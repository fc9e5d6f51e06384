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
from derta.files import digest, prepare_run_folder, write_atomically

ROOT = Path(__file__).resolve().parents[1]
LATEST = ROOT / "benchmarks" / "results" / "latest.json"
SEARCH = -1
"""The round of runs that belong to none."""
EVERYTHING = {"onednn": True, "memory": True}
BASE = {"rows": "plain", "blocks": False, "adapters": False}

ASKED_FOR = "20:1, long"
"""Run only when it is named: a step's 21 long examples at once were estimated at 30 GB."""

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
    usual = [name for name in names if name != ASKED_FOR]
    parser.add_argument(
        "--workload", action="append", choices=names, help=f"default: all but {ASKED_FOR!r}"
    )
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
    workloads = [each for each in WORKLOADS if each.name in (arguments.workload or usual)]
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
        self.code = _code()
        """Only runs of the same code are compared."""
        found: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self.runs = [run for run in found if run.get("code") == self.code]

    def compete(self, workload: Workload) -> None:
        """Run all contestants in rounds, so that those of a round ran one after the other."""
        contestants = {k: v for k, v in COMPETITION.items() if k not in self.arguments.without}
        if "trl_best" in contestants:
            contestants["trl_best"] = ("trl", self.fastest_trl(workload))
        for number in range(self.arguments.rounds):
            chosen = dict(contestants)
            if workload.mix == "safety" and number < self.arguments.lever_rounds:
                chosen |= LEVERS
            order = list(chosen.items())
            for name, (kind, options) in order if number % 2 == 0 else reversed(order):
                self.once(workload, name, kind, options, number)

    def fastest_trl(self, workload: Workload) -> dict[str, Any]:
        """Find SFTTrainer's fastest settings by the fastest step; packing needs a GPU's attention.

        Tried: every number of micro-batches that divides a step. Rows of a micro-batch have like
        lengths where there is a choice.
        """
        rows = 2 * workload.triples + workload.helpful
        tried = [
            {"accumulate": count, "by_length": 1 < count < rows}
            for count in range(1, rows + 1)
            if rows % count == 0
        ]

        def fastest_step(options: dict[str, Any]) -> float:
            name = f"trl, {rows // options['accumulate']} rows at once"
            return float(min(self.once(workload, name, "trl", options, SEARCH)["seconds"]))

        return min(tried, key=fastest_step)

    def once(
        self, workload: Workload, name: str, kind: str, options: dict[str, Any], number: int
    ) -> dict[str, Any]:
        """Run one contestant, unless this run is there already."""
        key = {
            "workload": workload.name,
            "contestant": name,
            "round": number,
            "kind": kind,
            "options": options,
            "model": self.arguments.model,
            "threads": self.arguments.threads,
            "code": self.code,
        }
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
        run = {**key, **json.loads(done.stdout)}
        self.runs.append(run)
        with self.raw.open("a", encoding="utf-8") as file:
            file.write(json.dumps(run) + "\n")
        per_step = sum(run["seconds"]) / len(run["seconds"])
        self.console.print(
            f"{workload.name:<14} {name:<28} round {number + 1}: {per_step:7.2f} s a step, "
            f"{run['peak_bytes'] / 1e9:.2f} GB ({time.monotonic() - started:.0f} s)",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        return run


def _code() -> str:
    """Hash what is measured: derta, and what trains the contestants."""
    files = sorted((ROOT / "src").rglob("*.py"))
    names = ("child", "contestants", "floor", "workloads")
    files += [ROOT / "benchmarks" / f"{name}.py" for name in names]
    return digest(*(path.read_text("utf-8") for path in files))


def _machine(arguments: argparse.Namespace) -> dict[str, Any]:
    import importlib.metadata as metadata

    import torch

    from derta.quickstart import machine

    names = ("peft", "accelerate", "trl")  # the others are among what `machine` gives
    return {
        **machine(),
        "threads": arguments.threads,
        "model": arguments.model,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "versions": {name: metadata.version(name) for name in names},
    }


if __name__ == "__main__":
    raise SystemExit(main())
