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
from tokenizers.processors import TemplateProcessing

from derta.data.encode import ChatEncoder
from derta.errors import ModelError
from derta.evaluate import batching
from derta.evaluate.batching import BatchGenerator
from derta.evaluate.decoding import RunningBatch
from derta.evaluate.provider import LocalModelAPI, input_token_ids, local_model
from tests.evaluate.samples import model_and_tokenizer
from tests.tiny import TEMPLATE_WITH_NEWLINE, tiny_tokenizer

# inspect-ai asks tenacity under an old name.
pytestmark = pytest.mark.filterwarnings("ignore:The 'initial' parameter:DeprecationWarning")

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


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[int, ...]]]:
    """List the prompts that join together, time by time."""
    seen: list[list[tuple[int, ...]]] = []
    stock = RunningBatch.add

    def watched(self: RunningBatch, prompts: list[Any], *rest: Any) -> None:
        seen.append([prompt.input_ids for prompt in prompts])
        stock(self, prompts, *rest)

    monkeypatch.setattr(RunningBatch, "add", watched)
    return seen


def test_batches_are_formed_when_all_requests_are_in_and_hold_what_begins_alike(
    joined: list[list[tuple[int, ...]]],
) -> None:
    model, _ = model_and_tokenizer()
    requests = [(10, 11), (20, 21), (10, 11, 12, 13), (20,), (10, 11, 12), (20, 21, 22)]
    with generator(model, batch_size=3) as batches:
        for future in [batches.submit(request, 1) for request in requests]:
            future.result(60)
    assert [{prompt[0] for prompt in prompts} for prompts in joined] == [{20}, {10}]


