"""Every operation of a profile is counted once, to the group that its shapes name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from peft import LoraConfig, get_peft_model

from benchmarks.profile import GROUPS, grouped
from tests.tiny import PEFT_WARNING, tiny_model


@pytest.mark.filterwarnings(PEFT_WARNING)
def test_products_are_told_apart_by_their_shapes_and_nothing_is_lost() -> None:
    model = get_peft_model(tiny_model("llama"), LoraConfig(r=5, target_modules="all-linear"))

    def event(name: str, *shapes: tuple[int, ...]) -> SimpleNamespace:
        return SimpleNamespace(name=name, input_shapes=shapes, self_cpu_time_total=1e6)

    found = grouped(
        [
            event("aten::mm", (300, 32), (32, 48)),
            event("mkldnn::_linear_pointwise", (300, 32), (97, 32)),
            event("aten::mm", (300, 32), (32, 5)),
            event("aten::addmm_", (300, 32), (300, 5), (5, 32)),
            event("aten::mm", (300, 8), (8, 200)),
            event("aten::mul", (300, 32)),
            event("aten::copy_", (300, 32)),
            event("aten::view", (300, 32)),
        ],
        model,
    )
    assert found == {
        "products: adapters": 2.0,
        "products: linear layers": 1.0,
        "products: output matrix": 1.0,
        "products: attention": 1.0,
        "norms, rotations, activations, sums": 1.0,
        "copies": 1.0,
        "everything else": 1.0,
    }


def test_no_operation_belongs_to_two_groups() -> None:
    names = [name for group in GROUPS.values() for name in group]
    assert len(names) == len(set(names))
