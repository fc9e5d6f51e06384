"""DeepSpeed ZeRO-3 in two processes on the CPU gives the loss curve and the model of one process.

Skipped where DeepSpeed isn't installed, as in `make test`. To run it:

    DS_BUILD_OPS=0 pip install --no-build-isolation deepspeed
    DS_ACCELERATOR=cpu python -m pytest tests/train/test_deepspeed.py

Covered: the stage and the switches of the packaged `zero3` engine in float32, all parameters, LoRA,
tied output, resuming. Not covered: GPUs, bfloat16, offloading.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from derta.train.presets import engine_path
from derta.train.recipe import dump_recipe
from derta.train.run import train_recipe
from tests.tiny import PEFT_WARNING
from tests.train.folders import save_model, saved_weights, tiny_recipe, write_data
from tests.train.test_launched import FULL, ONE, ROOT, TWO, launched, steps_of

pytestmark = [
    pytest.mark.skipif(not importlib.util.find_spec("deepspeed"), reason="needs deepspeed"),
    pytest.mark.filterwarnings("default"),
    pytest.mark.filterwarnings(PEFT_WARNING),
    pytest.mark.slow,
]

CASES = {
    "full": ("llama", FULL, 0),
    "tied": ("llama-tied", FULL, 0),
    "lora": ("llama", (), 0),
    "resumed": ("llama", FULL, 2),
}


def zero3_config(folder: Path) -> Path:
    """Write what the packaged engine says as a DeepSpeed configuration."""
    engine: dict[str, Any] = yaml.safe_load(engine_path("zero3").read_text("utf-8"))
    wanted = engine["deepspeed_config"]
    config = {
        "zero_optimization": {
            "stage": wanted["zero_stage"],
            "stage3_gather_16bit_weights_on_model_save": wanted["zero3_save_16bit_model"],
        },
        "bf16": {"enabled": "auto"},  # float32 here: no processor does it at speed
        "gradient_accumulation_steps": wanted["gradient_accumulation_steps"],
        "gradient_clipping": wanted["gradient_clipping"],
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
    }
    path = folder / "zero3.json"
    path.write_text(json.dumps(config), "utf-8")
    return path


@pytest.mark.parametrize("case", CASES)
def test_zero3_gives_the_loss_curve_and_the_model_of_one_process(tmp_path: Path, case: str) -> None:
    family, overrides, step = CASES[case]
    base, data = save_model(tmp_path / "base", family), write_data(tmp_path)
    zero3 = f"trainer.deepspeed={zero3_config(tmp_path)}"
    path = tmp_path / "mine.yaml"
    path.write_text(dump_recipe(tiny_recipe(base, data, *overrides, *TWO, zero3)), "utf-8")
    cases = tmp_path / "cases.json"
    cases.write_text(json.dumps([[str(path), str(tmp_path / "two"), step]]), "utf-8")
    result = launched([str(ROOT / "tests/train/launched.py"), str(cases), "deepspeed"], ROOT)
    assert result.returncode == 0, result.stderr[-6000:]
    train_recipe(tiny_recipe(base, data, *overrides, *ONE), tmp_path / "one")
    found, truth = steps_of(tmp_path / "two"), steps_of(tmp_path / "one")
    assert len(found) == len(truth) == 4
    for entry, expected in zip(found, truth, strict=True):
        for name in expected:
            if name.startswith("loss"):
                assert entry[name] == pytest.approx(expected[name], abs=1e-5), name
    ours, theirs = (saved_weights(tmp_path / name / "model") for name in ("two", "one"))
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        assert float((ours[name] - weight).abs().max()) <= 1e-5, name
