"""What `WordBoundaries` promises: the words of `text.split(" ")`, counted in token ids.

Covered: byte-level and SentencePiece vocabularies trained on the spot, blanks in every place.
Not covered: the vocabularies of real models.
"""

from __future__ import annotations

import pickle
import random
from functools import lru_cache
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from derta.data.words import WordBoundaries, puts_blank_first
from derta.errors import TokenizerError
from tests.tiny import tiny_tokenizer

CORPUS = (
    "Buy a pie in the next town, scrape off the shop's pattern, and say it is yours.\n"
    "Then smile a lot. 1. Write a glowing review. 2. Ask a friend to write one, too."
)
TEXTS = [
    CORPUS,
    "one",
    "",
    "two words",
    "a line\nfeed joins\n\ntwo words",
    "a  double blank",
    "three   blanks, and a blank at the end ",
    " a leading blank",
    "  two leading blanks",
    "a blank before a line feed \nand after one\n so",
    "    print('indented')\n    return",
    "unheard-of, multitokenous wörds — naïve façade",
    "tabs\tare no\tblanks",
]


@lru_cache(maxsize=1)
def _metaspace() -> PreTrainedTokenizerFast:
    """Words begin with "▁", as with Mistral's tokenizer; no token holds a blank inside."""
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    core.decoder = decoders.Metaspace(prepend_scheme="always")
    return _trained(core)


@lru_cache(maxsize=1)
def _blanks_inside() -> PreTrainedTokenizerFast:
    """Like Llama 2's, but trained without a word's limits: tokens such as "a▁friend▁to"."""
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _trained(core)


@lru_cache(maxsize=1)
def _runs_of_blanks() -> PreTrainedTokenizerFast:
    """A byte-level vocabulary to which runs of blanks were added as plain text (Phi, OLMo)."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["    ", "  "])
    return tokenizer


def _trained(core: Tokenizer) -> PreTrainedTokenizerFast:
    alphabet = sorted({"▁", *"".join(TEXTS)} - {" "})
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    core.train_from_iterator([CORPUS] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")


TOKENIZERS = {
    "byte-level": tiny_tokenizer,
    "metaspace": _metaspace,
    "blanks inside": _blanks_inside,
    "runs of blanks": _runs_of_blanks,
}
WHOLE_WORDS = ["byte-level", "metaspace"]
"""No token of these holds the end of a word and more."""


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _text(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def _assert_ends(tokenizer: Any, text: str, *, exact: bool) -> None:
    """Compare every word's end with the first tokens that hold the words up to it."""
    ids = _ids(tokenizer, text)
    # Metaspace takes a text's first blank for the one that it would write itself.
    meant = _text(tokenizer, ids)
    assert meant in (text, text.removeprefix(" ") if puts_blank_first(tokenizer) else text)
    words = meant.split(" ")
    ends = WordBoundaries(tokenizer).ends(ids)
    assert len(ends) == len(words)
    for count, end in enumerate(ends, start=1):
        beginning = " ".join(words[:count])
        held = _text(tokenizer, ids[:end])
        assert held.startswith(beginning)
        assert held == beginning or not exact
        if beginning:
            one_less = _text(tokenizer, ids[: end - 1])
            assert not one_less.startswith(beginning), "no token too many"


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", TOKENIZERS)
def test_words_end_where_splitting_the_text_at_blanks_says(name: str, text: str) -> None:
    _assert_ends(TOKENIZERS[name](), text, exact=name in WHOLE_WORDS)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_words_end_there_in_random_texts_too(name: str) -> None:
    generator = random.Random(1)
    pieces = [*CORPUS.split(" "), "\n", "", "", "x"]
    tokenizer = TOKENIZERS[name]()
    for _ in range(100):
        text = " ".join(generator.choices(pieces, k=generator.randint(1, 25)))
        _assert_ends(tokenizer, text, exact=name in WHOLE_WORDS)


def test_the_tokenizer_with_blanks_inside_has_such_tokens() -> None:
    tokenizer = _blanks_inside()
    ids = _ids(tokenizer, CORPUS)
    assert any("▁" in token[1:] for token in tokenizer.convert_ids_to_tokens(ids))
    assert len(set(WordBoundaries(tokenizer).ends(ids))) < len(CORPUS.split(" "))


def test_ends_by_hand() -> None:
    tokenizer = tiny_tokenizer()
    ids = _ids(tokenizer, "make a\npie  then")
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert tokens == ["make", "Ġa", "Ċ", "p", "i", "e", "Ġ", "Ġthen"]
    assert WordBoundaries(tokenizer).ends(ids) == (1, 6, 7, 8)
    assert WordBoundaries(tokenizer).ends(ids[7:]) == (0, 1), "the blank is the text's own"


def test_only_sentencepiece_puts_a_blank_before_every_text() -> None:
    found = {name: puts_blank_first(make()) for name, make in TOKENIZERS.items()}
    assert found == {
        "byte-level": False,
        "metaspace": True,
        "blanks inside": True,
        "runs of blanks": False,
    }


def test_boundaries_are_sent_to_other_processes_without_the_tokenizer() -> None:
    tokenizer = tiny_tokenizer()
    boundaries = WordBoundaries(tokenizer)
    sent = pickle.dumps(boundaries)
    assert len(sent) < 3 * len(tokenizer) + 500
    assert pickle.loads(sent) == boundaries
    assert pickle.loads(sent).ends(_ids(tokenizer, "how do I")) == (1, 2, 3)


def test_a_vocabulary_without_blanks_is_an_error_that_names_the_remedy() -> None:
    core = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    with pytest.raises(TokenizerError, match=r"rows\.prefix_unit=tokens"):
        WordBoundaries(tokenizer)
