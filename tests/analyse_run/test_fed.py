"""What a model reads is what the evaluation fed it, id by id, in every scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import EvalSample
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageUser,
    ModelOutput,
)

from derta.analyse_run.fed import LoggedAnswers, fed_tokens, held_out_tokens
from derta.analysis.outcomes import Outcome, read_outcomes
from derta.data.encode import ChatEncoder
from derta.evaluate.local_models import describe_local_model
from derta.evaluate.log_store import log_folder
from derta.evaluate.provider import PREFILL_IDS, RAW_TEXT
from derta.triple import Conversation
from tests.analyse_run.evaluated import SCENARIOS, Evaluated
from tests.evaluate.suites import INSPECT_WARNING
from tests.tiny import TEMPLATE_THAT_STRIPS, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings(INSPECT_WARNING)


@pytest.fixture(scope="module")
def encoder() -> ChatEncoder:
    return ChatEncoder(tiny_tokenizer())


def answers_of(evaluated: Evaluated, model: Path) -> LoggedAnswers:
    _, fingerprint = describe_local_model(str(model))
    return LoggedAnswers(log_folder(evaluated.folder / "logs", fingerprint))


def outcomes_of(evaluated: Evaluated, name: str) -> list[Outcome]:
    return [o for o in read_outcomes(evaluated.folder / "outcomes.jsonl") if o.model == name]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_ids_before_a_response_are_those_that_the_model_was_given(
    scenario: str, evaluated: Evaluated, encoder: ChatEncoder
) -> None:
    decode = encoder.tokenizer.decode
    for model in evaluated.models:
        answers = answers_of(evaluated, model)
        found = [o for o in outcomes_of(evaluated, model.name) if o.scenario == scenario]
        assert found
        for outcome in found:
            sample = answers.of(outcome)
            assert sample is not None
            fed = fed_tokens(encoder, sample)
            given = [
                decode(generated, skip_special_tokens=True)
                for ids, generated in evaluated.asked
                if ids == fed.prompt_ids + fed.prefilled_ids
            ]
            assert outcome.response in given
            assert decode(fed.prefilled_ids) == outcome.prefilled
            assert len(fed.prefilled_ids) == (
                int(outcome.cell.removeprefix("k=")) if "prefill" in scenario else 0
            )
            assert decode(fed.response_ids) == outcome.response


def test_a_response_in_the_tokenizers_own_pieces_is_read_in_the_tokens_that_were_generated(
    evaluated: Evaluated, encoder: ChatEncoder
) -> None:
    given = dict(evaluated.asked)
    compared = 0
    for model in evaluated.models:
        answers = answers_of(evaluated, model)
        for outcome in outcomes_of(evaluated, model.name):
            sample = answers.of(outcome)
            assert sample is not None
            fed = fed_tokens(encoder, sample)
            generated = given.get(fed.prompt_ids + fed.prefilled_ids, ())
            # The tests' models mostly write words in pieces that no tokenizer would cut.
            if generated and ids_of(encoder, outcome.response) == generated:
                assert fed.response_ids == generated
                compared += 1
    assert compared


def test_an_answer_is_found_by_its_prompt_and_its_very_text(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    from dataclasses import replace

    answers = answers_of(evaluated, evaluated.models[0])
    outcome = outcomes_of(evaluated, "one")[0]
    assert answers.of(outcome) is not None
    assert answers.of(replace(outcome, response=outcome.response + "x")) is None
    assert answers.of(replace(outcome, prompt="another one")) is None
    assert answers.of(replace(outcome, question_id="nobody")) is None
    assert LoggedAnswers(tmp_path / "nothing").of(outcome) is None


# --- by hand ----------------------------------------------------------------------------------


def sample(messages: list[ChatMessage], response: str) -> EvalSample:
    answer = ChatMessageAssistant(content=response)
    return EvalSample(
        id="a",
        epoch=1,
        input=messages,
        target="",
        messages=[*messages, answer],
        output=ModelOutput(model="m", choices=[ChatCompletionChoice(message=answer)]),
    )


def ids_of(encoder: ChatEncoder, text: str) -> tuple[int, ...]:
    return tuple(encoder.tokenizer(text, add_special_tokens=False)["input_ids"])


def test_a_prefilled_word_that_was_cut_keeps_its_exact_ids(encoder: ChatEncoder) -> None:
    exact = list(ids_of(encoder, "Sor"))
    question = ChatMessageUser(content="How?")
    cut = ChatMessageAssistant(content="Sor", metadata={PREFILL_IDS: exact})
    fed = fed_tokens(encoder, sample([question, cut], "ry, no."))
    assert fed.prefilled_ids == tuple(exact)
    assert encoder.tokenizer.decode(fed.row.text_ids) == "Sorry, no."
    assert fed.row.prompt_ids == encoder.prompt_ids(Conversation.from_text("How?"))


def test_a_continuation_is_divided_as_in_the_whole_text_where_that_fits(
    encoder: ChatEncoder,
) -> None:
    whole = ids_of(encoder, "Sure here is the first step")
    question = ChatMessageUser(content="How?")
    begun = encoder.tokenizer.decode(whole[:2])
    prefilled = ChatMessageAssistant(content=begun, metadata={PREFILL_IDS: list(whole[:2])})
    rest = encoder.tokenizer.decode(whole)[len(begun) :]
    assert fed_tokens(encoder, sample([question, prefilled], rest)).response_ids == whole[2:]


def test_raw_text_has_no_template_around_it(encoder: ChatEncoder) -> None:
    raw = ChatMessageUser(content="Step 1:", metadata={RAW_TEXT: True})
    fed = fed_tokens(encoder, sample([raw], " mix flour"))
    assert fed.prompt_ids == encoder.raw_ids("Step 1:")
    assert fed.response_ids == ids_of(encoder, " mix flour")


def test_earlier_turns_stand_in_the_prompt(encoder: ChatEncoder) -> None:
    turns: list[ChatMessage] = [
        ChatMessageUser(content="Hello"),
        ChatMessageAssistant(content="Hi"),
        ChatMessageUser(content="And how?"),
    ]
    fed = fed_tokens(encoder, sample(turns, "Like this"))
    assert "Hello" in encoder.tokenizer.decode(fed.prompt_ids)
    assert fed.prefilled_ids == ()


@pytest.mark.parametrize("response", [" Sure\n", "Sure", "", " ", "\n\n", "漢字 \N{PILE OF POO}"])
def test_a_response_keeps_its_blanks_whatever_the_template_trims(response: str) -> None:
    encoder = ChatEncoder(tiny_tokenizer(TEMPLATE_THAT_STRIPS))
    fed = fed_tokens(encoder, sample([ChatMessageUser(content="How?")], response))
    assert encoder.tokenizer.decode(fed.response_ids) == response
    own = held_out_tokens(encoder, Conversation.from_text("How?"), response)
    assert own == fed


def test_a_vocabulary_that_writes_a_blank_first_continues_a_word_without_one() -> None:
    from tests.analysis.test_token_pieces import sentence_piece
    from tests.tiny import TEMPLATE_WITHOUT_NEWLINE

    tokenizer: Any = sentence_piece()
    tokenizer.chat_template = TEMPLATE_WITHOUT_NEWLINE
    encoder = ChatEncoder(tokenizer)
    exact = list(ids_of(encoder, "Sorry I can not mak"))
    begun = tokenizer.decode(exact)
    prefilled = ChatMessageAssistant(content=begun, metadata={PREFILL_IDS: exact})
    fed = fed_tokens(encoder, sample([ChatMessageUser(content="help"), prefilled], "ing that"))
    assert tokenizer.decode(fed.row.text_ids) == begun + "ing that"
