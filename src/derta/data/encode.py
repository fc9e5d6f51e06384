"""Conversations and responses as token ids, in the model's own chat template.

The response is whatever the template puts after the generation prompt, up to the end-of-turn
token, so that training sees exactly the ids that generation starts from. Covered: any tokenizer
with a chat template; a base model's may be given one (`derta.data.models.load_tokenizer`). Not
covered: prompts without any format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from derta.data.files import overlong_problems
from derta.errors import InputProblem, TokenizerError
from derta.rows import EncodedHelpful, EncodedTriple
from derta.triple import Conversation, HelpfulExample, Triple

__all__ = ["ChatEncoder", "RowLimits", "encoded_length", "find_refusal_id", "fit_row"]

_ALTERNATIVE_WORDS = (
    "Sorry", "sorry", "Unfortunately", "I", "No", "Apologies", "Stop", "Cannot", "Sor",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChatEncoder:
    """Turns examples into token ids with one tokenizer."""

    tokenizer: Any
    """A transformers tokenizer with a chat template."""
    _tail: tuple[int, ...] = field(default=(), init=False, repr=False, compare=False)
    """What the template writes after a response: the end-of-turn token, perhaps a line feed."""
    _end_id: int = field(default=-1, init=False, repr=False, compare=False)
    """The end-of-turn token, which need not be the tokenizer's end-of-text token (Gemma, Phi-3)."""

    def __post_init__(self) -> None:
        """Check the tokenizer.

        Raises:
            TokenizerError: it has no chat template or no end-of-text token.
        """
        name = getattr(self.tokenizer, "name_or_path", "") or type(self.tokenizer).__name__
        if not getattr(self.tokenizer, "chat_template", None):
            raise TokenizerError(
                f"{name}: the tokenizer has no chat template. Use the model's chat (Instruct) "
                "version, prompt_format=inst for a base model, or set tokenizer.chat_template "
                "(a chat_template.jinja in its folder)"
            )
        if self.tokenizer.eos_token_id is None:
            raise TokenizerError(f"{name}: the tokenizer has no end-of-text token (eos_token)")
        tail = self._find_tail()
        ends = {self.tokenizer.eos_token_id, *self.tokenizer.added_tokens_decoder}
        object.__setattr__(self, "_tail", tail)
        found = (token for token in tail if token in ends)
        object.__setattr__(self, "_end_id", next(found, self.tokenizer.eos_token_id))

    def prompt_ids(self, conversation: Conversation) -> tuple[int, ...]:
        """Encode a conversation up to the place where the response begins."""
        return self._template(conversation, add_generation_prompt=True)

    def response_ids(self, conversation: Conversation, response: str) -> tuple[int, ...]:
        """Encode a response as it follows `prompt_ids`, ending in the end-of-turn token."""
        prompt = self.prompt_ids(conversation)
        whole = self._template(conversation, response=response)
        end = self._end_id
        if whole[: len(prompt)] != prompt:
            # The template writes past turns differently from the turn being generated.
            plain = self.tokenizer(response, add_special_tokens=False)["input_ids"]
            return (*plain, end)
        ids = whole[len(prompt) :]
        if self._tail and ids[-len(self._tail) :] == self._tail:
            return (*ids[: -len(self._tail)], end)
        if end in ids:  # the tail ran together with the response's last token
            return ids[: len(ids) - ids[::-1].index(end)]
        return (*ids, end)

    def prefix_ids(self, conversation: Conversation, response: str) -> tuple[int, ...]:
        """Encode a response as it follows `prompt_ids`, without the end-of-turn token."""
        return self.response_ids(conversation, response)[:-1]

    def raw_ids(self, text: str) -> tuple[int, ...]:
        """Encode raw text to be continued: nothing but the tokenizer's own BOS before it."""
        return tuple(self.tokenizer(text)["input_ids"])

    def triple(self, triple: Triple, max_length: int | None = None) -> EncodedTriple:
        """Encode a triple; h is cut on the right so that q + h + r has at most `max_length`."""
        prompt = self.prompt_ids(triple.prompt)
        safe = self.response_ids(triple.prompt, triple.safe_response)
        harmful = self.prefix_ids(triple.prompt, triple.harmful_response)
        if max_length is not None:
            harmful = harmful[: max(1, max_length - len(prompt) - len(safe))]
        return EncodedTriple(prompt, safe, harmful)

    def helpful(
        self, example: HelpfulExample, max_length: int | None = None, *, finished: bool = True
    ) -> EncodedHelpful:
        """Encode a helpful example.

        A response that is cut, at `max_length` here or before (`finished` is False), has no
        end-of-turn token: the model must not learn to stop in mid-sentence.
        """
        prompt = self.prompt_ids(example.prompt)
        response = self.response_ids(example.prompt, example.response)
        if not finished:
            response = response[:-1]
        if max_length is not None:
            response = response[: max(1, max_length - len(prompt))]
        return EncodedHelpful(prompt, response)

    def _find_tail(self) -> tuple[int, ...]:
        """Compare two responses: what they end in alike is the template's."""
        question = Conversation.from_text("?")
        try:
            first, second = (self._template(question, response=text) for text in ("a", "b"))
        except TokenizerError:
            return ()
        length = 0
        for one, other in zip(reversed(first), reversed(second), strict=False):
            if one != other:
                break
            length += 1
        return first[len(first) - length :]

    def _template(
        self,
        conversation: Conversation,
        *,
        response: str | None = None,
        add_generation_prompt: bool = False,
    ) -> tuple[int, ...]:
        messages = [{"role": m.role, "content": m.content} for m in conversation.messages]
        if response is not None:
            messages.append({"role": "assistant", "content": response})
        try:
            ids = self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=add_generation_prompt, return_dict=False
            )
        except Exception as error:  # templates raise whatever jinja or their author chose
            raise TokenizerError(f"the chat template refused this conversation: {error}") from error
        return tuple(ids)


