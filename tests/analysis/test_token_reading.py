"""Probabilities, ranks and divergence at every token equal those of the stock model, row by row.

The stock model is asked for all logits of one row at a time, in 64 bits; nothing of derta's is used
for it.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from derta.analysis import token_reading
from derta.analysis.token_reading import (
    ReferenceStates,
    TokenArrays,
    TokenRow,
    keep_states,
    read_tokens,
    states_bytes,
)
from derta.errors import ModelError
from derta.loss import DEFAULT_CHUNK
from tests.tiny import PEFT_WARNING, REFUSAL_ID, VOCABULARY, random_ids, tiny_model

FAMILIES = ["llama", "llama-tied", "qwen3", "gemma2", "granite", "cohere", "mixtral"]


def rows_of(*lengths: tuple[int, int], seed: int = 0) -> list[TokenRow]:
    """Rows of (prompt tokens, text tokens)."""
    generator = random.Random(seed)
    return [
        TokenRow(random_ids(generator, prompt), random_ids(generator, text))
        for prompt, text in lengths
    ]


ROWS = rows_of((3, 9), (12, 1), (1, 30), (7, 0), (4, 9))


def stock_logs(model: Any, row: TokenRow) -> torch.Tensor:
    """Log probabilities at the row's contexts, (S + 1, V), in 64 bits."""
    ids = torch.tensor([[*row.prompt_ids, *row.text_ids]])
    with torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False).logits[0].double()
    return logits[len(row.prompt_ids) - 1 :].log_softmax(-1)


def rank(logs: torch.Tensor, token: int) -> int:
    """How many tokens are likelier, by sorting: another way than the package's."""
    values = sorted(logs.tolist(), reverse=True)
    return 1 + values.index(float(logs[token]))


def assert_equals_stock(found: TokenArrays, logs: torch.Tensor, row: TokenRow) -> None:
    count = len(row.text_ids)
    assert len(found.refusal_probability) == count + 1
    assert len(found.token_probability) == len(found.token_rank) == count
    np.testing.assert_allclose(
        found.refusal_probability, logs[:, REFUSAL_ID].exp(), rtol=1e-3, atol=1e-8
    )
    assert found.refusal_rank.tolist() == [rank(context, REFUSAL_ID) for context in logs]
    for place, token in enumerate(row.text_ids):
        assert found.token_probability[place] == pytest.approx(
            float(logs[place, token].exp()), rel=1e-3
        )
        assert found.token_rank[place] == rank(logs[place], token)
    assert found.top_ids.tolist() == logs.argmax(-1).tolist()
    np.testing.assert_allclose(found.top_probability, logs.exp().amax(-1), rtol=1e-3)


# --- one model --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_context_is_read_as_the_stock_model_would(family: str) -> None:
    model = tiny_model(family)
    found = read_tokens(model, ROWS, [REFUSAL_ID], batch_size=3)
    assert len(found) == len(ROWS)
    for arrays, row in zip(found, ROWS, strict=True):
        assert_equals_stock(arrays, stock_logs(model, row), row)
        assert arrays.divergence is None


def test_a_text_longer_than_a_chunk_of_contexts_is_read_to_its_end() -> None:
    model = tiny_model("llama", max_position_embeddings=1024)
    rows = rows_of((5, DEFAULT_CHUNK + 10), (2, 2 * DEFAULT_CHUNK - 1), (2, 1))
    for arrays, row in zip(read_tokens(model, rows, [REFUSAL_ID]), rows, strict=True):
        assert_equals_stock(arrays, stock_logs(model, row), row)


def test_the_probabilities_of_several_refusal_tokens_are_added_and_the_best_rank_counts() -> None:
    model = tiny_model("llama")
    ids = [REFUSAL_ID, 20, 55]
    alone = [read_tokens(model, ROWS, [each]) for each in ids]
    together = read_tokens(model, ROWS, [*ids, REFUSAL_ID])
    for index, found in enumerate(together):
        np.testing.assert_allclose(
            found.refusal_probability,
            sum(each[index].refusal_probability.astype(np.float64) for each in alone),
            rtol=1e-4,
        )
        best = np.min([each[index].refusal_rank for each in alone], axis=0)
        assert found.refusal_rank.tolist() == best.tolist()


