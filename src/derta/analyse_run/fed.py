"""The very tokens that an evaluation fed to a model, and those of what came out.

What was fed stands in inspect-ai's logs and is encoded by the provider's own function: templates,
raw text, exact prefilled ids, earlier turns, the prompt that a search found. **What came out is
encoded from its text**: the logs keep no ids of it. Where a model wrote a word in other pieces than
its tokenizer cuts it into, or bytes that are no character, the ids differ from those that were
generated; the text is the same. Tokens that rank-assisted prefilling picked are part of the
response.

Covered: every scenario whose answers come from the model itself. Not covered: fine-tuned copies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inspect_ai.log import EvalSample
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageUser

from derta.analysis.outcomes import Outcome
from derta.analysis.token_reading import TokenRow
from derta.data.encode import ChatEncoder
from derta.evaluate.log_store import finished_samples
from derta.evaluate.provider import RAW_TEXT, input_token_ids
from derta.triple import Conversation, Message

__all__ = ["FedText", "LoggedAnswers", "fed_tokens", "held_out_tokens"]

_CONTEXT = 8
"""Tokens that decide how the first token of a continuation is written."""


@dataclass(frozen=True, slots=True)
class FedText:
    """A text in the model's own token ids."""

    prompt_ids: tuple[int, ...]
    prefilled_ids: tuple[int, ...]
    """What was put into the model's mouth, exactly."""
    response_ids: tuple[int, ...]
    """What it wrote, or a held-out response, encoded from its text."""

    @property
    def row(self) -> TokenRow:
        """What is read."""
        return TokenRow(self.prompt_ids, self.prefilled_ids + self.response_ids)


class LoggedAnswers:
    """The answers that a model's log folder holds, found by the outcomes made of them."""

    def __init__(self, folder: Path) -> None:
        """Read all logs of a model.

        Args:
            folder: `derta.evaluate.log_store.log_folder` of its fingerprint.
        """
        self._found: dict[tuple[str, str, str], list[EvalSample]] = defaultdict(list)
        for sample in finished_samples(folder).values() if folder.is_dir() else ():
            metadata = sample.metadata or {}
            key = (metadata.get("scenario"), metadata.get("cell"), metadata.get("question_id"))
            self._found[str(key[0]), str(key[1]), str(key[2])].append(sample)

    def of(self, outcome: Outcome) -> EvalSample | None:
        """Find the answer behind an outcome: the latest with its prompt and its very text."""
        answers = self._found.get((outcome.scenario, outcome.cell, outcome.question_id), [])
        for sample in reversed(answers):
            if len(sample.messages) > 1 and sample.output.completion == outcome.response:
                asked = [m for m in sample.messages if isinstance(m, ChatMessageUser)]
                if asked and asked[-1].text == outcome.prompt:
                    return sample
        return None


def fed_tokens(encoder: ChatEncoder, sample: EvalSample) -> FedText:
    """Encode what was fed for an answer, and the answer after it.

    Args:
        encoder: of the model that answered.
        sample: from its logs.

    Raises:
        ModelError: its messages are of no kind that a local model is given.
        TokenizerError: the chat template refuses them.
    """
    *fed, _ = sample.messages  # the last one is the answer
    response = sample.output.completion
    last = fed[-1]
    if isinstance(last, ChatMessageUser) and (last.metadata or {}).get(RAW_TEXT):
        prompt = input_token_ids(encoder, fed)
        return FedText(prompt, (), _continued(encoder, prompt, response, ()))
    if not isinstance(last, ChatMessageAssistant):
        prompt = input_token_ids(encoder, fed)
        return FedText(prompt, (), _answer(encoder, _conversation(fed), response))
    prompt = input_token_ids(encoder, fed[:-1])
    prefilled = input_token_ids(encoder, fed)[len(prompt) :]
    whole = encoder.prefix_ids(_conversation(fed[:-1]), last.text + response)
    # Cut anywhere, the whole text may be divided into other tokens at the seam.
    fitting = whole[len(prefilled) :] if whole[: len(prefilled)] == prefilled else ()
    return FedText(prompt, prefilled, _continued(encoder, prefilled, response, fitting))


def held_out_tokens(encoder: ChatEncoder, prompt: Conversation, response: str) -> FedText:
    """Encode a prompt and a response that a model reads, as training and evaluation do.

    Raises:
        TokenizerError: the chat template refuses the conversation.
    """
    return FedText(encoder.prompt_ids(prompt), (), _answer(encoder, prompt, response))


def _conversation(messages: Sequence[ChatMessage]) -> Conversation:
    return Conversation(tuple(Message(message.role, message.text) for message in messages))


def _answer(encoder: ChatEncoder, conversation: Conversation, response: str) -> tuple[int, ...]:
    """Encode a response to a prompt; a template that trims blanks has them encoded without it."""
    if not response:
        return ()
    ids = encoder.prefix_ids(conversation, response)
    if encoder.tokenizer.decode(ids) == response:
        return ids
    plain = _plain(encoder, response)
    return plain if encoder.tokenizer.decode(plain) == response else ids


def _continued(
    encoder: ChatEncoder, before: Sequence[int], response: str, fitting: tuple[int, ...]
) -> tuple[int, ...]:
    """Encode a text that goes on in the middle of another one.

    Args:
        encoder: of the model.
        before: the ids that it goes on after.
        response: the text.
        fitting: ids of it as a part of the whole text; () if there are none.
    """
    if not response:
        return ()
    plain = _plain(encoder, response)
    # SentencePiece writes a blank before every text, also before the rest of a word; not where a
    # line ended before.
    line, both = _plain(encoder, "\n"), _plain(encoder, "\n" + response)
    after_line = both[len(line) :] if both[: len(line)] == line else ()
    candidates = [fitting, plain, after_line]
    context = list(before[-_CONTEXT:])
    decode = encoder.tokenizer.decode
    expected = decode(context) + response
    fits = (ids for ids in candidates if ids and decode([*context, *ids]) == expected)
    return next(fits, fitting or plain)


def _plain(encoder: ChatEncoder, text: str) -> tuple[int, ...]:
    return tuple(encoder.tokenizer(text, add_special_tokens=False)["input_ids"])
