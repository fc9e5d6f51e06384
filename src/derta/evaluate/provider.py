"""An inspect-ai model provider for local transformers models.

inspect-ai's own `hf` provider has no prefill, sends "user: ..." instead of raw text, doubles the
BOS token and loads from a path only; this one does without all that.

- A last message of the assistant is a prefix that the model continues. Its token ids may be given
  exactly, as metadata {"prefill_ids": [...]}: a cut token sequence does not survive being decoded
  and encoded again.
- A user message with metadata {"raw_text": true} is sent without a chat template: nothing but the
  tokenizer's own BOS stands before it.
- Decoding is greedy unless a temperature is set; then temperature, top_p, top_k and seed count. The
  last message's metadata {"seed": 7} wins over the configuration's: several samples of one prompt
  need different seeds.
- The last message's metadata {"rank_assisted": {"reference_ids": [...], "steps": 20, "top": 20}}
  asks for `derta.evaluate.rank_assisted`; how much was forced is in the output's metadata.

Covered: text by a model in memory, or by any reference of `derta.evaluate.local_models`
(`derta/<reference>`). Not covered: tools, images, log probabilities, several choices in one call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
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
    ModelInfo,
    ModelOutput,
    ModelUsage,
    modelapi,
    set_model_info,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from derta.data.encode import ChatEncoder
from derta.errors import ModelError
from derta.evaluate.batching import DEFAULT_BATCH_SIZE, BatchGenerator, Generated
from derta.evaluate.choosing import Sampling
from derta.evaluate.local_models import load_local_model, make_local_encoder
from derta.evaluate.rank_assisted import RankAssisted
from derta.matmul import onednn_matmul
from derta.memory import keep_freed_memory
from derta.triple import Conversation, Message

__all__ = [
    "PREFILL_IDS",
    "RANK_ASSISTED",
    "RAW_TEXT",
    "SEED",
    "LocalModelAPI",
    "input_token_ids",
    "local_model",
]

PREFILL_IDS = "prefill_ids"
"""Metadata of a last assistant message: its exact token ids."""
RAW_TEXT = "raw_text"
"""Metadata of a lone user message: True sends it without a chat template."""
SEED = "seed"
"""Metadata of a last message: the seed of its sampling, before that of the configuration."""
RANK_ASSISTED = "rank_assisted"
"""Metadata of a last message: `reference_ids` (may be empty), `steps` and `top`. Also metadata of
the output: `steered_tokens`, `forced_tokens`, and `forced_characters`, the length of the text up to
the last token that was not the model's first choice."""

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
        torch_model: Any = None,
        encoder: ChatEncoder | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        on_finished: Callable[[], None] | None = None,
    ) -> None:
        """Make the provider.

        Args:
            model_name: a name for the logs; without a model in memory, the reference to load
                (`derta.evaluate.local_models`).
            base_url: not used; part of inspect-ai's signature.
            api_key: not used.
            config: inspect-ai's generation settings.
            torch_model: in memory; given with the encoder or not at all.
            encoder: of its tokenizer.
            batch_size: rows a batch at most (`inspect eval ... -M batch_size=32`).
            on_finished: called on the event loop after every finished request.

        Raises:
            ModelError: the reference can't be loaded, or the batch size is no size.
        """
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ModelError(f"batch_size is {batch_size!r}; give a whole number, 1 or more")
        self._held = contextlib.ExitStack()
        if torch_model is None or encoder is None:
            keep_freed_memory()
            local = load_local_model(model_name)
            torch_model = local.model
            encoder = make_local_encoder(local.tokenizer, model_name)
            # Loaded for this provider, so it is fast for as long as this provider is open.
            self._held.enter_context(onednn_matmul())
        self.torch_model = torch_model
        """The model itself, for attacks that read gradients or losses."""
        self.encoder = encoder
        """Its tokenizer with its chat template."""
        # inspect-ai looks a model up for its log; one that it doesn't know it would open anew by
        # its name: another copy of the weights, or a question to the hub about a name of ours.
        reads = getattr(getattr(torch_model, "config", None), "max_position_embeddings", None)
        set_model_info(f"derta/{model_name}", ModelInfo(model=model_name, context_length=reads))
        self._generator = _generator(torch_model, encoder.tokenizer, batch_size)
        self._on_finished = on_finished

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,  # noqa: ARG002  # inspect-ai's signature
        config: GenerateConfig,
    ) -> ModelOutput:
        """Generate from messages.

        Raises:
            ModelError: the request asks for what this provider does not do, or is longer than
                the model reads; other requests go on.
        """
        if tools:
            raise ModelError("local models are called without tools here; remove the tools")
        if config.num_choices is not None and config.num_choices > 1:
            raise ModelError(
                f"num_choices is {config.num_choices}: a local model gives one answer a call. Ask "
                "several times with different seeds"
            )
        input_ids = input_token_ids(self.encoder, input)
        max_tokens = config.max_tokens or DEFAULT_MAX_TOKENS
        metadata = input[-1].metadata or {}
        steering = None
        if metadata.get(RANK_ASSISTED) is not None:
            steering = RankAssisted.from_values(metadata[RANK_ASSISTED], self.encoder.tokenizer)
        # The future is a plain thread one; no asyncio object outlives this call, since every
        # evaluation has an event loop of its own.
        result = await asyncio.wrap_future(
            self._generator.submit(
                input_ids, max_tokens, sampling=_sampling(config, metadata), steering=steering
            )
        )
        text = self._text(result.token_ids)
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
            metadata=None if steering is None else {RANK_ASSISTED: self._forced(result, text)},
        )

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.encoder.tokenizer.decode(ids, skip_special_tokens=True))

    def _forced(self, result: Generated, text: str) -> dict[str, int]:
        """Say which part of a text was not left to the model."""
        head = self._text(result.token_ids[: result.forced_head])
        while not text.startswith(head):
            head = head[:-1]  # a character may be cut between two tokens
        return {
            "steered_tokens": result.steered,
            "forced_tokens": result.forced,
            "forced_characters": len(head),
        }

    def max_connections(self) -> int:
        """Let all requests in: the generator forms the batches."""
        return MANY

    def max_tokens(self) -> int | None:
        """New tokens where an evaluation does not say."""
        return DEFAULT_MAX_TOKENS

    def close(self) -> None:
        """End the worker thread; a model in memory stays the caller's."""
        self._generator.close()
        self._held.close()


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
        torch_model=model,
        encoder=encoder,
        batch_size=batch_size,
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


def _generator(model: Any, tokenizer: Any, batch_size: int) -> BatchGenerator:
    end: int = tokenizer.eos_token_id
    pad = tokenizer.pad_token_id
    return BatchGenerator(
        model, end_ids=[end], pad_id=end if pad is None else pad, batch_size=batch_size
    )


def _sampling(config: GenerateConfig, metadata: Mapping[str, Any]) -> Sampling | None:
    """Read how tokens are drawn; None for greedy decoding."""
    if not config.temperature:
        return None
    seed = metadata.get(SEED, config.seed)
    return Sampling(
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        seed=0 if seed is None else int(seed),
    )
