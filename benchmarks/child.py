"""One contestant on one workload in a process of its own: `python -m benchmarks.child SPEC`.

SPEC is JSON: {"workload": name, "kind": ..., "options": {...}, "model": name, "rate": bool}. The
last line of the output is the result as JSON. A process of its own, so that the peak of memory is
this contestant's.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from benchmarks import contestants, floor
from benchmarks.workloads import WORKLOADS, Workload, examples_of, rows_of
from derta.data.encode import ChatEncoder, find_refusal_id
from derta.data.models import load_model, load_tokenizer
from derta.matmul import onednn_matmul


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Train what the specification says and return the measurements."""
    torch.set_num_threads(int(spec.get("threads") or os.environ.get("OMP_NUM_THREADS") or 2))
    workload = next(each for each in WORKLOADS if each.name == spec["workload"])
    torch.manual_seed(1)
    model = adapted(load_model(spec["model"]))
    tokenizer = load_tokenizer(spec["model"])
    return measure(
        model, tokenizer, workload, spec["kind"], spec["options"], rate=bool(spec.get("rate"))
    )


def adapted(model: Any, **more: Any) -> Any:
    """Put the adapter of all comparisons on a model; `more` goes to PEFT."""
    settings = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, settings, **more)


def measure(
    model: Any,
    tokenizer: Any,
    workload: Workload,
    kind: str,
    options: dict[str, Any],
    *,
    rate: bool,
) -> dict[str, Any]:
    """Train a workload's steps with one contestant; time, losses, tokens, peak of memory.

    Args:
        model: to be trained, with or without adapters.
        tokenizer: makes the short examples; the long ones are made up.
        workload: what is trained.
        kind: of the contestant.
        options: of the contestant.
        rate: also measure the rate of the model's own matrix products, and count operations.
    """
    encoder = ChatEncoder(tokenizer)
    examples = examples_of(workload, encoder)
    # The first step is done twice; the first time warms up.
    examples = examples[: workload.batch] + examples
    data = rows_of(examples, find_refusal_id(encoder))
    setting = contestants.Setting(model, tokenizer, data, workload.batch)
    forget_peak()
    measured = contestants.train(kind, setting, options)
    result = {**asdict(measured), "peak_bytes": peak_bytes(), "triples": workload.triples}
    if rate:
        steps = setting.steps()[1:]
        result["operations"] = [floor.step_operations(model, rows) for rows in steps]
        targets = sum(len(row.target_ids) for rows in steps for row in rows) // len(steps)
        tokens = sum(measured.tokens) // len(measured.tokens)
        with onednn_matmul():
            result["rate"] = floor.matrix_rate(model, tokens, targets)
    return result


def forget_peak() -> None:
    """Let the kernel count the peak of resident memory from now on (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_bytes() -> int:
    """Return the peak of resident memory, or of the GPU's."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    # What libraries print goes elsewhere; the result is the only line on standard output.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps(run(json.loads(sys.argv[1]))), file=out, flush=True)
