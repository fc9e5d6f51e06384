"""The provider gives the model exactly the token ids that were asked for, and batches them."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    GenerateConfig,
)

from derta.data.encode import ChatEncoder
from derta.errors import ModelError
from derta.evaluate import batching
from derta.evaluate.batching import BatchGenerator
from derta.evaluate.decoding import decode_greedily
from derta.evaluate.provider import LocalModelAPI, input_token_ids, local_model
from tests.evaluate.samples import model_and_tokenizer
from tests.tiny import tiny_tokenizer

QUESTION = ChatMessageUser(content="How are you?")


def greedy(model: Any, ids: tuple[int, ...], count: int) -> list[int]:
    """Generate token by token, one row, without padding or cache."""
    new: list[int] = []
    with torch.inference_mode():
        for _ in range(count):
            logits = model(input_ids=torch.tensor([list(ids) + new])).logits[0, -1]
            token = int(logits.argmax())
            if token == model.generation_config.eos_token_id:
                break
            new.append(token)
    return new


def generator(model: Any, **settings: Any) -> BatchGenerator:
    return BatchGenerator(model, end_ids=[2], pad_id=0, **settings)


def test_a_batch_gives_each_row_what_it_gets_alone() -> None:
    model, _ = model_and_tokenizer()
    rows = [tuple(range(10, 10 + length)) for length in (3, 17, 9, 1, 30, 5, 12)]
    with generator(model, batch_size=3) as batches:
        results = [future.result(60) for future in [batches.submit(row, 8) for row in rows]]
    assert [list(result.token_ids) for result in results] == [greedy(model, r, 8) for r in rows]


def test_batches_are_formed_when_all_requests_are_in_and_hold_what_begins_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, _ = model_and_tokenizer()
    seen: list[list[tuple[int, ...]]] = []

    def watched(model: Any, prompts: list[tuple[int, ...]], *rest: Any, **named: Any) -> Any:
        seen.append(prompts)
        return decode_greedily(model, prompts, *rest, **named)

    monkeypatch.setattr(batching, "decode_greedily", watched)
    requests = [(10, 11), (20, 21), (10, 11, 12, 13), (20,), (10, 11, 12), (20, 21, 22)]
    with generator(model, batch_size=3) as batches:
        for future in [batches.submit(request, 2) for request in requests]:
            future.result(60)
    assert [{prompt[0] for prompt in prompts} for prompts in seen] == [{20}, {10}]


def test_a_model_that_cannot_share_gets_the_same_in_batches_of_similar_lengths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, _ = model_and_tokenizer()
    # `generate` would take this from the model; greedy is greedy.
    shipped = model.generation_config
    shipped.repetition_penalty = 5.0
    monkeypatch.setattr(batching, "reason_decoding_is_plain", lambda _: "a test")
    shapes: list[tuple[int, int]] = []
    stock = model.generate

    def watched(**arguments: Any) -> Any:
        shapes.append(tuple(arguments["input_ids"].shape))
        return stock(**arguments)

    monkeypatch.setattr(model, "generate", watched)
    rows = [tuple(range(10, 10 + length)) for length in (5, 20, 6, 21, 7, 22)]
    with generator(model, batch_size=3) as batches:
        results = [future.result(60) for future in [batches.submit(row, 2) for row in rows]]
    assert shapes == [(3, 22), (3, 7)]
    assert model.generation_config is shipped
    assert shipped.repetition_penalty == 5.0
    shipped.repetition_penalty = 1.0
    assert [list(result.token_ids) for result in results] == [greedy(model, r, 2) for r in rows]


def test_an_output_ends_at_the_end_of_turn_token_and_says_so() -> None:
    model, _ = model_and_tokenizer()
    prompt = (20, 21, 22)
    free = greedy(model, prompt, 6)
    end = next(token for token in free[1:] if token != free[0])
    model.generation_config.eos_token_id = None
    with BatchGenerator(model, end_ids=[end], pad_id=0) as batches:
        result = batches.submit(prompt, 6).result(60)
        cut = batches.submit(prompt, 1).result(60)
    assert list(result.token_ids) == free[: free.index(end)]
    assert result.finished
    assert list(cut.token_ids) == free[:1]
    assert not cut.finished


def test_a_model_error_reaches_every_caller_of_the_batch_and_the_next_batch_still_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, _ = model_and_tokenizer()

    def failing(model: Any, prompts: list[tuple[int, ...]], *rest: Any, **named: Any) -> Any:
        if len(prompts[0]) > 10:
            raise RuntimeError("out of memory")
        return decode_greedily(model, prompts, *rest, **named)

    monkeypatch.setattr(batching, "decode_greedily", failing)
    with generator(model, batch_size=2) as batches:
        long = [batches.submit(range(10, 30), 2) for _ in range(2)]
        short = batches.submit(range(10, 14), 2)
        for future in long:
            with pytest.raises(RuntimeError, match="out of memory"):
                future.result(60)
        assert len(short.result(60).token_ids) <= 2


def test_closing_cancels_what_waits_and_ends_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = model_and_tokenizer()
    begun, go_on = threading.Event(), threading.Event()

    def held(*arguments: Any, **named: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        return decode_greedily(*arguments, **named)

    monkeypatch.setattr(batching, "decode_greedily", held)
    batches = generator(model, batch_size=1)
    first, second = batches.submit((10, 11, 12), 1), batches.submit((10, 11), 1)
    assert begun.wait(60)
    closing = threading.Thread(target=batches.close)
    closing.start()
    go_on.set()
    closing.join(60)
    assert first.done()
    assert not first.cancelled()
    assert second.cancelled()
    assert not any(thread.name == "derta-generate" for thread in threading.enumerate())
    with pytest.raises(ModelError, match="closed"):
        batches.submit((10,), 1)


def test_a_request_longer_than_the_model_reads_is_refused_with_a_remedy() -> None:
    model, _ = model_and_tokenizer(max_position_embeddings=16)
    with generator(model) as batches, pytest.raises(ModelError, match="lower max_tokens"):
        batches.submit(range(10, 20), 8)


def test_generation_leaves_the_training_mode_as_it_was() -> None:
    model, _ = model_and_tokenizer()
    model.train()
    with generator(model) as batches:
        batches.submit((10, 11), 2).result(60)
    assert model.training


def test_a_chat_is_encoded_by_the_models_own_template() -> None:
    encoder = ChatEncoder(tiny_tokenizer())
    system = ChatMessageSystem(content="Be kind.")
    ids = input_token_ids(encoder, [system, QUESTION])
    text = encoder.tokenizer.decode(ids)
    assert text == "<turn>system\nBe kind.<end>\n<turn>user\nHow are you?<end>\n<turn>assistant\n"


def test_prefilled_token_ids_are_taken_as_they_are_even_where_text_would_encode_differently() -> (
    None
):
    encoder = ChatEncoder(tiny_tokenizer())
    prompt = input_token_ids(encoder, [QUESTION])
    odd = [ord("S"), ord("o"), ord("r"), 300]
    prefix = ChatMessageAssistant(content="whatever", metadata={"prefill_ids": odd})
    assert input_token_ids(encoder, [QUESTION, prefix]) == (*prompt, *odd)


def test_a_prefix_without_ids_is_encoded_and_left_open() -> None:
    encoder = ChatEncoder(tiny_tokenizer())
    ids = input_token_ids(encoder, [QUESTION, ChatMessageAssistant(content="You walk")])
    assert encoder.tokenizer.decode(ids).endswith("<turn>assistant\nYou walk")


@pytest.mark.parametrize("adds_bos", [False, True])
def test_raw_text_has_no_template_and_the_tokenizers_own_bos_once_or_not_at_all(
    *, adds_bos: bool
) -> None:
    tokenizer = tiny_tokenizer()
    if adds_bos:
        from tokenizers.processors import TemplateProcessing

        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
        )
    message = ChatMessageUser(content="Step 1:", metadata={"raw_text": True})
    ids = input_token_ids(ChatEncoder(tokenizer), [message])
    assert ids.count(tokenizer.bos_token_id) == int(adds_bos)
    assert tokenizer.decode(ids, skip_special_tokens=True) == "Step 1:"
    assert ids[0] == (tokenizer.bos_token_id if adds_bos else tokenizer("Step 1:")["input_ids"][0])


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [ChatMessageAssistant(content="Hello")],
        [QUESTION, ChatMessageUser(content="raw", metadata={"raw_text": True})],
        [ChatMessageTool(content="4"), QUESTION],
    ],
)
def test_messages_that_cannot_be_served_are_named(messages: list[Any]) -> None:
    with pytest.raises(ModelError):
        input_token_ids(ChatEncoder(tiny_tokenizer()), messages)


def test_the_provider_returns_only_new_text_with_counts_and_the_stop_reason() -> None:
    model, tokenizer = model_and_tokenizer()
    wrapped = local_model(model, tokenizer, "tiny")
    prompt = input_token_ids(ChatEncoder(tokenizer), [QUESTION])
    try:
        output = asyncio.run(
            wrapped.api.generate([QUESTION], [], "none", GenerateConfig(max_tokens=5))
        )
    finally:
        wrapped.api.close()
    expected = greedy(model, prompt, 5)
    assert str(wrapped) == "derta/tiny"
    assert output.completion == tokenizer.decode(expected, skip_special_tokens=True)
    assert output.stop_reason == ("max_tokens" if len(expected) == 5 else "stop")
    assert output.usage is not None
    assert output.usage.input_tokens == len(prompt)


def test_two_event_loops_in_turn_are_served_by_one_provider() -> None:
    model, tokenizer = model_and_tokenizer()
    api = local_model(model, tokenizer, "tiny").api
    config = GenerateConfig(max_tokens=3)
    try:
        texts = [asyncio.run(api.generate([QUESTION], [], "none", config)) for _ in range(2)]
    finally:
        api.close()
    assert texts[0].completion == texts[1].completion


def test_sampling_is_refused_with_a_remedy() -> None:
    model, tokenizer = model_and_tokenizer()
    api = local_model(model, tokenizer, "tiny").api
    with pytest.raises(ModelError, match="greedily"):
        asyncio.run(api.generate([QUESTION], [], "none", GenerateConfig(temperature=0.7)))
    api.close()


def test_a_model_in_a_folder_generates_the_same_as_in_memory(tmp_path: Path) -> None:
    model, tokenizer = model_and_tokenizer()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = GenerateConfig(max_tokens=5)
    outputs = []
    for api in (local_model(model, tokenizer, "tiny").api, LocalModelAPI(str(tmp_path))):
        outputs.append(asyncio.run(api.generate([QUESTION], [], "none", config)).completion)
        api.close()
    assert outputs[0] == outputs[1]


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        LocalModelAPI(str(tmp_path / "nothing"))
