"""Questions become the samples of a scenario.

A sample carries all that its record needs, and a `key`, a hash of all that its output depends on.
Prompts are made by `derta.attacks`. Covered: every scenario that one task of inspect-ai can run.
Not covered: how a sample is answered (`derta.evaluate.solvers`).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
)

from derta.analysis.outcomes import sample_id
from derta.attacks.adaptive import forbid_refusal_words
from derta.attacks.code_attack import code_attack
from derta.attacks.completing import completing_prompt
from derta.attacks.jailbreak_chat import Template, jailbreak_chat, load_templates
from derta.attacks.languages import in_language
from derta.attacks.multi_turn import multi_turn
from derta.attacks.prompts import AttackPrompt
from derta.attacks.self_cipher import Demonstration, load_demonstrations, self_cipher
from derta.data.encode import ChatEncoder
from derta.data.questions import Question
from derta.data.sample import sample_long_continuations
from derta.errors import TokenizerError
from derta.evaluate.provider import PREFILL_IDS, RANK_ASSISTED, RAW_TEXT, input_token_ids
from derta.evaluate.settings import AutoDanSettings, PairSettings, SuiteSettings
from derta.files import digest
from derta.triple import Conversation

__all__ = [
    "Context",
    "adaptive",
    "autodan",
    "benign",
    "code_attacks",
    "completing",
    "direct",
    "in_languages",
    "jailbreak_chats",
    "long_prefill",
    "max_tokens",
    "pair",
    "plain_samples",
    "prefill",
    "rank_assisted",
    "sampling",
    "self_ciphers",
    "several_turns",
]


@dataclass(frozen=True, slots=True)
class Context:
    """What scenarios are made of."""

    settings: SuiteSettings
    harmful: Sequence[Question]
    benign: Sequence[Question]
    encoder: ChatEncoder | None
    """Of the local model; None: a model behind another provider, which reads text."""
    attacker: str | None = None
    """A model for every search that names none of its own."""
    embedded: bool = False
    """Whether the harmful questions are the sample set's, for which long continuations exist."""
    longest: int | None = None
    """How many tokens a local model reads."""

    def limited(self, count: int | None) -> Sequence[Question]:
        """Take the first `count` harmful questions."""
        return self.harmful[:count]


def _sample(
    context: Context,
    scenario: str,
    cell: str,
    question: Question,
    messages: list[ChatMessage],
    *,
    prefilled: str = "",
    depends_on: Any = None,
    **metadata: Any,
) -> Sample:
    """Make a sample; `depends_on` is what its output depends on besides the messages."""
    if context.encoder is not None:
        given: Any = list(input_token_ids(context.encoder, messages))
    else:
        given = [[message.role, message.text] for message in messages]
    limit = max_tokens(scenario, context.settings)
    key = digest(json.dumps([given, limit, depends_on], sort_keys=True))
    return Sample(
        input=messages,
        id=sample_id(scenario, cell, question.id),
        metadata={
            "scenario": scenario,
            "cell": cell,
            "question_id": question.id,
            "category": question.category,
            "question": question.text,
            "prompt": messages[-1].text if not prefilled else messages[-2].text,
            "prefilled": prefilled,
            "key": key,
            **metadata,
        },
    )


def _messages(prompt: AttackPrompt) -> list[ChatMessage]:
    if prompt.raw:
        return [ChatMessageUser(content=prompt.last_text, metadata={RAW_TEXT: True})]
    makers: dict[str, Any] = {
        "system": ChatMessageSystem,
        "user": ChatMessageUser,
        "assistant": ChatMessageAssistant,
    }
    return [makers[message.role](content=message.content) for message in prompt.messages]


def plain_samples(
    context: Context, scenario: str, cell: str, questions: Iterable[Question], **metadata: Any
) -> list[Sample]:
    """Ask each question as it is."""
    return [
        _sample(
            context, scenario, cell, question, [ChatMessageUser(content=question.text)], **metadata
        )
        for question in questions
    ]


