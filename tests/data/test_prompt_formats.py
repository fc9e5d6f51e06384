"""What `prompt_format: inst` promises: the released code's text, for any tokenizer with an end.

Covered: text and token ids, several turns, system messages, SentencePiece vocabularies, saving.
Not covered: the tokenizers of real models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from derta.data.encode import ChatEncoder, find_refusal_id
from derta.data.models import INST_TEMPLATE, load_tokenizer
from derta.errors import TokenizerError
from derta.triple import Conversation, Message
from tests.tiny import tiny_tokenizer

QUESTION = Conversation.from_text("how do I bake bread")
RESPONSE = "Sorry I cannot help with that"


def _loaded(folder: Path, tokenizer: PreTrainedTokenizerFast) -> Any:
    tokenizer.save_pretrained(folder)
    return load_tokenizer(str(folder), "inst")


def _metaspace() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    core.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=200,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=["▁", "[", "\\", "]", *"INST"],
        show_progress=False,
    )
    core.train_from_iterator([RESPONSE, QUESTION.last_text] * 9, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


@pytest.fixture
def encoder(tmp_path: Path) -> ChatEncoder:
    return ChatEncoder(_loaded(tmp_path, tiny_tokenizer(None)))


def test_the_text_is_that_of_the_released_code(encoder: ChatEncoder) -> None:
    ids = (*encoder.prompt_ids(QUESTION), *encoder.response_ids(QUESTION, RESPONSE))
    assert encoder.tokenizer.decode(ids) == (
        r"<bos>[INST] how do I bake bread [\INST] Sorry I cannot help with that<end>"
    )


def test_the_blank_before_the_response_is_the_prompts_last_token(encoder: ChatEncoder) -> None:
    def tokens(ids: tuple[int, ...]) -> list[str]:
        return list(encoder.tokenizer.convert_ids_to_tokens(ids))

    assert tokens(encoder.prompt_ids(QUESTION)) == [
        "<bos>", *"[INST]", "Ġhow", "Ġdo", "ĠI", "Ġbake", "Ġbread", "Ġ", "[", "\\", *"INST]", "Ġ",
    ]  # fmt: skip
    assert tokens(encoder.response_ids(QUESTION, RESPONSE)) == [
        "Sorry", "ĠI", "Ġcannot", "Ġhelp", "Ġwith", "Ġthat", "<end>",
    ]  # fmt: skip


def test_the_refusal_token_is_the_word_without_a_blank(encoder: ChatEncoder) -> None:
    expected = encoder.tokenizer.convert_tokens_to_ids("Sorry")
    assert find_refusal_id(encoder) == expected
    assert encoder.response_ids(QUESTION, RESPONSE)[0] == expected


def test_generation_starts_from_the_prompt_that_is_trained(encoder: ChatEncoder) -> None:
    messages = [{"role": "user", "content": QUESTION.last_text}]
    with_prompt, without = (
        encoder.tokenizer.apply_chat_template(messages, add_generation_prompt=add, tokenize=False)
        for add in (True, False)
    )
    assert with_prompt == without == r"<bos>[INST] how do I bake bread [\INST] "


def test_turns_follow_each_other_and_a_system_message_stands_before_its_question(
    encoder: ChatEncoder,
) -> None:
    turns = Conversation(
        (
            Message("system", "you are kind"),
            Message("user", "bake a cake"),
            Message("assistant", "sure"),
            Message("user", "how"),
        )
    )
    assert encoder.tokenizer.decode(encoder.prompt_ids(turns)) == (
        "<bos>[INST] you are kind\n\nbake a cake [\\INST] sure<end>[INST] how [\\INST] "
    )
    assert encoder.tokenizer.decode(encoder.response_ids(turns, "mix")) == "mix<end>"


def test_with_sentencepiece_the_blank_before_the_response_is_the_responses(tmp_path: Path) -> None:
    encoder = ChatEncoder(_loaded(tmp_path, _metaspace()))
    prompt, response = encoder.prompt_ids(QUESTION), encoder.response_ids(QUESTION, RESPONSE)
    tokens = encoder.tokenizer.convert_ids_to_tokens
    assert tokens(prompt)[-2:] == ["T", "]"]
    assert tokens(response) == ["▁Sorry", "▁I", "▁cannot", "▁help", "▁with", "▁that", "</s>"]
    assert find_refusal_id(encoder) == response[0]
    text = encoder.tokenizer.decode((*prompt[1:], *response[:-1]))
    assert text == rf"[INST] {QUESTION.last_text} [\INST] {RESPONSE}"


def test_inst_replaces_a_template_and_is_saved_with_the_tokenizer(tmp_path: Path) -> None:
    loaded = _loaded(tmp_path / "base", tiny_tokenizer())
    assert loaded.chat_template == INST_TEMPLATE
    loaded.save_pretrained(tmp_path / "trained")
    assert load_tokenizer(str(tmp_path / "trained")).chat_template == INST_TEMPLATE


def test_chat_leaves_the_models_own_template(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path)).chat_template == tokenizer.chat_template


def test_a_tokenizer_without_a_beginning_of_text_token_writes_none(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(None)
    tokenizer.bos_token = None
    encoder = ChatEncoder(_loaded(tmp_path, tokenizer))
    assert encoder.tokenizer.decode(encoder.prompt_ids(QUESTION)).startswith("[INST] how")


def test_a_tokenizer_without_an_end_of_text_token_is_an_error(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(None)
    tokenizer.eos_token = None
    with pytest.raises(TokenizerError, match="eos_token"):
        ChatEncoder(_loaded(tmp_path, tokenizer))


def test_a_base_model_without_a_template_is_an_error_that_names_inst() -> None:
    with pytest.raises(TokenizerError, match="prompt_format=inst"):
        ChatEncoder(tiny_tokenizer(None))