@dataclass(frozen=True, slots=True)
class RowLimits:
    """How long an example may be, in tokens."""

    max_length: int
    """Of prompt and responses together."""
    max_harmful_length: int | None = None
    """Of a harmful response; the rest is cut."""
    max_helpful_length: int | None = None
    """Of a helpful response; the rest is cut."""
    overlong: Literal["error", "truncate", "skip"] = "error"
    """What happens to a row over `max_length`."""


def encoded_length(example: EncodedTriple | EncodedHelpful) -> int:
    """Count the tokens of prompt and responses together, as `RowLimits.max_length` does."""
    if isinstance(example, EncodedHelpful):
        return len(example.prompt_ids) + len(example.response_ids)
    return len(example.prompt_ids) + len(example.harmful_ids) + len(example.safe_ids)


def fit_row(
    row: Triple | HelpfulExample,
    limits: RowLimits,
    encoder: ChatEncoder,
    place: tuple[str, int],
    *,
    finished: bool = True,
) -> tuple[EncodedTriple | EncodedHelpful | None, InputProblem | None]:
    """Encode a row within the limits.

    Args:
        row: what to encode.
        limits: lengths, and what becomes of an over-long row.
        encoder: of the model that is trained.
        place: file and line, for the problem.
        finished: whether a helpful response ends where the model ended it.

    Returns:
        The example and None, None and what is wrong with the row, or twice None for an over-long
        row that is to be skipped.
    """
    path, line = place
    try:
        example = _cut(row, finished, limits, encoder, None)
        length = encoded_length(example)
        if length <= limits.max_length:
            return example, None
        if limits.overlong == "skip":
            return None, None
        if limits.overlong == "truncate":
            example = _cut(row, finished, limits, encoder, limits.max_length)
            # Cutting the response can't help where the prompt alone is too long.
            if encoded_length(example) <= limits.max_length:
                return example, None
    except TokenizerError as error:
        remedy = "Remove the row, or write its turns as the model's chat template wants them"
        return None, InputProblem(path, str(error).rstrip("."), remedy, line)
    (problem,) = overlong_problems(path, [(line, length)], limits.max_length)
    return None, problem


def _cut(
    row: Triple | HelpfulExample,
    finished: bool,
    limits: RowLimits,
    encoder: ChatEncoder,
    max_length: int | None,
) -> EncodedTriple | EncodedHelpful:
    """Encode a row, its harmful or helpful response cut to its own limit."""
    if isinstance(row, Triple):
        triple = encoder.triple(row, max_length)
        harmful = triple.harmful_ids[: limits.max_harmful_length]
        return EncodedTriple(triple.prompt_ids, triple.safe_ids, harmful)
    helpful = encoder.helpful(row, max_length, finished=finished)
    response = helpful.response_ids[: limits.max_helpful_length]
    return EncodedHelpful(helpful.prompt_ids, response)


def find_refusal_id(encoder: ChatEncoder, word: str = "Sorry") -> int:
    """Find the refusal token: the one token that `word` is at the beginning of a response.

    Raises:
        TokenizerError: the word is not one token there; the error names words that are.
    """
    question = Conversation.from_text("?")

    def ids_of(candidate: str) -> tuple[int, ...]:
        return encoder.prefix_ids(question, candidate)

    ids = ids_of(word) if word.strip() else ()
    if len(ids) == 1:
        return ids[0]
    usable = [w for w in _ALTERNATIVE_WORDS if w != word and len(ids_of(w)) == 1]
    pieces = [encoder.tokenizer.decode([token]) for token in ids]
    raise TokenizerError(
        f"the refusal word {word!r} is {len(ids)} tokens at the beginning of a response "
        f"({pieces}), but RTO needs one. "
        + (f"One token in this vocabulary: {', '.join(usable)}" if usable else "Choose another")
        + ". Set it with refusal_word=..., and let the safe responses begin with it"
    )
