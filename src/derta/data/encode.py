"""Conversations and responses as token ids, in the model's own chat template.

The response is whatever the template puts after the generation prompt, up to the end-of-turn
token, so that training sees exactly the ids that generation starts from. Covered: any tokenizer
with a chat template; a base model's may be given one (`derta.data.models.load_tokenizer`); refusal
words as tokens, one for all triples or one for each language. Not covered: prompts without any
format.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from derta.data.files import overlong_problems
from derta.data.languages import LANGUAGES, code_of, detect_language, says_language
from derta.errors import InputProblem, TokenizerError
from derta.rows import EncodedHelpful, EncodedTriple
from derta.triple import Conversation, HelpfulExample, Triple

__all__ = [
    "ChatEncoder",
    "RefusalTokens",
    "RefusalWords",
    "RowLimits",
    "encoded_length",
    "find_refusal_id",
    "find_refusal_tokens",
    "fit_row",
]

_ALTERNATIVE_WORDS: tuple[str, ...] = (
    "Sorry", "sorry", "Unfortunately", "I", "No", "Apologies", "Stop", "Cannot", "Sor",
)  # fmt: skip
_LANGUAGE_CODE = re.compile(r"([a-z]{2})(?:[-_].*)?")


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
    language: str | None = None,
) -> tuple[EncodedTriple | EncodedHelpful | None, InputProblem | None]:
    """Encode a row within the limits.

    Args:
        row: what to encode.
        limits: lengths, and what becomes of an over-long row.
        encoder: of the model that is trained.
        place: file and line, for the problem.
        finished: whether a helpful response ends where the model ended it.
        language: of a triple, where languages have refusal words of their own.

    Returns:
        The example and None, None and what is wrong with the row, or twice None for an over-long
        row that is to be skipped.
    """
    path, line = place
    try:
        example = _cut(row, (finished, language), limits, encoder, None)
        length = encoded_length(example)
        if length <= limits.max_length:
            return example, None
        if limits.overlong == "skip":
            return None, None
        if limits.overlong == "truncate":
            example = _cut(row, (finished, language), limits, encoder, limits.max_length)
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
    known: tuple[bool, str | None],
    limits: RowLimits,
    encoder: ChatEncoder,
    max_length: int | None,
) -> EncodedTriple | EncodedHelpful:
    """Encode a row, its harmful or helpful response cut to its own limit."""
    finished, language = known
    if isinstance(row, Triple):
        triple = encoder.triple(row, max_length)
        harmful = triple.harmful_ids[: limits.max_harmful_length]
        return EncodedTriple(triple.prompt_ids, triple.safe_ids, harmful, language)
    helpful = encoder.helpful(row, max_length, finished=finished)
    response = helpful.response_ids[: limits.max_helpful_length]
    return EncodedHelpful(helpful.prompt_ids, response)


# --- refusal words -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RefusalWords:
    """Which words the refusals of a run begin with, as a recipe says it."""

    default: str = "Sorry"
    """Of every language that has no word of its own."""
    by_language: Mapping[str, str] | None = field(default_factory=dict)
    """ISO 639-1 code -> word. None: whatever language of `derta.data.languages` the data hold has
    the table's word."""

    def language_of(self, column: object, safe_response: str) -> str | None:
        """Say which language's refusal word is a triple's.

        Args:
            column: what its column `language` holds: a code (zh, zh-CN) or an English name; None,
                "na" and the like say nothing.
            safe_response: where the column says nothing, its first word decides if it is one of
                the refusal words, else its language.

        Returns:
            An ISO 639-1 code; None: the language isn't known, or the default's word is meant.
        """
        if isinstance(column, str) and says_language(column):
            found = _LANGUAGE_CODE.fullmatch(column.strip().lower())
            code = code_of(column) or (found[1] if found else None)
            if code is not None:
                return code
        text = safe_response.lstrip()
        own = self.by_language
        if own is None:
            own = {code: entry.refusal_words[0] for code, entry in LANGUAGES.items()}
        words: list[tuple[str, str | None]] = [(self.default, None)]
        words += [(word, code) for code, word in own.items()]
        for word, code in sorted(words, key=lambda each: -len(each[0])):
            if _begins(text, word):
                return code
        return detect_language(text)


