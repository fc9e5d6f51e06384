"""Models that answer or are read go to the GPU, and every tensor beside them lies there, too.

There is no GPU here: `tests.second_device` stands in for one. What it can't see is a real one's
arithmetic.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from derta.analysis.probability import measure_responses
from derta.analysis.token_reading import TokenRow, keep_states, read_tokens
from derta.attacks.autodan_text import affirmative_opening
from derta.data import devices
from derta.data.devices import inference_device, place_for_inference
from derta.data.encode import ChatEncoder
from derta.errors import ModelError
from derta.evaluate import measure as measuring
from derta.evaluate.batching import BatchGenerator
from derta.evaluate.choosing import Sampling
from derta.evaluate.decoding import Prompt, RunningBatch, decode
from derta.evaluate.fine_tuning import fine_tune_copy
from derta.evaluate.local_models import load_local_model
from derta.evaluate.opening_loss import opening_losses
from derta.evaluate.prefix_store import PrefixStore
from derta.evaluate.rank_assisted import RankAssisted
from derta.evaluate.requests import Request
from derta.triple import Conversation, HelpfulExample
from tests.evaluate.test_local_models import saved, saved_adapter, saved_run
from tests.second_device import is_on_device, second_device
from tests.tiny import PEFT_WARNING, REFUSAL_ID, random_ids, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)

ENCODER = ChatEncoder(tiny_tokenizer())
FAMILIES = ["llama", "gemma2", "granite", "llama in bfloat16"]
"""On a GPU weights are in bfloat16; NumPy has no such numbers."""


def tiny(family: str = "llama", **settings: Any) -> Any:
    sizes: dict[str, Any] = {"vocab_size": len(ENCODER.tokenizer), "max_position_embeddings": 512}
    if family.endswith(" in bfloat16"):
        sizes["dtype"] = torch.bfloat16
    return tiny_model(family.split()[0], **{**sizes, **settings})


# --- the stand-in ---------------------------------------------------------------------------


def test_the_stand_in_refuses_what_a_gpu_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny()
    with second_device(monkeypatch):
        place_for_inference(model, "tiny")
        assert str(model.device) == "cuda:0"
        ids = torch.tensor([[20, 21, 22]])
        with pytest.raises(RuntimeError, match="same device"):
            model(input_ids=ids)
        logits = model(input_ids=ids.to(model.device)).logits.detach()
        assert is_on_device(logits)
        with pytest.raises(TypeError, match="numpy"):
            logits.numpy()
        assert logits.cpu().numpy().shape == (1, 3, len(ENCODER.tokenizer))
        with pytest.raises(RuntimeError, match="same device"):
            logits + torch.zeros(3, 1)
        assert is_on_device(torch.zeros(2, device=model.device)[:1])
        assert not is_on_device(torch.zeros(2))


# --- placing --------------------------------------------------------------------------------


class _Recorder:
    """Stands for a model: notes where it is moved."""

    def __init__(self, device: str = "cpu", error: Exception | None = None) -> None:
        self.device = torch.device(device)
        self.moves: list[str] = []
        self.training = True
        self._error = error

    def to(self, device: str) -> None:
        if self._error is not None:
            raise self._error
        self.moves.append(device)

    def eval(self) -> _Recorder:
        self.training = False
        return self


def with_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("gpus", "rank", "device"),
    [
        (0, None, "cpu"),
        (0, "1", "cpu"),
        (1, None, "cuda:0"),
        (4, None, "cuda:0"),
        (4, "2", "cuda:2"),
        (1, "3", "cuda:0"),
    ],
)
def test_a_process_has_the_first_gpu_or_the_one_of_its_rank(
    gpus: int, rank: str | None, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpus(monkeypatch, gpus)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert inference_device() == device
    model = _Recorder()
    assert place_for_inference(model, "tiny") is model
    assert model.moves == ([] if device == "cpu" else [device])
    assert not model.training


def test_a_model_that_was_loaded_onto_a_gpu_stays_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_gpus(monkeypatch, 2)
    model = _Recorder("cuda:1")
    place_for_inference(model, "tiny")
    assert model.moves == []


def test_a_gpu_that_is_too_small_is_an_error_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_gpus(monkeypatch, 1)
    model = _Recorder(error=torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(ModelError, match=r"large/model: the memory of cuda:0 .*CUDA_VISIBLE"):
        place_for_inference(model, "large/model")


@pytest.mark.parametrize("kind", ["folder", "adapter", "run", "lora run"])
def test_every_kind_of_local_model_is_placed_when_it_is_whole(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = saved(tmp_path / "base")
    if kind == "adapter":
        saved_adapter(tmp_path / kind, base)
    elif kind != "folder":
        saved_run(tmp_path / kind, base, lora=kind == "lora run")
    placed: list[tuple[str, bool]] = []

    def note(model: Any, name: str) -> Any:
        placed.append((name, any("lora" in each for each, _ in model.named_parameters())))
        return model.eval()

    monkeypatch.setattr("derta.evaluate.local_models.place_for_inference", note)
    reference = str(base if kind == "folder" else tmp_path / kind)
    load_local_model(reference)
    # Once, and not before an adapter is merged: that is done on the CPU.
    assert placed == [(reference, False)]


def test_the_quickstarts_models_are_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path / "base")
    monkeypatch.setattr(devices, "inference_device", lambda: "cuda:0")
    model = _Recorder(error=torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(ModelError, match="one: the memory of cuda:0"):
        measuring.measure(
            lambda: model,
            str(folder),
            "Sorry",
            measuring.TestSet([], [], {}, "none"),
            tmp_path / "one",
            fingerprint="f",
        )


# --- tensors --------------------------------------------------------------------------------


def prompts() -> list[tuple[int, ...]]:
    generator = random.Random(0)
    common = random_ids(generator, 20)
    return [common + random_ids(generator, n) for n in (1, 4, 9)] + [random_ids(generator, 5)]


@pytest.mark.parametrize("family", ["llama", "granite", "cohere", "llama in bfloat16"])
def test_decoding_stays_on_the_models_device(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = decode(tiny(family), prompts(), 8, end_ids=[2])
    model = tiny(family)
    with second_device(monkeypatch):
        place_for_inference(model, "tiny")
        assert decode(model, prompts(), 8, end_ids=[2]) == expected


def on_both(
    compute: Callable[[Any], Any], family: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, Any]:
    """Compute with a model that was moved to the second device, and with one that was not."""
    expected = compute(tiny(family))
    model = tiny(family)
    with second_device(monkeypatch):
        place_for_inference(model, "tiny")
        return compute(model), expected


def drawn(model: Any) -> dict[int, Any]:
    """Decode with a store, drawn and steered rows, and rows that leave and join."""
    sampling = Sampling(temperature=1.5, top_p=0.9, top_k=50, seed=3)
    steering = RankAssisted.from_values({"steps": 3, "top": 5}, ENCODER.tokenizer)
    store = PrefixStore(1 << 20)
    batch = RunningBatch(model, [2], most_rows=2, store=store)
    ways = [(None, None), (sampling, None), (None, steering), (sampling, steering)]
    rows = [
        Prompt(number, prompt, 3 + 2 * number, *way)
        for number, (prompt, way) in enumerate(zip(prompts(), ways, strict=True))
    ]
    found: dict[int, Any] = {}
    batch.add(rows[:2])
    for _ in range(2):
        found.update(batch.step())
    batch.add([*rows[2:], Prompt(9, prompts()[0], 4)])  # the last one stands in the store
    while len(batch):
        found.update(batch.step())
    assert store.bytes
    return found


@pytest.mark.parametrize("family", ["llama", "llama in bfloat16"])
def test_drawing_steering_and_what_was_kept_stay_on_the_models_device(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, expected = on_both(drawn, family, monkeypatch)
    assert found == expected


def generated(model: Any) -> list[Any]:
    """Let transformers generate; the thread is left out, for a stand-in holds for one only."""
    with BatchGenerator(model, end_ids=[2], pad_id=0) as generator:
        requests = [
            Request(prompt, 6, sampling, None)
            for prompt, sampling in zip(prompts(), [None, Sampling(seed=1)] * 2, strict=True)
        ]
        return generator._generate_plainly(requests)


@pytest.mark.parametrize("family", ["llama", "gemma2", "llama in bfloat16"])
def test_transformers_own_generation_gets_its_tensors_on_the_models_device(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, expected = on_both(generated, family, monkeypatch)
    assert found == expected


@pytest.mark.parametrize("family", [*FAMILIES, "mistral-window"])
def test_the_loss_of_an_opening_is_computed_on_the_models_device(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = affirmative_opening("Bake a cake")
    texts = ["Be kind. Bake a cake.", "Be kind. Bake bread.", "a"]
    found, expected = on_both(
        lambda model: opening_losses(model, ENCODER, texts, opening), family, monkeypatch
    )
    assert found == pytest.approx(expected)


def losses_of_training(model: Any) -> list[float]:
    examples = [
        HelpfulExample(Conversation.from_text(f"Bake {n} cakes"), "mix flour") for n in range(3)
    ]
    seen: list[float] = []
    for _, tuned in fine_tune_copy(
        model, ENCODER, examples, steps=(0, 2), on_step=lambda _, loss: seen.append(loss)
    ):
        assert not tuned.training
    return seen


@pytest.mark.parametrize("family", ["llama", "llama in bfloat16", "gemma2"])
def test_a_copy_is_fine_tuned_on_the_models_device(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, expected = on_both(losses_of_training, family, monkeypatch)
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_probabilities_by_position_are_measured_on_the_models_device(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [(Conversation.from_text("How?"), "Mix it."), (Conversation.from_text("a"), "Sorry")]

    def measured(model: Any) -> list[Any]:
        return measure_responses(model, ENCODER, pairs, [REFUSAL_ID, 9], top_tokens=True)

    found, expected = on_both(measured, family, monkeypatch)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.refusal_probability, other.refusal_probability, rtol=1e-5)
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("reference_moved", [False, True])
def test_tokens_are_read_on_the_models_device_beside_a_reference_from_anywhere(
    family: str, reference_moved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = random.Random(1)
    rows = [TokenRow(random_ids(generator, 3), random_ids(generator, n)) for n in (0, 4, 9)]
    states = keep_states(tiny(family, seed=1), rows, path=tmp_path / "states.npy")
    expected = read_tokens(tiny(family), rows, [REFUSAL_ID, 9], reference=states)
    model, other = tiny(family), tiny(family, seed=1)
    with second_device(monkeypatch):
        place_for_inference(model, "tiny")
        if reference_moved:
            place_for_inference(other, "other")
            states = keep_states(other, rows, path=tmp_path / "states.npy")
        found = read_tokens(model, rows, [REFUSAL_ID, 9], reference=states)
    for one, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.refusal_probability, wanted.refusal_probability, rtol=1e-5)
        np.testing.assert_allclose(one.divergence, wanted.divergence, rtol=1e-3, atol=1e-6)
