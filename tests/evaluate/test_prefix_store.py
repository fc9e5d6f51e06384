"""What a kept beginning promises: less is computed, and every prompt gets what it gets alone."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from derta.evaluate.decoding import Generated, Prompt, RunningBatch
from derta.evaluate.prefix_store import Layers, PrefixStore
from tests.evaluate.test_decoding import SHARING, alone, double

LONG = tuple(random.Random(3).choices(range(20, 90), k=90))


def layers(length: int, value: float = 1.0) -> Layers:
    """Two layers of 2 heads x length x 4 numbers of 4 bytes, keys and values: 128 bytes a token."""
    return [(torch.full((2, length, 4), value), torch.full((2, length, 4), -value))] * 2


def in_turn(
    model: Any, batches: list[list[tuple[int, ...]]], store: PrefixStore | None
) -> tuple[list[Generated], list[int]]:
    """Let batches of prompts join while the earlier ones run; count the tokens of each prefill."""
    computed: list[int] = []
    hook = model.get_input_embeddings().register_forward_pre_hook(
        lambda _, inputs: computed.append(inputs[0].shape[1])
    )
    batch = RunningBatch(model, [2], most_rows=4, store=store)
    results: dict[int, Generated] = {}
    sums: list[int] = []
    try:
        for number, prompts in enumerate(batches):
            computed.clear()
            batch.add([Prompt(100 * number + i, p, 6) for i, p in enumerate(prompts)])
            sums.append(sum(computed))
            results.update(batch.step())
        while len(batch):
            results.update(batch.step())
    finally:
        hook.remove()
    return [results[key] for key in sorted(results)], sums


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", SHARING)
def test_prompts_that_stand_on_a_kept_beginning_get_what_they_get_alone(
    name: str, attention: str
) -> None:
    model = double(name, attention)
    batches = [
        [LONG],
        [LONG[:60], LONG[:61]],  # whole beginnings
        [(*LONG[:70], 5, 6, 7), (*LONG[:72], 8), (*LONG[:72], 9, 9)],  # they branch
        [(7, 8, 9), (*LONG, 4, 5)],  # a stranger, and one that goes on
    ]
    results, _ = in_turn(model, batches, PrefixStore(1 << 20))
    assert results == [alone(model, prompt, 6, [2]) for prompts in batches for prompt in prompts]


def test_what_is_kept_is_not_computed_again() -> None:
    model = double("llama")
    batches = [[LONG], [LONG[:60]], [(*LONG[:70], 5, 6, 7)]]
    _, without = in_turn(model, batches, None)
    _, computed = in_turn(model, batches, PrefixStore(1 << 20))
    # The last token of a prompt is fed by the first step.
    assert without == [89, 59, 72]
    assert computed == [89, 0, 72 - 64]  # cut to a multiple of 16


def test_neighbours_stand_on_the_same_beginning_as_one_tree() -> None:
    model = double("llama")
    ends = [(5, 6), (5, 7), (8, 9)]
    prompts = [(*LONG[:65], *end, 4) for end in ends] + [(*LONG[:66], 3, 3)]
    _, computed = in_turn(model, [[LONG], prompts], PrefixStore(1 << 20))
    # Cut to 64 tokens they share: token 64 once, then 5 6, 5 7 and 8 9 as branches, 65 and 3.
    assert computed[1] == 1 + (1 + 2) + 2 + 2


def test_a_beginning_is_found_up_to_the_last_token_in_common() -> None:
    store = PrefixStore(1 << 20)
    store.keep(LONG[:40], layers(40))
    known, found = store.find((*LONG[:30], 99, 98))
    assert known == 30
    assert [tuple(key.shape) for key, _ in found] == [(2, 30, 4)] * 2
    assert store.find(LONG[:40])[0] == 40
    assert store.find(LONG)[0] == 40


def test_the_longest_beginning_is_taken() -> None:
    store = PrefixStore(1 << 20)
    store.keep((*LONG[:20], 99), layers(21, 1.0))
    store.keep((*LONG[:30], 99), layers(31, 2.0))
    known, found = store.find(LONG)
    assert known == 30
    assert float(found[0][0][0, 0, 0]) == 2.0


def test_few_tokens_in_common_are_not_worth_it() -> None:
    store = PrefixStore(1 << 20)
    store.keep(LONG[:40], layers(40))
    assert store.find((*LONG[:15], 99)) == (0, [])
    store.keep(LONG[50:60], layers(10))
    assert store.find(LONG[50:60]) == (0, [])


def test_a_beginning_of_what_is_kept_takes_no_room() -> None:
    store = PrefixStore(1 << 20)
    store.keep(LONG[:40], layers(40))
    store.keep(LONG[:30], layers(30))
    assert store.bytes == 40 * 128
    store.keep(LONG[:50], layers(50))  # the other way round
    assert store.bytes == 50 * 128


def test_the_least_lately_used_goes_first_when_the_room_is_full() -> None:
    store = PrefixStore(100 * 128)
    first, second, third = LONG[:40], LONG[10:50], LONG[20:60]
    store.keep(first, layers(40))
    store.keep(second, layers(40))
    assert store.find(first)[0] == 40
    store.keep(third, layers(40))
    assert store.bytes <= 100 * 128
    assert [store.find(each)[0] for each in (first, second, third)] == [40, 0, 40]


def test_what_is_larger_than_the_room_is_not_kept() -> None:
    store = PrefixStore(30 * 128)
    store.keep(LONG[:40], layers(40))
    assert store.bytes == 0
    assert store.find(LONG) == (0, [])
