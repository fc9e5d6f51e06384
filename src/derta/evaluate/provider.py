"""An inspect-ai model provider for local transformers models.

inspect-ai's own `hf` provider has no prefill, sends "user: ..." instead of raw text, doubles the
BOS token and loads from a path only; this one does without all that.

- A last message of the assistant is a prefix that the model continues. Its token ids may be given
  exactly, as metadata {"prefill_ids": [...]}: a cut token sequence does not survive being decoded
  and encoded again.
- A user message with metadata {"raw_text": true} is sent without a chat template: nothing but the
  tokenizer's own BOS stands before it.

Covered: greedy decoding of text by a model in memory or in a folder (`derta/<folder>`). Not
covered: sampling, tools, images, log probabilities.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from derta.data.encode import ChatEncoder
from derta.errors import ModelError
from derta.evaluate.batching import DEFAULT_BATCH_SIZE, BatchGenerator
from derta.triple import Conversation, Message

__all__ = ["PREFILL_IDS", "RAW_TEXT", "LocalModelAPI", "input_token_ids", "local_model"]

PREFILL_IDS = "prefill_ids"
"""Metadata of a last assistant message: its exact token ids."""
RAW_TEXT = "raw_text"
"""Metadata of a lone user message: True sends it without a chat template."""

DEFAULT_MAX_TOKENS = 64
MANY = 100_000
"""Requests in flight: all of an evaluation's, so that batches hold prompts that begin alike."""


class LocalModelAPI(ModelAPI):
    """Generates with a transformers model in this process."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        *,
        generator: BatchGenerator | None = None,
        encoder: ChatEncoder | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        on_finished: Callable[[], None] | None = None,
    ) -> None:
        """Make the provider.

        Args:
            model_name: a name for the logs; without a generator, the folder to load from.
            base_url: not used; part of inspect-ai's signature.
            api_key: not used.
            config: inspect-ai's generation settings.
            generator: of a model in memory.
            encoder: of its tokenizer; given with the generator or not at all.
            batch_size: rows a batch at most, where the model is loaded here.
            on_finished: called on the event loop after every finished request.

        Raises:
            ModelError: the folder can't be loaded.
        """
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        if generator is None or encoder is None:
            encoder, generator = _load(Path(model_name), batch_size)
        self._generator = generator
        self._encoder = encoder
        self._on_finished = on_finished

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,  # noqa: ARG002  # inspect-ai's signature
        config: GenerateConfig,
    ) -> ModelOutput:
        """Generate greedily from messages.

        Raises:
            ModelError: the request asks for what this provider does not do.
        """
        if tools:
            raise ModelError("local models are called without tools here; remove the tools")
        if config.temperature:
            raise ModelError(
                f"temperature {config.temperature}: local models decode greedily here. "
                "Leave it out or set it to 0"
            )
        input_ids = input_token_ids(self._encoder, input)
        max_tokens = config.max_tokens or DEFAULT_MAX_TOKENS
        # The future is a plain thread one; no asyncio object outlives this call, since every
        # evaluation has an event loop of its own.
        result = await asyncio.wrap_future(self._generator.submit(input_ids, max_tokens))
        text = self._encoder.tokenizer.decode(result.token_ids, skip_special_tokens=True)
        if self._on_finished is not None:
            self._on_finished()
        produced = len(result.token_ids) + int(result.finished)
        return ModelOutput(
            model=self.model_name,
            choices=[
                ChatCompletionChoice(
                    message=ChatMessageAssistant(
                        content=text, model=self.model_name, source="generate"
                    ),
                    stop_reason="stop" if result.finished else "max_tokens",
                )
            ],
            usage=ModelUsage(
                input_tokens=len(input_ids),
                output_tokens=produced,
                total_tokens=len(input_ids) + produced,
            ),
        )

    def max_connections(self) -> int:
        """Let all requests in: the generator forms the batches."""
        return MANY

    def max_tokens(self) -> int | None:
        """New tokens where an evaluation does not say."""
        return DEFAULT_MAX_TOKENS

    def close(self) -> None:
        """End the worker thread; a model in memory stays the caller's."""
        self._generator.close()


@modelapi("derta")
def _registered() -> type[ModelAPI]:
    # The decorator replaces what it stands on by a function that makes instances, so it must not
    # stand on the class itself. Instances made through it carry the registry entry that
    # inspect-ai needs to name them.
    return LocalModelAPI


def local_model(
    model: Any,
    tokenizer: Any,
    name: str,
    batch_size: int = DEFAULT_BATCH_SIZE,
    *,
    on_finished: Callable[[], None] | None = None,
) -> Model:
    """Wrap a model in memory for inspect-ai.

    Args:
        model: a transformers causal language model, or a PEFT model around one.
        tokenizer: its tokenizer, with a chat template.
        name: what the logs call it ("derta/<name>").
        batch_size: rows a batch at most.
        on_finished: called after every finished request.

    Returns:
        A model to give to `inspect_ai.eval`; call its `api.close()` when no more is asked of it.

    Raises:
        TokenizerError: the tokenizer has no chat template or no end-of-text token.
    """
    encoder = ChatEncoder(tokenizer)
    create: Any = _registered
    api: ModelAPI = create(
        model_name=name,
        generator=_generator(model, tokenizer, batch_size),
        encoder=encoder,
        on_finished=on_finished,
    )
    wrapped = Model(api, GenerateConfig())
    api.qualified_model_name = str(wrapped)
    return wrapped


def input_token_ids(encoder: ChatEncoder, messages: list[ChatMessage]) -> tuple[int, ...]:
    """Encode messages into exactly the ids that the model continues.

    Raises:
        ModelError: a message's role or place can't be served.
    """
    if not messages:
        raise ModelError("there is no message to answer")
    last = messages[-1]
    if isinstance(last, ChatMessageUser) and (last.metadata or {}).get(RAW_TEXT):
        if len(messages) > 1:
            raise ModelError("raw text has no turns: give it as the only message")
        return encoder.raw_ids(last.text)
    before = messages[:-1] if isinstance(last, ChatMessageAssistant) else messages
    conversation = Conversation(tuple(_message(message) for message in before))
    if not isinstance(last, ChatMessageAssistant):
        return encoder.prompt_ids(conversation)
    if not before:
        raise ModelError("a prefilled response needs a question before it")
    exact = (last.metadata or {}).get(PREFILL_IDS)
    prefix = tuple(exact) if exact is not None else encoder.prefix_ids(conversation, last.text)
    return encoder.prompt_ids(conversation) + prefix


def _message(message: ChatMessage) -> Message:
    if not isinstance(message, (ChatMessageSystem, ChatMessageUser, ChatMessageAssistant)):
        raise ModelError(f"a message of role {message.role!r} can't be given to a local model")
    return Message(message.role, message.text)


def _generator(
    model: Any,
    tokenizer: Any,
    batch_size: int,
) -> BatchGenerator:
    end: int = tokenizer.eos_token_id
    pad = tokenizer.pad_token_id
    return BatchGenerator(
        model, end_ids=[end], pad_id=end if pad is None else pad, batch_size=batch_size
    )


def _load(folder: Path, batch_size: int) -> tuple[ChatEncoder, BatchGenerator]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    remedy = "Give a folder with config.json, weights and tokenizer, as `derta train` writes it"
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: there is no model (config.json is missing). {remedy}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: can't be loaded ({error}). {remedy}") from error
    return ChatEncoder(tokenizer), _generator(model, tokenizer, batch_size)
