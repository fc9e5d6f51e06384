"""`python -m benchmarks.profile`: where the time of derta's training step goes.

PyTorch's profiler watches the steps of "safety, short" after a warm-up; every operation's own time
is counted to one of a few groups. The profiler makes a step slower (both times are printed), small
operations more than large ones, so the shares of small operations are upper bounds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch.profiler import ProfilerActivity, profile

from benchmarks.child import adapted
from benchmarks.workloads import WORKLOADS, examples_of, rows_of
from derta.data.encode import ChatEncoder, find_refusal_id
from derta.data.models import DEFAULT_MODEL, load_model, load_tokenizer
from derta.files import write_atomically
from derta.matmul import onednn_matmul
from derta.memory import keep_freed_memory
from derta.train.adapters import install_fused_adapters
from derta.train.collate import RowCollator
from derta.train.forward import install_supervised_forward

__all__ = ["grouped", "main"]

ROOT = Path(__file__).resolve().parents[1]
LATEST = ROOT / "benchmarks" / "results" / "profile.json"
PRODUCTS = ("mm", "addmm", "addmm_", "bmm", "baddbmm", "_linear_pointwise")
GROUPS = {
    "attention: softmax and mask": ("_softmax", "_softmax_backward_data", "masked_fill_"),
    "loss: softmax": ("exp_", "amax", "logsumexp", "log"),
    "norms, rotations, activations, sums": (
        "mul", "mul_", "add", "add_", "sub", "sub_", "div", "pow", "rsqrt", "mean", "neg", "silu",
        "silu_backward", "sum", "cos", "sin",
    ),
    "copies": ("copy_", "cat", "clone", "fill_", "zero_", "index", "_index_put_impl_"),
}  # fmt: skip


def grouped(events: Iterable[Any], model: Any) -> dict[str, float]:
    """Add up each group's own seconds.

    Args:
        events: of a profile with shapes: `name`, `input_shapes`, `self_cpu_time_total` in
            microseconds.
        model: says which shapes are whose.
    """
    config = model.config.get_text_config()
    ranks = {
        layer.out_features
        for module in model.modules()
        if hasattr(module, "lora_A")
        for layer in module.lora_A.values()
    }
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    of_operation = {name: group for group, names in GROUPS.items() for name in names}
    found: dict[str, float] = {}
    for event in events:
        name = event.name.split("::")[-1]
        group = of_operation.get(name, "everything else")
        if name in PRODUCTS:
            sizes = {size for shape in event.input_shapes for size in shape}
            if config.vocab_size in sizes:
                group = "products: output matrix"
            elif sizes & ranks:
                group = "products: adapters"
            elif head_dim in sizes:
                group = "products: attention"
            else:
                group = "products: linear layers"
        found[group] = found.get(group, 0.0) + event.self_cpu_time_total / 1e6
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def main() -> int:
    """Profile, print and write `benchmarks/results/profile.json`."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.profile")
    names = [each.name for each in WORKLOADS]
    parser.add_argument("--workload", choices=names, default=names[0])
    parser.add_argument("--output", type=Path, default=LATEST)
    arguments = parser.parse_args()
    keep_freed_memory()
    workload = next(each for each in WORKLOADS if each.name == arguments.workload)
    encoder = ChatEncoder(load_tokenizer(DEFAULT_MODEL))
    refusal_id = find_refusal_id(encoder)
    model = adapted(load_model(DEFAULT_MODEL)).train()
    install_supervised_forward(model)
    install_fused_adapters(model)
    data = rows_of(examples_of(workload, encoder), refusal_id)
    collate = RowCollator(0, max_tokens=None)
    batches = [
        collate([data.rows(0, index) for index in range(start, start + workload.batch)])
        for start in range(0, len(data), workload.batch)
    ]
    parameters = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)

    def steps() -> float:
        started = time.perf_counter()
        for batch in batches:
            inputs = {name: value for name, value in batch.items() if name != "target_kinds"}
            weights = inputs["target_weights"].sum()
            model(**inputs, denominator=weights, refusal_id=refusal_id).loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return (time.perf_counter() - started) / len(batches)

    with onednn_matmul():
        steps()
        seconds = min(steps(), steps())
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as watched:
            profiled = steps()
    groups = grouped(watched.events() or [], model)
    total = sum(groups.values())
    report = {
        "workload": workload.name,
        "seconds_a_step": seconds,
        "seconds_a_step_profiled": profiled,
        "shares": {name: value / total for name, value in groups.items()},
    }
    write_atomically(arguments.output, json.dumps(report, indent=1) + "\n")
    Console().print(report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