@dataclass(frozen=True, slots=True)
class RefusalTokens:
    """The refusal words of a run, each with its token."""

    word: str
    """The default."""
    token_id: int
    words: Mapping[str, str] = field(default_factory=dict)
    """Of the languages that have one of their own, by ISO 639-1 code."""
    ids: Mapping[str, int] = field(default_factory=dict)
    """Of the same languages."""

    @property
    def all_words(self) -> tuple[str, ...]:
        """Every word once, the default first."""
        return tuple(dict.fromkeys((self.word, *self.words.values())))

    def word_of(self, language: str | None) -> str:
        """Return a language's word, or the default."""
        return self.word if language is None else self.words.get(language, self.word)

    def described(self, triples: Mapping[str | None, int]) -> dict[str, dict[str, str | int]]:
        """Tell word, token and number of triples, by language; the default under `default`.

        Args:
            triples: how many triples of each language there are.
        """
        counts: Counter[str] = Counter()
        for language, count in triples.items():
            known = language is not None and language in self.words
            counts[str(language) if known else "default"] += count
        told = {"default": (self.word, self.token_id)}
        told |= {code: (word, self.ids[code]) for code, word in self.words.items()}
        return {
            name: {"word": word, "token_id": token_id, "triples": counts[name]}
            for name, (word, token_id) in told.items()
        }


def find_refusal_tokens(
    encoder: ChatEncoder, words: RefusalWords, languages: Iterable[str | None] = ()
) -> RefusalTokens:
    """Find the token of each refusal word.

    Args:
        encoder: of the model that is trained.
        words: what the recipe says.
        languages: those of the triples, where the recipe leaves the words to the table.

    Raises:
        TokenizerError: a word is not one token; all of them are listed.
    """
    chosen = words.by_language
    if chosen is None:
        # The default is what its own language refuses with, whatever the table says.
        own = (c for c, entry in LANGUAGES.items() if words.default in entry.refusal_words)
        held = set(languages) - {next(own, "en")}
        chosen = {c: entry.refusal_words[0] for c, entry in LANGUAGES.items() if c in held}
    wanted: list[tuple[str | None, str]] = [(None, words.default), *chosen.items()]
    ids: dict[str | None, int] = {}
    problems = []
    for language, word in wanted:
        try:
            ids[language] = find_refusal_id(encoder, word, language)
        except TokenizerError as error:
            problems.append(str(error))
    if problems:
        raise TokenizerError("\n".join(problems))
    return RefusalTokens(
        words.default, ids[None], dict(chosen), {language: ids[language] for language in chosen}
    )


def find_refusal_id(encoder: ChatEncoder, word: str = "Sorry", language: str | None = None) -> int:
    """Find the refusal token: the one token that `word` is at the beginning of a response.

    Args:
        encoder: of the model that is trained.
        word: the refusal word.
        language: whose word it is, for the error; None: of all that have none of their own.

    Raises:
        TokenizerError: the word is not one token there; the error names words that are.
    """
    question = Conversation.from_text("?")

    def ids_of(candidate: str) -> tuple[int, ...]:
        return encoder.prefix_ids(question, candidate)

    ids = ids_of(word) if word.strip() else ()
    if len(ids) == 1:
        return ids[0]
    alternatives, of, key = _ALTERNATIVE_WORDS, "", "refusal_word=..."
    if language is not None:
        entry = LANGUAGES.get(language)
        of = f" of {language}" if entry is None else f" of {entry.name}"
        phrases = () if entry is None else entry.refusal_words
        alternatives = tuple(dict.fromkeys((*phrases, *(each.split()[0] for each in phrases))))
        key = f"refusal_words={{{language}: ...}} (a language left out there gets refusal_word)"
    usable = [w for w in alternatives if w != word and len(ids_of(w)) == 1]
    pieces = [encoder.tokenizer.decode([token]) for token in ids]
    raise TokenizerError(
        f"the refusal word {word!r}{of} is {len(ids)} tokens at the beginning of a response "
        f"({pieces}), but RTO needs one. "
        + (f"One token in this vocabulary: {', '.join(usable)}" if usable else "Choose another")
        + f". Set it with {key}, and let the safe responses begin with it"
    )


def _begins(text: str, word: str) -> bool:
    """Say whether a text begins with a word, not merely with its letters ("No", "Normally")."""
    # Scripts that have no capitals, as Chinese, put no blank behind a word either.
    spaced = word[-1:].lower() != word[-1:].upper()
    return text.startswith(word) and not (spaced and text[len(word) : len(word) + 1].isalpha())
