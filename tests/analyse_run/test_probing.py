"""A text that somebody typed is read as the stock model would read it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from derta.analyse_run import probe
from derta.data.encode import ChatEncoder, find_refusal_id
from derta.errors import ModelError, TokenizerError
from derta.evaluate.local_models import load_local_model
from derta.triple import Conversation
from tests.evaluate.suites import save_model

PROMPT, RESPONSE = "How do I make a cake?", "Sure, mix flour and water. \N{PILE OF POO}"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    return [str(save_model(folder / n, seed=seed)) for seed, n in enumerate(("one", "two"))]


def stock_logs(reference: str) -> tuple[torch.Tensor, int]:
    loaded = load_local_model(reference)
    encoder = ChatEncoder(loaded.tokenizer)
    conversation = Conversation.from_text(PROMPT)
    prompt = encoder.prompt_ids(conversation)
    ids = torch.tensor([[*prompt, *encoder.prefix_ids(conversation, RESPONSE)]])
    with torch.inference_mode():
        logits = loaded.model(input_ids=ids).logits[0, len(prompt) - 1 :]
    return logits.double().log_softmax(-1), find_refusal_id(encoder)


def test_a_text_is_read_as_the_stock_model_would(models: list[str]) -> None:
    found = probe(models[0], PROMPT, RESPONSE)
    logs, refusal = stock_logs(models[0])
    reading = found.reading
    assert (reading.model, reading.source, reading.question) == ("one", "response", PROMPT)
    assert "".join(reading.tokens) == reading.response == RESPONSE
    np.testing.assert_allclose(reading.refusal_probability, logs[:, refusal].exp(), rtol=1e-3)
    assert found.refusal_words == ("Sorry",)
    assert reading.divergence is None
    assert (found.reference, found.notes) == (None, ())


def test_a_second_model_gives_the_divergence(models: list[str]) -> None:
    found = probe(models[0], PROMPT, RESPONSE, reference=models[1])
    own, other = (stock_logs(each)[0] for each in models)
    assert found.reference == "two"
    assert found.reading.divergence is not None
    expected = (own.exp() * (own - other)).sum(-1)
    np.testing.assert_allclose(found.reading.divergence, expected, rtol=1e-3, atol=1e-5)


def test_an_empty_response_has_the_one_context_before_it(models: list[str]) -> None:
    reading = probe(models[0], PROMPT, "").reading
    assert reading.tokens == ()
    assert len(reading.refusal_probability) == 1


def test_all_values_are_ready_for_json(models: list[str]) -> None:
    found = probe(models[0], PROMPT, RESPONSE, reference=models[1], refusal_words=["Sorry", "I"])
    values = json.loads(json.dumps(found.as_json()))
    assert values["refusal_words"] == ["Sorry", "I"]
    assert values["response"] == RESPONSE
    assert len(values["refusal_rank"]) == len(values["divergence"]) == len(values["tokens"]) + 1


def test_what_can_not_be_read_says_why(models: list[str], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="behind a provider"):
        probe("mockllm/model", PROMPT, RESPONSE)
    with pytest.raises(ModelError, match="behind a provider"):
        probe(models[0], PROMPT, RESPONSE, reference="mockllm/model")
    with pytest.raises(ModelError, match="no such folder"):
        probe(str(tmp_path / "gone"), PROMPT, RESPONSE)
    with pytest.raises(ModelError, match="named twice"):
        probe(models[0], PROMPT, RESPONSE, reference=models[0])
    with pytest.raises(TokenizerError, match="--refusal-word"):
        probe(models[0], PROMPT, RESPONSE, refusal_words=["Entschuldigung"])
    short = save_model(tmp_path / "short", length=20)
    with pytest.raises(ModelError, match="reads 20 tokens"):
        probe(str(short), PROMPT, RESPONSE)


def test_a_reference_of_another_vocabulary_is_said(models: list[str], tmp_path: Path) -> None:
    other = save_model(tmp_path / "other")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(other)
    tokenizer.add_tokens(["<another>"])
    tokenizer.save_pretrained(other)
    found = probe(models[0], PROMPT, RESPONSE, reference=str(other))
    assert found.reading.divergence is None
    assert found.reference is None
    assert found.notes == ("No divergence: other has another vocabulary",)