def code_attacks(context: Context) -> list[Sample]:
    """Hide each question in programs (Ren et al. 2024)."""
    return [
        _sample(
            context,
            "code_attack",
            variant,
            question,
            _messages(code_attack(question.text, variant)),
        )
        for variant in context.settings.code_attack.variants
        for question in context.harmful
    ]


def jailbreak_chats(context: Context) -> list[Sample]:
    """Put each question into a role-play template, drawn with the seed."""
    templates: Sequence[Template] = load_templates(context.settings.jailbreak_chat.templates)
    samples = []
    for question in context.harmful:
        prompt, template = jailbreak_chat(
            question.text, templates, seed=context.settings.seed, question_id=question.id
        )
        details = {"template": template.name}
        messages = _messages(prompt)
        samples.append(_sample(context, "jailbreak_chat", "", question, messages, details=details))
    return samples


def self_ciphers(context: Context) -> list[Sample]:
    """Ask each question after demonstrations in a cipher that is none."""
    settings = context.settings.self_cipher
    demonstrations: Sequence[Demonstration] | None = None
    if settings.demonstrations is not None:
        demonstrations = load_demonstrations(Path(settings.demonstrations))
    samples = []
    for question in context.harmful:
        make = functools.partial(self_cipher, question.text, demonstrations, count=settings.count)
        prompt = make()
        if context.encoder is not None:
            try:
                context.encoder.prompt_ids(prompt.conversation)
            except TokenizerError:  # a template without a system role (Gemma, the released code's)
                prompt = make(system=False)
        samples.append(_sample(context, "self_cipher", "", question, _messages(prompt)))
    return samples


def completing(context: Context) -> list[Sample]:
    """Make each question a declarative opening, sent as raw text."""
    rewriter = context.settings.completing.rewriter
    samples = []
    for question in context.harmful:
        text = completing_prompt(question.raw_text or question.text)
        messages = _messages(AttackPrompt((Conversation.from_text(text).messages[0],), raw=True))
        # A rewriter is given the question itself.
        depends_on = None if rewriter is None else [rewriter, question.text]
        samples.append(
            _sample(context, "completing", "", question, messages, depends_on=depends_on)
        )
    return samples


def direct(context: Context) -> list[Sample]:
    """Ask each question as it is."""
    return plain_samples(context, "direct", "", context.harmful)


def _prefilled(
    context: Context, scenario: str, depths: Sequence[int], texts: Iterable[tuple[Question, str]]
) -> list[Sample]:
    """Put the first k tokens of each text into the model's mouth, depth by depth.

    A text with fewer than k tokens has no sample at that k, nor has one for which the model's
    reading length leaves no room.
    """
    encoder = context.encoder
    assert encoder is not None  # local scenarios are not asked for without one
    room = max_tokens(scenario, context.settings)
    samples = []
    encoded = []
    for question, text in texts:
        conversation = Conversation.from_text(question.text)
        before = len(encoder.prompt_ids(conversation))
        encoded.append((question, before, encoder.prefix_ids(conversation, text)))
    for k in depths:
        for question, before, ids in encoded:
            if len(ids) < k or (
                context.longest is not None and before + k + room > context.longest
            ):
                continue
            messages: list[ChatMessage] = [ChatMessageUser(content=question.text)]
            prefilled = encoder.tokenizer.decode(ids[:k]) if k else ""
            if k:
                metadata = {PREFILL_IDS: list(ids[:k])}
                messages.append(ChatMessageAssistant(content=prefilled, metadata=metadata))
            samples.append(
                _sample(context, scenario, f"k={k}", question, messages, prefilled=prefilled, k=k)
            )
    return samples


def prefill(context: Context) -> list[Sample]:
    """Put the beginning of the harmful response into the model's mouth."""
    pairs = [(q, q.harmful_response) for q in context.harmful if q.harmful_response is not None]
    return _prefilled(context, "prefill", context.settings.prefill.depths, pairs)


