"""Pieces of tokens concatenate to the text, whatever script it is in."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from derta.analysis.token_pieces import PieceReader, token_pieces
from tests.tiny import tiny_tokenizer

TEXTS = [
    "Sorry, I can't help with that.",
    " leading and trailing blanks  ",
    "line\n\nbreaks\tand tabs",
    "emoji \N{PILE OF POO}\N{ZERO WIDTH JOINER}\N{WOMAN} mixed 漢字 in",
    "漢字",
    "\ufffd real replacement characters \ufffd\ufffd",
    "\u202eright to left\u202c \u200b",
    "",
    "a",
]


def ids_of(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def sentence_piece() -> PreTrainedTokenizerFast:
    """A vocabulary that writes a blank before every text, and drops it when decoding."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace()]  # as Llama 2's
    )
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<unk>", "<end>", *byte_tokens], show_progress=False
    )
    tokenizer.train_from_iterator(["Sorry I can not help with that ing making"] * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_concatenate_to_the_text(text: str) -> None:
    tokenizer = tiny_tokenizer()
    ids = ids_of(tokenizer, text)
    pieces = token_pieces(tokenizer, ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == text


def test_the_blanks_of_a_vocabulary_that_drops_the_first_one_are_kept() -> None:
    tokenizer = sentence_piece()
    ids = ids_of(tokenizer, "Sorry I can not help")
    assert "".join(token_pieces(tokenizer, ids)) == "Sorry I can not help"
    assert token_pieces(tokenizer, ids)[-1].strip() != ""


def test_a_character_of_several_tokens_stands_at_the_last_of_them() -> None:
    tokenizer = tiny_tokenizer()
    ids = ids_of(tokenizer, "a\N{PILE OF POO}b")
    pieces = token_pieces(tokenizer, ids)
    assert pieces == ("a", "", "", "", "\N{PILE OF POO}", "b")


def test_bytes_that_are_no_character_are_replacement_characters_at_their_place() -> None:
    tokenizer = tiny_tokenizer()
    (first, *_), (letter,) = ids_of(tokenizer, "\N{PILE OF POO}"), ids_of(tokenizer, "a")
    ids = [letter, *[first] * 50, letter]
    pieces = token_pieces(tokenizer, ids)
    assert "".join(pieces) == tokenizer.decode(ids)
    assert pieces[0] == "a"
    assert pieces[-1].endswith("a")


def test_a_text_that_ends_in_the_middle_of_a_character_keeps_all_its_pieces() -> None:
    tokenizer = tiny_tokenizer()
    ids = ids_of(tokenizer, "so \N{PILE OF POO}")[:-1]
    pieces = token_pieces(tokenizer, ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == tokenizer.decode(ids)


def test_a_single_token_is_told_with_its_blank_and_a_special_one_by_its_name() -> None:
    for tokenizer in (tiny_tokenizer(), sentence_piece()):
        piece = PieceReader(tokenizer)
        assert piece(ids_of(tokenizer, "help that")[-1]) == " that"
        assert piece(tokenizer.eos_token_id) == "<end>"
    tokenizer = tiny_tokenizer()
    assert PieceReader(tokenizer)(ids_of(tokenizer, "漢")[0]) == "\ufffd"
