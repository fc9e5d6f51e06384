"""The number of processes changes nothing: two under torchrun against one.

Covered: DDP on the CPU (gloo), full parameter and LoRA, an epoch that is no multiple of a step
(so one process gets a micro-batch without examples), a resume inside the second epoch, logs. Not
covered: GPUs, FSDP and DeepSpeed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.train.runs import make_trainer, same_as_in_two_processes, weights_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run `tests.train.runs` in two processes; torchrun chooses a free local port."""
    folder = tmp_path_factory.mktemp("two-processes")
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc_per_node=2", str(ROOT / "tests" / "train" / "runs.py"), str(folder)),
        ],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "resumed", "lora"])
@pytest.mark.parametrize("packed", [True, False])
def test_two_processes_train_the_same_weights_as_one(
    two_processes: Path, tmp_path: Path, kind: str, packed: bool
) -> None:
    model, data = same_as_in_two_processes(kind)
    before = weights_of(model)
    trainer = make_trainer(tmp_path, model, data, batch=4, packed=packed)
    trainer.train()
    found = torch.load(two_processes / f"{kind}.pt")
    truth = weights_of(model)
    assert found.keys() == truth.keys()
    for name, weight in truth.items():
        moved = float((weight - before[name]).norm())
        assert moved > 1e-3 * float(weight.norm()), f"{name} is not trained enough to compare"
        assert float((found[name] - weight).norm()) <= 1e-5 * moved, name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "lora"])
def test_two_processes_log_what_one_logs(two_processes: Path, tmp_path: Path, kind: str) -> None:
    model, data = same_as_in_two_processes(kind)
    trainer = make_trainer(tmp_path, model, data, batch=4)
    trainer.train()
    found = json.loads((two_processes / "history.json").read_text())[kind]
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(steps) == 4
    for entry, other in zip(steps, found, strict=False):
        assert entry.keys() == other.keys()
        for name in entry:
            assert other[name] == pytest.approx(entry[name], rel=1e-4), name
