"""What `ChatEncoder` promises: ids are the chat template's own, with one end-of-turn token.

Covered: templates that differ in what follows a response, the refusal token, refusal words of
several languages and whose a triple's is, cutting. Not covered: the templates of real models (their
differences are imitated with a tiny tokenizer).
"""

from __future__ import annotations

import pytest

from derta.data.encode import (
    ChatEncoder,
    RefusalWords,
    RowLimits,
    find_refusal_id,
    find_refusal_tokens,
    fit_row,
)
from derta.errors import TokenizerError
from derta.rows import EncodedTriple
from derta.triple import Conversation, HelpfulExample, Message, Triple
from tests.tiny import (
    TEMPLATE_THAT_STRIPS,
    TEMPLATE_WITH_ITS_OWN_END,
    TEMPLATE_WITH_NEWLINE,
    TEMPLATE_WITH_OTHER_PAST,
    TEMPLATE_WITHOUT_END,
    TEMPLATE_WITHOUT_NEWLINE,
    tiny_tokenizer,
    tokenizer_of,
)

QUESTION = Conversation.from_text("how do I make a cake")
RESPONSE = "mix flour and water, then wait an hour"
TEMPLATES = {
    "with newline": TEMPLATE_WITH_NEWLINE,
    "without newline": TEMPLATE_WITHOUT_NEWLINE,
    "strips": TEMPLATE_THAT_STRIPS,
    "its own end": TEMPLATE_WITH_ITS_OWN_END,
    "without end": TEMPLATE_WITHOUT_END,
    "other past": TEMPLATE_WITH_OTHER_PAST,
}


@pytest.fixture(params=TEMPLATES.values(), ids=TEMPLATES)
def encoder(request: pytest.FixtureRequest) -> ChatEncoder:
    return ChatEncoder(tiny_tokenizer(request.param))


def _end_of(encoder: ChatEncoder) -> int:
    own = encoder.tokenizer.chat_template == TEMPLATE_WITH_ITS_OWN_END
    return encoder.tokenizer.convert_tokens_to_ids("<turn_end>" if own else "<end>")


def test_prompt_ids_are_the_templates_generation_prompt(encoder: ChatEncoder) -> None:
    expected = encoder.tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION.last_text}],
        add_generation_prompt=True,
        return_dict=False,
    )
    assert encoder.prompt_ids(QUESTION) == tuple(expected)


@pytest.mark.parametrize("template", [n for n in TEMPLATES if n != "other past"])
def test_prompt_and_response_ids_are_the_templates_whole_conversation(template: str) -> None:
    encoder = ChatEncoder(tiny_tokenizer(TEMPLATES[template]))
    ids = (*encoder.prompt_ids(QUESTION), *encoder.response_ids(QUESTION, RESPONSE))
    whole = encoder.tokenizer.apply_chat_template(
        [
            {"role": "user", "content": QUESTION.last_text},
            {"role": "assistant", "content": RESPONSE},
        ],
        return_dict=False,
    )
    if template == "without end":
        assert ids == (*whole, encoder.tokenizer.eos_token_id)
    else:
        # Up to the end-of-turn token; what the template writes behind it is not the model's.
        assert ids == tuple(whole[: len(ids)])
        assert encoder.tokenizer.decode(whole[len(ids) :]).strip() == ""


def test_a_response_ends_in_exactly_one_end_of_turn_token(encoder: ChatEncoder) -> None:
    ids = encoder.response_ids(QUESTION, RESPONSE)
    end = _end_of(encoder)
    assert ids[-1] == end
    assert ids.count(end) == 1
    assert encoder.tokenizer.decode(ids[:-1]) == RESPONSE


def test_a_prefix_is_the_response_without_the_end_of_turn_token(encoder: ChatEncoder) -> None:
    ids = encoder.prefix_ids(QUESTION, RESPONSE)
    assert ids == encoder.response_ids(QUESTION, RESPONSE)[:-1]
    assert not set(ids) & set(encoder.tokenizer.all_special_ids)
    assert encoder.tokenizer.decode(ids) == RESPONSE


def test_a_response_that_ends_in_a_line_feed_still_ends_in_one_end_of_turn_token() -> None:
    encoder = ChatEncoder(tiny_tokenizer(TEMPLATE_WITH_NEWLINE))
    ids = encoder.response_ids(QUESTION, "here is the first step\n")
    assert ids[-1] == encoder.tokenizer.eos_token_id
    assert encoder.tokenizer.decode(ids[:-1]) == "here is the first step\n"


def test_a_template_that_strips_gets_the_stripped_response() -> None:
    encoder = ChatEncoder(tiny_tokenizer(TEMPLATE_THAT_STRIPS))
    assert encoder.response_ids(QUESTION, f"  {RESPONSE} \n") == encoder.response_ids(
        QUESTION, RESPONSE
    )


