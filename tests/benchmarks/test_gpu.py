"""The GPU's benchmark runs at toy size on a CPU, and its contestants train the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_package import REPOSITORY


@pytest.mark.slow
def test_the_gpu_benchmark_runs_at_toy_size_and_all_have_the_same_losses(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--shape", "toy", "--output", str(output)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    runs = json.loads(output.read_text())["runs"]
    assert list(runs) == ["lora, trl", "lora, derta, SDPA", "full, trl", "full, derta, SDPA"]
    for trained in ("lora", "full"):
        ours, theirs = runs[f"{trained}, derta, SDPA"], runs[f"{trained}, trl"]
        assert ours["losses"] == pytest.approx(theirs["losses"], rel=1e-3)
        assert ours["tokens_per_second"] > 0
