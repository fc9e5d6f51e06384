"""What the collator promises: rows as tensors, packed or plain, and nothing lost.

Covered: padding, flattened target positions, weights, margins, empty micro-batches, plain
against packed.
Not covered: what a model makes of them (`tests/invariants`, `test_trainer`).
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from derta.packing import pack
from derta.rows import (
    EncodedHelpful,
    EncodedTriple,
    Method,
    TargetKind,
    build_helpful_row,
    build_rows,
)
from derta.train.collate import RowCollator
from derta.train.forward import install_supervised_forward
from tests.tiny import REFUSAL_ID, random_groups, tiny_model

PAD = 2  # the end-of-text token, as many models have it
TRIPLE = build_rows(
    EncodedTriple((1, 20), (7, 2), (40, 41, 42)),
    Method.DERTA,
    harmful_prefix_length=2,
    refusal_id=7,
)
HELPFUL = [build_helpful_row(EncodedHelpful((1, 30), (50, 2)))]


def test_plain_rows_are_padded_on_the_right_and_masked_by_length() -> None:
    batch = RowCollator(pad_id=PAD, packed=False)([TRIPLE, HELPFUL])
    assert batch["input_ids"].tolist() == [
        [1, 20, 40, 41, 7],
        [1, 20, 40, 41, 42],
        [1, 30, 50, PAD, PAD],
    ]
    assert batch["attention_mask"].tolist() == [[1] * 5, [1] * 5, [1, 1, 1, 0, 0]]
    assert "expires_at" not in batch
    assert "position_ids" not in batch


def test_target_positions_point_into_the_flattened_tokens() -> None:
    batch = RowCollator(pad_id=PAD, packed=False)([TRIPLE, HELPFUL])
    assert batch["target_positions"].tolist() == [3, 4, 6, 7, 8, 9, 11, 12]
    assert batch["target_ids"].tolist() == [7, 2, 7, 7, 7, 7, 50, 2]
    assert batch["target_kinds"].tolist() == [1, 1, 2, 2, 2, 2, 0, 0]


def test_packed_rows_carry_positions_and_ends_and_padding_that_sees_itself() -> None:
    batch = RowCollator(pad_id=PAD, max_tokens=6)([TRIPLE, HELPFUL])
    assert batch["input_ids"].tolist() == [[1, 20, 40, 41, 7, 42], [1, 30, 50, PAD, PAD, PAD]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 4], [0, 1, 2, 0, 0, 0]]
    assert batch["expires_at"].tolist() == [[6, 6, 6, 6, 5, 6], [3, 3, 3, 4, 5, 6]]
    assert batch["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]


def test_packed_and_plain_hold_the_same_targets() -> None:
    groups = random_groups(1)

    def targets(batch: dict[str, Tensor]) -> list[tuple[int, int, float]]:
        columns = (batch[f"target_{name}"].tolist() for name in ("ids", "kinds", "weights"))
        return sorted(zip(*columns, strict=True))

    collator = RowCollator(pad_id=PAD, max_tokens=40, weights={TargetKind.HELPFUL: 0.5})
    assert targets(collator(groups)) == targets(collator.plain()(groups))


@pytest.mark.parametrize("packed", [True, False])
def test_the_margin_belongs_to_helpful_targets_only(packed: bool) -> None:
    batch = RowCollator(pad_id=PAD, packed=packed, helpful_margin=2.5)([TRIPLE, HELPFUL])
    for kind, margin in zip(
        batch["target_kinds"].tolist(), batch["refusal_margins"].tolist(), strict=True
    ):
        assert margin == (2.5 if kind == TargetKind.HELPFUL else 0.0)


def test_without_a_margin_a_batch_holds_none() -> None:
    assert "refusal_margins" not in RowCollator(pad_id=PAD)([TRIPLE, HELPFUL])


def test_packed_rows_are_those_of_pack_and_computed_tokens_are_fewer() -> None:
    groups = random_groups(2)
    collator = RowCollator(pad_id=PAD, max_tokens=40)
    batch = collator(groups)
    rows = pack(groups, 40)
    assert batch["input_ids"].shape == (len(rows), max(map(len, rows)))
    for index, row in enumerate(rows):
        assert batch["input_ids"][index, : len(row)].tolist() == list(row.token_ids)
        assert batch["expires_at"][index, : len(row)].tolist() == list(row.expires_at)
    assert sum(map(len, rows)) < int(collator.plain()(groups)["attention_mask"].sum())


def test_each_kind_of_target_gets_its_weight_and_one_where_none_is_named() -> None:
    weights = {TargetKind.REFUSAL_TRANSITION: 0.25, TargetKind.HELPFUL: 2.0}
    batch = RowCollator(pad_id=PAD, weights=weights)([TRIPLE, HELPFUL])
    by_kind = {0: 2.0, 1: 1.0, 2: 0.25}
    expected = [by_kind[kind] for kind in batch["target_kinds"].tolist()]
    assert batch["target_weights"].tolist() == expected


def test_plain_keeps_all_but_the_packing() -> None:
    collator = RowCollator(pad_id=5, max_tokens=9, weights={TargetKind.HELPFUL: 3.0})
    plain = collator.plain()
    assert (plain.packed, plain.pad_id, plain.weights) == (False, 5, collator.weights)
    assert collator.packed


def test_targets_never_lie_on_padding() -> None:
    for packed in (True, False):
        batch = RowCollator(pad_id=0, packed=packed, max_tokens=40)(random_groups(3))
        tokens = batch["input_ids"].flatten()[batch["target_positions"]]
        assert (tokens != 0).all()


@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3", "mistral-window"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("groups", [[], [[]], [[], []]], ids=str)
def test_an_empty_micro_batch_has_finite_zero_gradients(
    groups: list[list], packed: bool, family: str
) -> None:
    batch = RowCollator(pad_id=0, packed=packed)(groups)
    assert batch["input_ids"].shape == (1, 1)
    assert batch["target_positions"].dtype == torch.long
    model = tiny_model(family)
    install_supervised_forward(model)
    batch.pop("target_kinds")
    output = model(**batch, denominator=4.0, refusal_id=REFUSAL_ID)
    assert output.loss.item() == 0.0
    output.loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"DDP would wait for {name}"
        assert not parameter.grad.any(), name


def test_groups_without_rows_change_nothing() -> None:
    collator = RowCollator(pad_id=0)
    groups = random_groups(4)
    filled = collator([[], *groups, []])
    for name, value in collator(groups).items():
        assert torch.equal(value, filled[name])