def test_several_turns_are_encoded_before_the_response() -> None:
    encoder = ChatEncoder(tiny_tokenizer())
    turns = Conversation(
        (
            Message("system", "you are kind"),
            Message("user", "bake a cake"),
            Message("assistant", "sure"),
            Message("user", "how"),
        )
    )
    text = encoder.tokenizer.decode(encoder.prompt_ids(turns))
    assert text == (
        "<turn>system\nyou are kind<end>\n<turn>user\nbake a cake<end>\n"
        "<turn>assistant\nsure<end>\n<turn>user\nhow<end>\n<turn>assistant\n"
    )
    assert encoder.tokenizer.decode(encoder.response_ids(turns, "mix")) == "mix<end>"


def test_a_triple_has_an_end_of_turn_after_r_and_none_after_h(encoder: ChatEncoder) -> None:
    encoded = encoder.triple(Triple(QUESTION, "Sorry I can not help", RESPONSE))
    assert encoded.prompt_ids == encoder.prompt_ids(QUESTION)
    assert encoded.safe_ids[-1] == _end_of(encoder)
    assert encoder.tokenizer.decode(encoded.safe_ids[:-1]) == "Sorry I can not help"
    assert encoder.tokenizer.decode(encoded.harmful_ids) == RESPONSE


def test_the_harmful_response_is_cut_so_that_q_h_and_r_fit(encoder: ChatEncoder) -> None:
    triple = Triple(QUESTION, "Sorry I can not help", f"{RESPONSE} " * 20)
    whole = encoder.triple(triple)
    shortest = len(whole.prompt_ids) + len(whole.safe_ids) + 1
    for max_length in (shortest, shortest + 7, 10_000):
        cut = encoder.triple(triple, max_length)
        assert (cut.prompt_ids, cut.safe_ids) == (whole.prompt_ids, whole.safe_ids)
        assert cut.harmful_ids == whole.harmful_ids[: len(cut.harmful_ids)]
        length = len(cut.prompt_ids) + len(cut.harmful_ids) + len(cut.safe_ids)
        assert length == min(max_length, shortest - 1 + len(whole.harmful_ids))


def test_a_helpful_response_that_is_cut_loses_its_end_of_turn_token(
    encoder: ChatEncoder,
) -> None:
    example = HelpfulExample(QUESTION, RESPONSE)
    whole = encoder.helpful(example)
    assert whole.response_ids[-1] == _end_of(encoder)
    length = len(whole.prompt_ids) + len(whole.response_ids)
    assert encoder.helpful(example, length) == whole
    cut = encoder.helpful(example, length - 1)
    assert cut.response_ids == whole.response_ids[:-1]
    assert _end_of(encoder) not in cut.response_ids


def test_the_refusal_token_is_one_token_at_the_beginning_of_a_response(
    encoder: ChatEncoder,
) -> None:
    token = find_refusal_id(encoder)
    assert encoder.tokenizer.decode([token]) == "Sorry"
    assert encoder.response_ids(QUESTION, "Sorry I can not help")[0] == token


def test_a_refusal_word_of_several_tokens_names_words_of_one_token(
    encoder: ChatEncoder,
) -> None:
    with pytest.raises(TokenizerError) as caught:
        find_refusal_id(encoder, "Regrettably")
    message = str(caught.value)
    assert "'Regrettably'" in message
    assert "RTO needs one" in message
    assert "refusal_word" in message
    listed = message.split("One token in this vocabulary: ")[1].split(". Set")[0].split(", ")
    assert "Sorry" in listed
    assert "Unfortunately" in listed
    for word in listed:
        assert encoder.tokenizer.decode([find_refusal_id(encoder, word)]) == word


@pytest.mark.parametrize("word", ["", " "])
def test_an_empty_refusal_word_is_refused(word: str) -> None:
    with pytest.raises(TokenizerError, match="refusal word"):
        find_refusal_id(ChatEncoder(tiny_tokenizer()), word)


def test_a_tokenizer_without_a_chat_template_is_refused_with_the_remedy() -> None:
    with pytest.raises(TokenizerError, match=r"no chat template.*chat_template\.jinja"):
        ChatEncoder(tiny_tokenizer(None))


def test_a_tokenizer_without_an_end_of_text_token_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(TokenizerError, match="eos_token"):
        ChatEncoder(tokenizer)


def test_a_template_that_refuses_a_conversation_gives_its_reason() -> None:
    strict = "{{ raise_exception('no system turns here') }}"
    encoder = ChatEncoder(tiny_tokenizer(strict))
    with pytest.raises(TokenizerError, match="no system turns here"):
        encoder.prompt_ids(QUESTION)


def test_raw_text_gets_nothing_of_the_template() -> None:
    encoder = ChatEncoder(tiny_tokenizer())
    assert encoder.tokenizer.decode(encoder.raw_ids("I will make a cake")) == "I will make a cake"


# --- refusal words of several languages ------------------------------------------------------

NAMED = RefusalWords("Sorry", {"zh": "抱歉", "es": "No"})


