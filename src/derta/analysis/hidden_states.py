"""The final hidden states of a model along given texts: what everything by position is read from.

One forward pass over a padded batch, and only the states that are wanted leave it; logits are the
caller's, chunk by chunk. Covered: any causal language model, and PEFT models with layers of their
own. Not covered: learnt prompts, which stand outside the model and would be left out; tensor
parallel models.

Shapes:  B rows, T tokens, S contexts, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from derta.data.models import has_learnt_prompt, inner_model
from derta.errors import ModelError
from derta.loss import configured_head

__all__ = ["Stretch", "check_head", "hidden_states", "only_reading"]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A row of tokens and the places in it whose hidden states are wanted."""

    input_ids: tuple[int, ...]
    first: int
    """The first place, counted from 0: the state after this token predicts the next one."""
    count: int
    """So many places, one after the other."""


@contextmanager
def only_reading(model: Any) -> Iterator[Any]:
    """Let a model be read without gradients, and leave its training mode as it was.

    Args:
        model: a causal language model, or a PEFT model around one.

    Yields:
        The causal language model inside.

    Raises:
        ModelError: its adapter is a learnt prompt.
    """
    if has_learnt_prompt(model):
        raise ModelError(
            "the adapter is a learnt prompt (prefix tuning or the like), which probabilities by "
            "position would leave out; measure a model with LoRA or whole weights"
        )
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield inner_model(model)
    finally:
        model.train(was_training)


def hidden_states(inner: Any, stretches: Sequence[Stretch]) -> torch.Tensor:
    """Compute the final hidden states of B rows at their places, (S, H), row after row.

    Args:
        inner: a causal language model.
        stretches: the rows; they are padded on the right.
    """
    device = inner.get_input_embeddings().weight.device
    length = max(len(each.input_ids) for each in stretches)
    # Padding comes last, so any id will do: no real token attends to it.
    input_ids = torch.zeros(len(stretches), length, dtype=torch.long)  # (B, T)
    attention_mask = torch.zeros_like(input_ids)
    places: list[int] = []
    for number, each in enumerate(stretches):
        ids = each.input_ids
        input_ids[number, : len(ids)] = torch.tensor(ids)
        attention_mask[number, : len(ids)] = 1
        first = number * length + each.first
        places.extend(range(first, first + each.count))
    states: torch.Tensor = inner.get_decoder()(
        input_ids=input_ids.to(device),
        attention_mask=attention_mask.to(device),
        use_cache=False,
    ).last_hidden_state.flatten(0, 1)  # (B * T, H)
    return states.index_select(0, torch.tensor(places, device=states.device))


def check_head(inner: Any, input_ids: Sequence[int]) -> None:
    """Compare our logits with the model's own on one short row: a wrong head is silent.

    Args:
        inner: a causal language model.
        input_ids: of the row.

    Raises:
        ModelError: the model's head does more than its configuration says.
    """
    device = inner.get_input_embeddings().weight.device
    ids = torch.tensor([list(input_ids)], device=device)
    own = inner(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1].float()
    hidden = inner.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[0, -1:]
    ours = configured_head(inner).logits(hidden)[0].float()
    tolerance = 1e-3 if hidden.dtype in (torch.float32, torch.float64) else 0.1
    if not torch.allclose(own, ours, rtol=tolerance, atol=tolerance * float(own.std())):
        raise ModelError(
            f"the output head of {type(inner).__name__} does more than its configuration says, "
            "so probabilities by position can't be measured. Use a model of a plain family "
            "(Llama, Mistral, Qwen, Gemma, ...)"
        )