def test_a_request_takes_the_place_of_one_that_has_ended_while_others_go_on(
    joined: list[list[tuple[int, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = model_and_tokenizer()
    model.generation_config.eos_token_id = None
    rows: list[int] = []
    stock = RunningBatch.step

    def watched(self: RunningBatch) -> Any:
        rows.append(len(self))
        return stock(self)

    monkeypatch.setattr(RunningBatch, "step", watched)
    limits = {(30, 31): 12, (20, 21, 22): 3, (10, 11): 4, (9, 8, 7, 6): 5}
    with BatchGenerator(model, end_ids=[], pad_id=0, batch_size=2) as batches:
        futures = {ids: batches.submit(ids, limit) for ids, limit in limits.items()}
        for ids, future in futures.items():
            assert list(future.result(60).token_ids) == greedy(model, ids, limits[ids])
    assert joined == [[(30, 31), (20, 21, 22)], [(10, 11)], [(9, 8, 7, 6)]]
    assert rows == [2] * 12  # 3 + 4 + 5 beside 12


def test_what_comes_in_later_joins_those_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = model_and_tokenizer()
    model.generation_config.eos_token_id = None
    late: list[Any] = []
    most = 0
    stock = RunningBatch.step

    def watched(self: RunningBatch) -> Any:
        nonlocal most
        most = max(most, len(self))
        if not late:
            late.append(batches.submit((20, 21, 22), 4))
        return stock(self)

    monkeypatch.setattr(RunningBatch, "step", watched)
    with BatchGenerator(model, end_ids=[], pad_id=0) as batches:
        first = batches.submit((10, 11), 20)
        assert list(first.result(60).token_ids) == greedy(model, (10, 11), 20)
        assert late[0].done()
    assert most == 2
    assert list(late[0].result().token_ids) == greedy(model, (20, 21, 22), 4)


def test_what_comes_in_later_runs_before_what_still_waits(
    joined: list[list[tuple[int, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = model_and_tokenizer()
    model.generation_config.eos_token_id = None
    late: list[Any] = []
    stock = RunningBatch.step

    def watched(self: RunningBatch) -> Any:
        if not late:
            late.append(batches.submit((5, 6), 2))
        return stock(self)

    monkeypatch.setattr(RunningBatch, "step", watched)
    with BatchGenerator(model, end_ids=[], pad_id=0, batch_size=1) as batches:
        for future in [batches.submit((first, 11), 8) for first in (10, 20, 30)]:
            future.result(60)
    assert [prompts[0][0] for prompts in joined] == [30, 5, 20, 10]


def test_a_request_that_its_caller_gives_up_leaves_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, _ = model_and_tokenizer()
    futures: list[Any] = []
    rows: list[int] = []
    stock = RunningBatch.step

    def watched(self: RunningBatch) -> Any:
        rows.append(len(self))
        if len(rows) == 2:
            assert futures[0].cancel()
        return stock(self)

    monkeypatch.setattr(RunningBatch, "step", watched)
    model.generation_config.eos_token_id = None
    with BatchGenerator(model, end_ids=[], pad_id=0) as batches:
        futures += [batches.submit(ids, 6) for ids in ((10, 11, 12), (20, 21), (30,))]
        results = [future.result(60) for future in futures[1:]]
    assert rows == [3, 3, 2, 2, 2, 2]
    assert [list(r.token_ids) for r in results] == [greedy(model, i, 6) for i in ((20, 21), (30,))]


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


def ask_for_one_token(requests: list[tuple[int, ...]], **settings: Any) -> None:
    model, _ = model_and_tokenizer(max_position_embeddings=2048)
    with generator(model, **settings) as batches:
        for future in [batches.submit(request, 1) for request in requests]:
            future.result(60)


def test_a_long_prompt_does_not_pad_a_batch_of_short_ones(
    joined: list[list[tuple[int, ...]]],
) -> None:
    lengths = (3, 90, 250, 300, 510, 520, 1000, 1100, 2000)
    ask_for_one_token([tuple(10 + (i + n) % 80 for i in range(n)) for n in lengths])
    found = [sorted(map(len, prompts)) for prompts in joined]
    assert found == [[1100, 2000], [520, 1000], [300, 510], [3, 90, 250]]


def test_the_cache_of_a_batch_is_bounded_in_tokens(
    joined: list[list[tuple[int, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(batching._CACHED_TOKENS, "cpu", 100)
    lengths = (24, 24, 24, 24, 24, 150)
    ask_for_one_token([tuple(10 + (i + n) % 80 for i in range(n)) for n in lengths])
    assert sorted(sorted(map(len, prompts)) for prompts in joined) == [[24], [24] * 4, [150]]


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

    stock = RunningBatch.add

    def failing(self: RunningBatch, prompts: list[Any], *rest: Any) -> None:
        if len(prompts[0].input_ids) > 10:
            raise RuntimeError("out of memory")
        stock(self, prompts, *rest)

    monkeypatch.setattr(RunningBatch, "add", failing)
    with generator(model, batch_size=2) as batches:
        long = [batches.submit(range(10, 30), 2) for _ in range(2)]
        short = batches.submit(range(10, 14), 2)
        for future in long:
            with pytest.raises(RuntimeError, match="out of memory"):
                future.result(60)
        assert len(short.result(60).token_ids) <= 2


def test_a_request_that_can_not_join_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = model_and_tokenizer()
    model.generation_config.eos_token_id = None
    late: list[Any] = []
    stock = RunningBatch.step

    def watched(self: RunningBatch) -> Any:
        if not late:
            late.append(batches.submit((10**6, 20, 21), 4))  # no such token
        return stock(self)

    monkeypatch.setattr(RunningBatch, "step", watched)
    with BatchGenerator(model, end_ids=[], pad_id=0) as batches:
        first = batches.submit((10, 11), 20)
        assert list(first.result(60).token_ids) == greedy(model, (10, 11), 20)
        with pytest.raises(IndexError):
            late[0].result(60)


def test_an_error_anywhere_in_the_thread_reaches_the_callers_and_the_next_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, _ = model_and_tokenizer()
    stock = RunningBatch.remove
    broken = [True]

    def failing(self: RunningBatch, keys: Any) -> None:
        if broken:
            broken.clear()
            raise RuntimeError("out of memory")
        stock(self, keys)

    monkeypatch.setattr(RunningBatch, "remove", failing)
    with generator(model) as batches:
        with pytest.raises(RuntimeError, match="out of memory"):
            batches.submit((10, 11), 8).result(60)
        assert list(batches.submit((10, 11), 8).result(60).token_ids) == greedy(model, (10, 11), 8)


def test_gathering_ends_though_requests_keep_coming() -> None:
    model, _ = model_and_tokenizer()
    stop = threading.Event()
    futures: list[Any] = []
    with generator(model, gather_seconds=0.05) as batches:

        def ask() -> None:
            while not stop.wait(0.02):
                futures.append(batches.submit((10, 11), 2))

        asking = threading.Thread(target=ask)
        first = batches.submit((20, 21), 2)
        asking.start()
        try:
            assert len(first.result(60).token_ids) <= 2
        finally:
            stop.set()
            asking.join(60)
        for future in futures:
            future.result(60)


def test_no_new_tokens_are_an_error_with_a_remedy() -> None:
    model, _ = model_and_tokenizer()
    with generator(model) as batches, pytest.raises(ModelError, match="1 or more"):
        batches.submit((10, 11), 0)


def test_closing_cancels_what_waits_and_ends_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = model_and_tokenizer()
    begun, go_on = threading.Event(), threading.Event()

    stock = RunningBatch.step

    def held(self: RunningBatch) -> Any:
        begun.set()
        assert go_on.wait(60)
        return stock(self)

    monkeypatch.setattr(RunningBatch, "step", held)
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


# --- what the model is really fed ----------------------------------------------------------

TEMPLATE_WITH_BOS = "{{ bos_token }}" + TEMPLATE_WITH_NEWLINE
TEXTS = [
    "Step 1:",
    "  I will explain. Step 1: ",
    "\n\ttabs and lines\r\n\n",
    "\u6211\u4f1a\u89e3\u91ca\u3002\u7b2c\u4e00\u6b65\uff1a",
    "\U0001f469\u200d\U0001f373 bakes \U0001f370 ",
    "a\u00a0b\u3000c caf\u00e9 cafe\u0301",
]


def tokenizer_with(*, adds_bos: bool, template: str) -> Any:
    """Make a tokenizer that writes a BOS before every text, or doesn't."""
    tokenizer = tiny_tokenizer(template)
    if adds_bos:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
        )
    return tokenizer


def what_is_fed(tokenizer: Any, messages: list[Any], new_tokens: int = 3) -> list[int]:
    """Ask through inspect-ai's own model; return the prompt ids that reached the embedding."""
    model, _ = model_and_tokenizer()
    model.generation_config.eos_token_id = None
    seen: list[int] = []
    hook = model.get_input_embeddings().register_forward_pre_hook(
        lambda _, inputs: seen.extend(inputs[0].flatten().tolist())
    )
    wrapped = local_model(model, tokenizer, "tiny")
    try:
        config = GenerateConfig(max_tokens=new_tokens)
        output = asyncio.run(wrapped.generate(messages, config=config))
    finally:
        wrapped.api.close()
        hook.remove()
    assert output.usage is not None
    # The last new token is never fed, nor is an end of turn.
    return seen[: len(seen) - new_tokens + 1] if output.stop_reason == "max_tokens" else seen


@pytest.fixture(params=["shared", "plain"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode with shared prompts, and with transformers' own generate."""
    if request.param == "plain":
        monkeypatch.setattr(batching, "reason_decoding_is_plain", lambda _: "a test")


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("adds_bos", [False, True])
def test_the_model_is_fed_raw_text_byte_by_byte_after_the_tokenizers_own_bos_or_nothing(
    text: str, *, adds_bos: bool
) -> None:
    tokenizer = tokenizer_with(adds_bos=adds_bos, template=TEMPLATE_WITH_BOS)
    fed = what_is_fed(tokenizer, [ChatMessageUser(content=text, metadata={"raw_text": True})])
    assert fed[: int(adds_bos)] == [tokenizer.bos_token_id] * int(adds_bos)
    text_ids = fed[int(adds_bos) :]
    assert not set(text_ids) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(text_ids).encode() == text.encode()


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize("template", [TEMPLATE_WITH_NEWLINE, TEMPLATE_WITH_BOS])
def test_the_model_is_fed_a_chat_with_exactly_the_bos_that_the_template_writes(
    template: str, *, adds_bos: bool
) -> None:
    tokenizer = tokenizer_with(adds_bos=adds_bos, template=template)
    system = ChatMessageSystem(content="Be kind. ")
    fed = what_is_fed(tokenizer, [system, QUESTION])
    bos = "<bos>" if template == TEMPLATE_WITH_BOS else ""
    assert tokenizer.decode(fed) == (
        f"{bos}<turn>system\nBe kind. <end>\n<turn>user\nHow are you?<end>\n<turn>assistant\n"
    )
    assert fed.count(tokenizer.bos_token_id) == len(bos[:1])


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize("template", [TEMPLATE_WITH_NEWLINE, TEMPLATE_WITH_BOS])
def test_the_model_is_fed_exactly_the_prefilled_token_ids(template: str, *, adds_bos: bool) -> None:
    tokenizer = tokenizer_with(adds_bos=adds_bos, template=template)
    # The letters one by one, half a Chinese character, and blanks at the end: no text encodes so.
    odd = [
        *(tokenizer(c)["input_ids"][-1] for c in "Sorry"),
        *tokenizer("\u62b1")["input_ids"][-2:],
    ]
    odd += tokenizer("  ")["input_ids"][-1:]
    prefix = ChatMessageAssistant(content="whatever", metadata={"prefill_ids": odd})
    fed = what_is_fed(tokenizer, [QUESTION, prefix])
    assert fed[-len(odd) :] == odd
    assert tokenizer.decode(fed[: -len(odd)]).endswith("How are you?<end>\n<turn>assistant\n")
    assert fed.count(tokenizer.bos_token_id) == int(template == TEMPLATE_WITH_BOS)


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("text", TEXTS)
def test_the_model_is_fed_a_prefix_in_words_byte_by_byte(text: str) -> None:
    tokenizer = tokenizer_with(adds_bos=True, template=TEMPLATE_WITH_BOS)
    fed = what_is_fed(tokenizer, [QUESTION, ChatMessageAssistant(content=text)])
    expected = f"<bos><turn>user\nHow are you?<end>\n<turn>assistant\n{text}"
    assert tokenizer.decode(fed).encode() == expected.encode()


def test_in_a_tree_that_many_prompts_share_each_reads_its_own_tokens_and_no_others() -> None:
    model, _ = model_and_tokenizer()
    prompts = [(10, 11, 12, 13, 14, 20), (10, 11, 12, 30), (10, 11, 12, 13, 40, 41), (50, 51)]
    read: set[tuple[int, ...]] = set()

    def note(_: Any, __: Any, named: dict[str, Any]) -> None:
        ids, mask = named["input_ids"][0], named["attention_mask"]
        if mask.dim() == 4:  # the tree: what each token may attend to, itself included
            read.update(tuple(ids[row].tolist()) for row in mask[0, 0])

    hook = model.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    with generator(model) as batches:
        for future in [batches.submit(prompt, 1) for prompt in prompts]:
            future.result(60)
    hook.remove()
    beginnings = {prompt[:length] for prompt in prompts for length in range(1, len(prompt))}
    assert read == beginnings


# --- settings ------------------------------------------------------------------------------


def outputs(api: Any, requests: list[tuple[Any, GenerateConfig]]) -> list[Any]:
    """Ask all at once; errors are returned in their places."""

    async def ask() -> list[Any]:
        calls = [api.generate([message], [], "none", config) for message, config in requests]
        return await asyncio.gather(*calls, return_exceptions=True)

    try:
        return asyncio.run(ask())
    finally:
        api.close()


def test_a_temperature_draws_by_the_seed_of_the_settings_or_of_the_message() -> None:
    model, tokenizer = model_and_tokenizer()
    seeded = ChatMessageUser(content="How are you?", metadata={"seed": 8})
    hot = {"temperature": 1.5, "max_tokens": 8}
    greedy_one, cold, zero, seven, again, eight, by_message = (
        output.completion
        for output in outputs(
            local_model(model, tokenizer, "tiny").api,
            [
                (QUESTION, GenerateConfig(max_tokens=8)),
                (QUESTION, GenerateConfig(max_tokens=8, temperature=0.0, seed=7)),
                (QUESTION, GenerateConfig(**hot)),
                (QUESTION, GenerateConfig(**hot, seed=7)),
                (QUESTION, GenerateConfig(**hot, seed=7)),
                (QUESTION, GenerateConfig(**hot, seed=8)),
                (seeded, GenerateConfig(**hot, seed=7)),
            ],
        )
    )
    assert greedy_one == cold
    assert seven == again
    assert eight == by_message
    assert len({greedy_one, zero, seven, eight}) == 4


def test_a_question_that_is_too_long_fails_alone() -> None:
    model, tokenizer = model_and_tokenizer(max_position_embeddings=64)
    long = ChatMessageUser(content="flour " * 100)
    config = GenerateConfig(max_tokens=4)
    api = local_model(model, tokenizer, "tiny").api
    failed, answered = outputs(api, [(long, config), (QUESTION, config)])
    assert isinstance(failed, ModelError)
    assert "Shorten the prompt" in str(failed)
    assert answered.usage.output_tokens > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"num_choices": 3}, "num_choices"), ({"temperature": 1.0, "top_p": 7.0}, "top_p")],
)
def test_settings_that_cannot_be_served_are_named(settings: dict[str, Any], message: str) -> None:
    model, tokenizer = model_and_tokenizer()
    api = local_model(model, tokenizer, "tiny").api
    (failed,) = outputs(api, [(QUESTION, GenerateConfig(**settings))])
    assert isinstance(failed, ModelError)
    assert message in str(failed)


def test_inspect_makes_a_provider_by_reference_with_a_batch_size(tmp_path: Path) -> None:
    from inspect_ai.model import get_model

    model, tokenizer = model_and_tokenizer()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    api: Any = get_model(f"derta/{tmp_path}", batch_size=3, memoize=False).api
    assert api.torch_model.config.vocab_size == len(api.encoder.tokenizer)
    assert api._generator._batch_size == 3
    (output,) = outputs(api, [(QUESTION, GenerateConfig(max_tokens=2))])
    assert output.usage.output_tokens > 0
    with pytest.raises(ModelError, match="batch_size"):
        LocalModelAPI(str(tmp_path), batch_size=0)
