"""Masks by hand, and what is said where a mask can't be given.

Covered: the rule itself, sliding windows along a path, padding, the form each implementation
wants, the reasons for plain rows. Not covered: that models obey the masks
(`tests/invariants/test_packed_rows`).
"""

from __future__ import annotations

import random
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from derta.attention import reason_trees_are_unsupported, tree_attention, tree_mask
from derta.packing import share_prefixes
from tests.tiny import random_groups

#   A - B - C      layout  A B C D E      (D and E branch off A; F is another document)
#    \- D - E
#   F
EXPIRES = torch.tensor([[5, 3, 3, 5, 5, 6]])
POSITIONS = torch.tensor([[0, 1, 2, 1, 2, 0]])
ALLOWED = torch.tensor(
    [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 0, 0, 1, 0, 0],
        [1, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ],
    dtype=torch.bool,
)


def _config(**settings: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"_attn_implementation": "sdpa", "model_type": "llama", **settings})


def test_a_token_sees_its_own_ancestors_and_nothing_else() -> None:
    assert torch.equal(tree_attention(EXPIRES)[0, 0], ALLOWED)


def test_a_plain_row_is_causal_attention() -> None:
    mask = tree_attention(torch.full((2, 5), 5))
    assert torch.equal(mask, torch.ones(2, 1, 5, 5).tril().bool())


def test_padding_sees_only_itself_and_is_seen_by_no_other() -> None:
    mask = tree_attention(torch.tensor([[2, 2, 3, 4]]))[0, 0]
    assert torch.equal(mask[2], torch.tensor([False, False, True, False]))
    assert torch.equal(mask[:, 3], torch.tensor([False, False, False, True]))


def test_a_sliding_window_counts_along_the_path_and_not_along_the_row() -> None:
    mask = tree_attention(EXPIRES, POSITIONS, 2)[0, 0]
    expected = ALLOWED.clone()
    expected[2, 0] = expected[4, 0] = False  # A is two steps before C and E
    assert torch.equal(mask, expected)
    assert mask[3, 0], "A is one step before D, however far away in the row"


def test_a_sliding_window_needs_position_ids() -> None:
    with pytest.raises(ValueError, match="position_ids"):
        tree_attention(EXPIRES, None, 2)


@pytest.mark.parametrize("window", [None, 1, 3, 6])
def test_each_token_of_a_random_tree_sees_what_it_sees_in_its_own_row(window: int | None) -> None:
    generator = random.Random(0)
    for seed in range(20):
        rows = [row for group in random_groups(seed) for row in group]
        tree = share_prefixes(generator.sample(rows, len(rows)))
        mask = tree_attention(
            torch.tensor([tree.expires_at]), torch.tensor([tree.position_ids]), window
        )[0, 0]
        seen_paths = set()
        for query in range(len(tree)):
            path = [k for k in range(query + 1) if query < tree.expires_at[k]]
            seen_paths.add(tuple(tree.token_ids[k] for k in path))
            expected = path if window is None else path[-window:]
            assert mask[query].nonzero()[:, 0].tolist() == expected
        own = {row.token_ids[: i + 1] for row in rows for i in range(len(row))}
        assert seen_paths == own


def test_sdpa_gets_a_boolean_mask() -> None:
    mask = tree_mask(_config(), EXPIRES, POSITIONS, torch.float32)
    assert isinstance(mask, torch.Tensor)
    assert mask.dtype == torch.bool
    assert mask.shape == (1, 1, 6, 6)
    assert torch.equal(mask[0, 0], ALLOWED)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_eager_gets_an_additive_mask_in_the_models_dtype(dtype: torch.dtype) -> None:
    mask = tree_mask(_config(_attn_implementation="eager"), EXPIRES, POSITIONS, dtype)
    assert isinstance(mask, torch.Tensor)
    assert mask.dtype == dtype
    assert torch.equal(mask[0, 0] == 0, ALLOWED)
    assert (mask[0, 0][~ALLOWED] == torch.finfo(dtype).min).all()


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text", "qwen2", "qwen3"])
def test_models_that_mix_layers_get_a_mask_for_each_kind(family: str) -> None:
    config = _config(
        model_type=family,
        layer_types=["sliding_attention", "full_attention"],
        sliding_window=2,
    )
    masks = tree_mask(config, EXPIRES, POSITIONS, torch.float32)
    assert isinstance(masks, dict)
    assert set(masks) == {"full_attention", "sliding_attention"}
    assert torch.equal(masks["full_attention"][0, 0], ALLOWED)
    sliding = tree_attention(EXPIRES, POSITIONS, 2)
    assert torch.equal(masks["sliding_attention"], sliding)


@pytest.mark.parametrize("family", ["mistral", "mixtral", "phi3", "starcoder2", "qwen3_moe"])
def test_models_whose_layers_all_slide_get_one_sliding_mask(family: str) -> None:
    config = _config(model_type=family, sliding_window=2)
    mask = tree_mask(config, EXPIRES, POSITIONS, torch.float32)
    assert isinstance(mask, torch.Tensor)
    assert torch.equal(mask, tree_attention(EXPIRES, POSITIONS, 2))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"_attn_implementation": "flash_attention_2"}, "'flash_attention_2' can't be given"),
        ({"_attn_implementation": None}, "None can't be given"),
        ({"model_type": "gemma2", "attn_logit_softcapping": 50.0}, "soft cap.*eager"),
        (
            {"model_type": "qwen3_next", "layer_types": ["linear_attention", "full_attention"]},
            "linear_attention keep a state",
        ),
        (
            {"model_type": "novel", "layer_types": ["sliding_attention", "full_attention"]},
            "novel mixes sliding",
        ),
    ],
)
def test_what_can_not_be_given_a_tree_mask_has_a_reason(
    settings: dict[str, Any], words: str
) -> None:
    reason = reason_trees_are_unsupported(_config(**settings))
    assert reason is not None
    assert re.search(words, reason), reason


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"_attn_implementation": "eager"},
        {"model_type": "mistral", "sliding_window": 4096},
        {
            "model_type": "gemma2",
            "_attn_implementation": "eager",
            "attn_logit_softcapping": 50.0,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ],
)
def test_nothing_speaks_against_the_usual_models(settings: dict[str, Any]) -> None:
    assert reason_trees_are_unsupported(_config(**settings)) is None