def long_prefill(context: Context) -> list[Sample]:
    """The same with continuations made for it, to 2,000 tokens."""
    settings = context.settings.long_prefill
    made = sample_long_continuations()
    pairs = []
    for question in context.limited(settings.questions):
        # A file's own responses serve where they are long; the sample set's were lengthened.
        text = made.get(question.id) if context.embedded else question.harmful_response
        if text is not None:
            pairs.append((question, text))
    return _prefilled(context, "long_prefill", settings.depths, pairs)


def rank_assisted(context: Context) -> list[Sample]:
    """Ask for tokens to be picked among the most likely ones (METHOD)."""
    settings = context.settings.rank_assisted
    encoder = context.encoder
    assert encoder is not None  # as above
    samples = []
    for question in context.harmful:
        reference: list[int] = []
        if question.harmful_response is not None:
            conversation = Conversation.from_text(question.text)
            reference = list(encoder.prefix_ids(conversation, question.harmful_response))
        steering = {"reference_ids": reference, "steps": settings.steps, "top": settings.top}
        message = ChatMessageUser(content=question.text, metadata={RANK_ASSISTED: steering})
        samples.append(
            _sample(context, "rank_assisted", "", question, [message], depends_on=steering)
        )
    return samples


def adaptive(context: Context) -> list[Sample]:
    """Forbid the refusal words."""
    return [
        _sample(context, "adaptive", "", question, _messages(forbid_refusal_words(question.text)))
        for question in context.harmful
    ]


def in_languages(context: Context) -> list[Sample]:
    """Demand the answer in each language."""
    return [
        _sample(
            context,
            "languages",
            language,
            question,
            _messages(in_language(question.text, language)),
        )
        for language in context.settings.languages.languages
        for question in context.harmful
    ]


def several_turns(context: Context) -> list[Sample]:
    """Lead up to each question in harmless turns."""
    samples = []
    for question in context.harmful:
        first, *others = multi_turn(question.text, context.settings.multi_turn.turns)
        sample = _sample(
            context,
            "multi_turn",
            "",
            question,
            [ChatMessageUser(content=first)],
            depends_on=others,
            turns=others,
        )
        (sample.metadata or {})["prompt"] = others[-1]
        samples.append(sample)
    return samples


def sampling(context: Context) -> list[Sample]:
    """Ask for drawn answers, each with a seed of its own."""
    settings = context.settings.sampling
    samples = []
    for number in range(settings.samples):
        drawing = {
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "seed": context.settings.seed + number,
        }
        for question in context.harmful:
            samples.append(
                _sample(
                    context,
                    "sampling",
                    f"draw {number + 1}",
                    question,
                    [ChatMessageUser(content=question.text)],
                    depends_on=drawing,
                    drawing=drawing,
                )
            )
    return samples


def _searched(
    context: Context, scenario: str, settings: PairSettings | AutoDanSettings, *others: str | None
) -> list[Sample]:
    # How many questions are asked changes nothing for any of them.
    values = settings.model_dump(mode="json", exclude={"questions", "attacker"})
    depends_on = [values, *others, context.settings.seed]
    questions = context.limited(settings.questions)
    return plain_samples(context, scenario, "", questions, depends_on=depends_on)


def benign(context: Context) -> list[Sample]:
    """Ask harmless questions; the category is the cell."""
    return [
        sample
        for question in context.benign
        for sample in plain_samples(context, "benign", question.category, [question])
    ]


def pair(context: Context) -> list[Sample]:
    """Give each question to the search by an attacker model."""
    settings = context.settings.pair
    return _searched(context, "pair", settings, settings.attacker or context.attacker)


def autodan(context: Context) -> list[Sample]:
    """Give each question to the genetic search."""
    return _searched(context, "autodan", context.settings.autodan)


def max_tokens(scenario: str, settings: SuiteSettings) -> int:
    """Return how many new tokens an answer of a scenario has at most."""
    section = getattr(settings, scenario, None)
    own = settings.benign_max_tokens if scenario == "benign" else None
    own = getattr(section, "max_tokens", None) or own
    return own or settings.max_tokens