def test_values_do_not_depend_on_the_batch_and_come_in_the_order_of_the_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("gemma2")
    one_by_one = [read_tokens(model, [row], [REFUSAL_ID])[0] for row in ROWS]
    monkeypatch.setattr(token_reading, "_BATCH_TOKENS", 30)
    for batch_size in (1, 2, 100):
        batched = read_tokens(model, ROWS, [REFUSAL_ID], batch_size=batch_size)
        for found, expected in zip(batched, one_by_one, strict=True):
            np.testing.assert_allclose(
                found.refusal_probability, expected.refusal_probability, rtol=1e-3
            )
            assert found.top_ids.tolist() == expected.top_ids.tolist()


def test_long_rows_go_alone_and_batches_stay_below_their_number_of_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("llama")
    sizes = []
    stock_forward = model.model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        sizes.append(tuple(kwargs["input_ids"].shape))
        return stock_forward(*args, **kwargs)

    monkeypatch.setattr(model.model, "forward", forward)
    monkeypatch.setattr(token_reading, "_BATCH_TOKENS", 40)
    rows = rows_of((3, 7), (3, 7), (3, 7), (3, 7), (3, 7), (20, 60))
    read_tokens(model, rows, [REFUSAL_ID], batch_size=16)
    batches = [size for size in sizes[1:] if size != (1, 10)]  # the head's check is one short row
    assert batches[0] == (1, 80)
    assert all(count * length <= 40 for count, length in batches[1:])
    assert batches[1] == (4, 10)


def test_progress_counts_rows_and_the_training_mode_is_left_as_it_was() -> None:
    model = tiny_model("llama")
    model.train()
    seen: list[tuple[int, int]] = []
    read_tokens(model, ROWS, [REFUSAL_ID], batch_size=2, progress=lambda *x: seen.append(x))
    assert seen == [(2, 5), (4, 5), (5, 5)]
    assert model.training
    assert read_tokens(model, [], [REFUSAL_ID]) == []


def test_a_head_that_does_more_than_its_configuration_says_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("llama")
    stock_forward = model.forward

    def scaled(*args: Any, **kwargs: Any) -> Any:
        output = stock_forward(*args, **kwargs)
        output.logits = output.logits * 3
        return output

    monkeypatch.setattr(model, "forward", scaled)
    with pytest.raises(ModelError, match="output head"):
        read_tokens(model, ROWS, [REFUSAL_ID])