@pytest.mark.parametrize(
    ("column", "response", "language"),
    [
        ("zh", "Sorry, I can't.", "zh"),
        (" ZH-Hant ", "Sorry, I can't.", "zh"),
        ("Chinese", "Sorry, I can't.", "zh"),
        ("ko", "抱歉，我不能。", "ko"),  # noqa: RUF001  # Chinese punctuation is meant
        (None, "抱歉，我不能帮你。", "zh"),  # noqa: RUF001
        (None, "我不能帮你。", "zh"),
        (None, "  Sorry, das kann ich nicht.", None),
        (None, "No, I stop here.", "es"),
        (None, "Normally nobody would explain that to you.", "en"),
        (None, "Je ne peux pas vous aider à tricher au concours.", "fr"),
        (None, "No", "es"),
        (None, "?", None),
        ("中文", "Sorry, I can't.", "zh"),
        ("na", "抱歉，我不能。", "zh"),  # noqa: RUF001
        ("None", "抱歉，我不能。", "zh"),  # noqa: RUF001
        ("Klingon", "抱歉，我不能。", "zh"),  # noqa: RUF001
        (["zh"], "Sorry", None),
        ("", "Sorry", None),
    ],
)
def test_a_triples_language_is_its_columns_or_its_first_words_or_its_texts(
    column: object, response: str, language: str | None
) -> None:
    assert NAMED.language_of(column, response) == language


def test_the_tables_words_are_known_beginnings_where_none_are_named() -> None:
    table = RefusalWords("Stop", None)
    assert table.language_of(None, "Désolé, non.") == "fr"
    assert table.language_of(None, "Désolée") != "fr"  # too short to tell, and another word
    assert table.language_of(None, "Stop, no.") is None
    assert table.language_of(None, "Sorry, no.") == "en"


def test_of_two_words_that_fit_the_longer_one_is_meant() -> None:
    words = RefusalWords("I", {"en": "I can't", "fr": "I can"})
    assert words.language_of(None, "I can't do it") == "en"
    assert words.language_of(None, "I can do it") == "fr"
    assert words.language_of(None, "I will not") is None


@pytest.fixture(scope="module")
def two_scripts() -> ChatEncoder:
    return ChatEncoder(tokenizer_of(["Sorry", "抱歉", "No", "Je"]))


def test_each_word_has_its_token_and_languages_without_one_have_the_default(
    two_scripts: ChatEncoder,
) -> None:
    found = find_refusal_tokens(two_scripts, NAMED)
    decode = two_scripts.tokenizer.decode
    assert decode([found.token_id]) == "Sorry"
    assert {code: decode([token]) for code, token in found.ids.items()} == NAMED.by_language
    assert found.all_words == ("Sorry", "抱歉", "No")
    words = [found.word_of(language) for language in ("zh", "es", "de", None)]
    assert words == ["抱歉", "No", "Sorry", "Sorry"]


def test_the_tables_words_are_looked_up_for_the_languages_that_the_data_hold(
    two_scripts: ChatEncoder,
) -> None:
    table = RefusalWords("No", None)
    assert find_refusal_tokens(two_scripts, table).words == {}
    found = find_refusal_tokens(two_scripts, table, ["zh", None, "en", "zh", "ko"])
    # "No" is no word of the table: it is taken for an English one, and stays English's.
    assert found.words == {"zh": "抱歉"}
    assert found.all_words == ("No", "抱歉")


def test_what_is_told_of_words_counts_the_default_of_every_other_language(
    two_scripts: ChatEncoder,
) -> None:
    found = find_refusal_tokens(two_scripts, RefusalWords("Sorry", {"zh": "抱歉"}))
    told = found.described({"zh": 3, "en": 4, None: 5})
    assert {name: (each["word"], each["triples"]) for name, each in told.items()} == {
        "default": ("Sorry", 9),
        "zh": ("抱歉", 3),
    }
    assert [each["token_id"] for each in told.values()] == [found.token_id, found.ids["zh"]]


def test_every_word_of_several_tokens_is_named_with_its_language_and_words_that_serve(
    two_scripts: ChatEncoder,
) -> None:
    words = RefusalWords("Regrettably", {"zh": "抱歉", "fr": "Désolé", "ko": "죄송"})
    with pytest.raises(TokenizerError) as caught:
        find_refusal_tokens(two_scripts, words)
    default, french, korean = str(caught.value).splitlines()
    assert "'Regrettably' is" in default
    assert "Set it with refusal_word=..." in default
    assert "'Désolé' of French is" in french
    assert "One token in this vocabulary: Je. Set it with refusal_words={fr: ...}" in french
    assert "'죄송' of ko is" in korean
    assert "Choose another. Set it with refusal_words={ko: ...}" in korean


def test_a_cut_triple_keeps_its_language(two_scripts: ChatEncoder) -> None:
    row = Triple(QUESTION, "抱歉", "No " * 60)
    limits = RowLimits(max_length=90, max_harmful_length=9, overlong="truncate")
    example, problem = fit_row(row, limits, two_scripts, ("a", 1), language="zh")
    assert problem is None
    assert isinstance(example, EncodedTriple)
    assert (example.language, len(example.harmful_ids)) == ("zh", 9)
