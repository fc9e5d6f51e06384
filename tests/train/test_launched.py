"""Whole runs in two processes give the loss curve and the model of one process.

Covered: DDP and FSDP2 on the CPU (gloo), all parameters and LoRA, tied output, a mixture of
experts, steps divided in another way, resuming a divided model, and the command itself under
torchrun. Not covered: GPUs, several machines, DeepSpeed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from derta.train.recipe import Recipe, dump_recipe
from derta.train.run import train_recipe
from tests.tiny import PEFT_WARNING
from tests.train.folders import save_model, saved_weights, tiny_recipe, write_data

pytestmark = [pytest.mark.filterwarnings(PEFT_WARNING), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]

FULL = ("lora=null", "trainer.learning_rate=1e-3")
CASES: dict[str, tuple[str, tuple[str, ...], int]] = {
    "ddp-full": ("llama", FULL, 0),
    "ddp-lora": ("llama", (), 0),
    "ddp-resumed": ("llama", (), 2),
    "ddp-router": ("mixtral", FULL, 0),
    "fsdp2-full": ("llama", (*FULL, "sharding=fsdp2"), 0),
    "fsdp2-tied": ("llama-tied", (*FULL, "sharding=fsdp2"), 0),
    "fsdp2-gemma2": ("gemma2", (*FULL, "sharding=fsdp2", "attention=eager"), 0),
    "fsdp2-mixtral": ("mixtral", (*FULL, "sharding=fsdp2"), 0),
    "fsdp2-checkpointed": (
        "llama", (*FULL, "sharding=fsdp2", "trainer.activation_checkpointing=true"), 0
    ),
    "fsdp2-lora-checkpointed": (
        "llama", ("sharding=fsdp2", "trainer.activation_checkpointing=true"), 0
    ),
    "fsdp2-experts": ("mixtral", ("sharding=fsdp2", "trainer.activation_checkpointing=true",
        "lora={r: 4, target_modules: [q_proj, k_proj, v_proj, o_proj], target_parameters: "
        "[mlp.experts.gate_up_proj, mlp.experts.down_proj]}"), 0),
    "fsdp2-lora": ("llama", ("sharding=fsdp2",), 0),
    "fsdp2-resumed": ("llama", (*FULL, "sharding=fsdp2"), 2),
    "fsdp2-mixtral-resumed": ("mixtral", (*FULL, "sharding=fsdp2"), 2),
    "fsdp2-lora-resumed": ("llama", ("sharding=fsdp2",), 2),
}  # fmt: skip
ONE = ("examples_per_step=4", "trainer.per_device_train_batch_size=4")
TWO = ("examples_per_step=4", "trainer.per_device_train_batch_size=1")


def launched(arguments: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *LAUNCH, *arguments],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
        cwd=cwd,
    )


def recipe_of(folder: Path, case: str, more: Sequence[str]) -> Recipe:
    family, overrides, _ = CASES[case]
    base = folder / family
    if not base.exists():
        save_model(base, family)
    return tiny_recipe(base, write_data(folder), *overrides, *more)


@pytest.fixture(scope="module")
def in_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train every case in two processes; return the folder of the runs."""
    folder = tmp_path_factory.mktemp("launched")
    cases = []
    for case, (_, _, step) in CASES.items():
        path = folder / f"{case}.yaml"
        path.write_text(dump_recipe(recipe_of(folder, case, TWO)), "utf-8")
        cases.append([str(path), str(folder / "runs" / case), step])
    (folder / "cases.json").write_text(json.dumps(cases), "utf-8")
    script = ROOT / "tests" / "train" / "launched.py"
    result = launched([str(script), str(folder / "cases.json")], ROOT)
    assert result.returncode == 0, result.stderr[-6000:]
    return folder


def steps_of(run: Path) -> list[dict[str, float]]:
    return json.loads((run / "training.json").read_text("utf-8"))["log"]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_the_loss_curve_and_the_model_of_one(
    in_two: Path, tmp_path: Path, case: str
) -> None:
    one: Any = recipe_of(in_two, case, ONE).model_copy(update={"sharding": None})
    train_recipe(one, tmp_path / "run")
    found, truth = steps_of(in_two / "runs" / case), steps_of(tmp_path / "run")
    assert len(found) == len(truth) == 4
    for entry, expected in zip(found, truth, strict=True):
        assert entry.keys() == expected.keys()
        for name in expected:
            if name.startswith("loss") and name != "loss":
                assert entry[name] == pytest.approx(expected[name], abs=1e-5), name
        # The router's loss is a mean over micro-batches, not over tokens: it depends on the split.
        if CASES[case][0] != "mixtral":
            assert entry["loss"] == pytest.approx(expected["loss"], abs=1e-5)
            assert entry["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-3)
    ours, theirs = (
        saved_weights(in_two / "runs" / case / "model"),
        saved_weights(tmp_path / "run/model"),
    )
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        assert ours[name].shape == weight.shape
        difference = float((ours[name] - weight).norm())
        assert difference <= 1e-3 * float(weight.norm()) + 1e-5, name


def test_torchrun_starts_the_command_and_one_process_speaks(tmp_path: Path) -> None:
    recipe = tiny_recipe(save_model(tmp_path / "base"), write_data(tmp_path), *TWO)
    path = tmp_path / "mine.yaml"
    path.write_text(dump_recipe(recipe), "utf-8")
    result = launched(["-m", "derta", "train", str(path), "--output", "run"], tmp_path)
    assert result.returncode == 0, result.stderr[-4000:]
    assert result.stdout.count("The trained model is in") == 1
    manifest = json.loads((tmp_path / "run/manifest.json").read_text("utf-8"))
    assert (manifest["processes"], manifest["examples_per_step"]) == (2, 4)
    assert (tmp_path / "run/losses.svg").exists()


def test_an_error_under_torchrun_is_said_once_and_names_the_remedy(tmp_path: Path) -> None:
    recipe = tiny_recipe(save_model(tmp_path / "base"), write_data(tmp_path), "examples_per_step=3")
    path = tmp_path / "mine.yaml"
    path.write_text(dump_recipe(recipe), "utf-8")
    result = launched(["-m", "derta", "train", str(path), "--output", "run"], tmp_path)
    assert result.returncode != 0
    assert result.stderr.count("derta: examples_per_step") == 1
    assert "multiple of 2" in result.stderr