@pytest.mark.filterwarnings(PEFT_WARNING)
def test_a_learnt_prompt_is_refused() -> None:
    from peft import PromptTuningConfig, get_peft_model

    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    model = get_peft_model(tiny_model("llama"), config)
    with pytest.raises(ModelError, match="learnt prompt"):
        read_tokens(model, ROWS, [REFUSAL_ID])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_is_an_error_that_says_what_to_do(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("llama")

    def full(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(model.model, "forward", full)
    with pytest.raises(ModelError, match="--batch-size 1"):
        read_tokens(model, ROWS, [REFUSAL_ID])


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")

    def wrong(*_: Any, **__: Any) -> Any:
        raise NotImplementedError("something else")

    monkeypatch.setattr(model.model, "forward", wrong)
    with pytest.raises(NotImplementedError, match="something else"):
        read_tokens(model, ROWS, [REFUSAL_ID])


def test_what_can_not_be_read_is_refused_at_once() -> None:
    model = tiny_model("llama")
    with pytest.raises(ValueError, match="no refusal token"):
        read_tokens(model, ROWS, [])
    with pytest.raises(ValueError, match="no prompt"):
        read_tokens(model, [TokenRow((), (3, 4))], [REFUSAL_ID])


# --- against a reference ----------------------------------------------------------------------


def expected_divergence(model: Any, reference: Any, row: TokenRow) -> list[float]:
    own, theirs = stock_logs(model, row), stock_logs(reference, row)
    return [float((p.exp() * (p - q)).sum()) for p, q in zip(own, theirs, strict=True)]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_divergence_is_that_of_the_two_stock_models(family: str, tmp_path: Path) -> None:
    model, reference = tiny_model(family), tiny_model(family, seed=1)
    states = keep_states(reference, ROWS, path=tmp_path / "states.npy", batch_size=2)
    found = read_tokens(model, ROWS, [REFUSAL_ID], reference=states, batch_size=3)
    for arrays, row in zip(found, ROWS, strict=True):
        assert_equals_stock(arrays, stock_logs(model, row), row)
        assert arrays.divergence is not None
        np.testing.assert_allclose(
            arrays.divergence, expected_divergence(model, reference, row), rtol=1e-3, atol=1e-5
        )
    assert list(tmp_path.iterdir()) == []


def test_a_model_has_no_divergence_from_itself(tmp_path: Path) -> None:
    model = tiny_model("llama")
    states = keep_states(model, ROWS, path=tmp_path / "states.npy")
    for arrays in read_tokens(model, ROWS, [REFUSAL_ID], reference=states):
        assert arrays.divergence is not None
        assert float(arrays.divergence.max()) < 1e-5
        assert float(arrays.divergence.min()) >= 0


def test_many_states_are_kept_in_a_file_and_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, reference = tiny_model("llama"), tiny_model("llama", seed=1)
    in_memory = keep_states(reference, ROWS, path=tmp_path / "no.npy")
    monkeypatch.setattr(token_reading, "_IN_MEMORY_BYTES", 0)
    path = tmp_path / "below" / "states.npy"
    seen: list[tuple[int, int]] = []
    in_file = keep_states(reference, [*ROWS, *ROWS], path=path, progress=lambda *x: seen.append(x))
    assert seen[-1] == (len(ROWS), len(ROWS))
    assert path.stat().st_size == pytest.approx(states_bytes([*ROWS, *ROWS], 32), abs=256)
    assert not (tmp_path / "no.npy").exists()
    for row in ROWS:
        np.testing.assert_allclose(in_file.of(row), in_memory.of(row), rtol=1e-6)
    first, second = (
        read_tokens(model, ROWS, [REFUSAL_ID], reference=each) for each in (in_file, in_memory)
    )
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one.divergence, other.divergence, rtol=1e-4, atol=1e-6)


def test_only_the_head_and_the_states_of_the_reference_are_kept(tmp_path: Path) -> None:
    import gc
    import weakref

    reference = tiny_model("llama")
    layer = weakref.ref(reference.model.layers[0])
    states = keep_states(reference, ROWS, path=tmp_path / "states.npy")
    del reference
    gc.collect()
    assert layer() is None
    assert isinstance(states, ReferenceStates)
    assert states.head.weight.shape == (VOCABULARY, 32)


def test_a_reference_of_another_vocabulary_gives_no_divergence(tmp_path: Path) -> None:
    reference = tiny_model("llama", vocab_size=VOCABULARY + 3)
    states = keep_states(reference, ROWS, path=tmp_path / "states.npy")
    for arrays in read_tokens(tiny_model("llama"), ROWS, [REFUSAL_ID], reference=states):
        assert arrays.divergence is None


def test_a_row_that_the_reference_has_not_read_is_a_mistake(tmp_path: Path) -> None:
    model = tiny_model("llama")
    states = keep_states(model, ROWS[:1], path=tmp_path / "states.npy")
    with pytest.raises(KeyError):
        read_tokens(model, ROWS, [REFUSAL_ID], reference=states)


def test_models_in_sixteen_bits_are_read_in_thirty_two() -> None:
    model = tiny_model("llama", dtype=torch.bfloat16)
    (found,) = read_tokens(model, ROWS[:1], [REFUSAL_ID])
    logs = stock_logs(model, ROWS[0])
    np.testing.assert_allclose(found.refusal_probability, logs[:, REFUSAL_ID].exp(), rtol=0.1)
    assert found.refusal_probability.dtype == np.float32
