"""LoRA on a model, as a recipe says.

Covered: the upper layers only, linear layers by name, and weights that are no linear layers (a
MoE's experts). Not covered: the fused forward of the adapters (`derta.train.adapters`).
"""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Iterator
from typing import Any

from derta.errors import RecipeError
from derta.train.recipe_fields import LoraRecipe

__all__ = ["add_adapter", "without_foreign_warnings"]

_REMEDY = "Set lora.target_modules=all-linear and lora.upper_layers=1.0"


def add_adapter(model: Any, lora: LoraRecipe) -> Any:
    """Put LoRA on the model.

    Its first weights are drawn from torch's global generator.

    Raises:
        RecipeError: `lora.target_modules` or `lora.target_parameters` names what the model doesn't
            have, or the family's adapters can't be kept to the upper layers.
    """
    from peft import LoraConfig, get_peft_model

    layers = model.config.get_text_config().num_hidden_layers
    left_out = layers - math.ceil(lora.upper_layers * layers)
    upper = "|".join(map(str, range(left_out, layers)))
    settings = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        target_parameters=lora.target_parameters,
        # Everything that isn't in one of the upper layers.
        exclude_modules=rf"(?!.*\.layers\.({upper})\.).*" if left_out else None,
        task_type="CAUSAL_LM",
    )
    try:
        with without_foreign_warnings():
            adapted: Any = get_peft_model(model, settings)
    except ValueError as error:  # peft's, for names that the model doesn't have
        reason = str(error).rstrip(".")
        raise RecipeError(f"lora.target_modules can't be used here: {reason}. {_REMEDY}") from error
    _check_names(adapted, lora)
    for name, parameter in adapted.named_parameters():
        place = re.search(r"\.layers\.(\d+)\.", name)
        if parameter.requires_grad and left_out and (not place or int(place[1]) < left_out):
            raise RecipeError(
                f"lora.upper_layers: PEFT can't leave out {name!r}, so adapters of model family "
                f"{model.config.model_type!r} can't be kept to the upper layers. {_REMEDY}"
            )
    return adapted


def _check_names(adapted: Any, lora: LoraRecipe) -> None:
    """Raise if one of several names was found nowhere: PEFT complains only if all are wrong."""
    modules = adapted.targeted_module_names
    wanted = lora.target_modules if isinstance(lora.target_modules, list) else []
    # Experts' layers under their old names (w1) are weights today; PEFT has moved them there.
    as_modules = adapted.peft_config["default"].target_modules
    for name in wanted:
        found = any(module == name or module.endswith(f".{name}") for module in modules)
        if name in as_modules and not found:
            raise RecipeError(f"lora.target_modules: no module is called {name!r}. {_REMEDY}")
    parameters = adapted.targeted_parameter_names
    for name in lora.target_parameters or ():
        if not any(found == name or found.endswith(f".{name}") for found in parameters):
            raise RecipeError(
                f"lora.target_parameters: no weight is called {name!r}. Name weights as the "
                "model's state dict has them (mlp.experts.down_proj), or set it to null"
            )


@contextlib.contextmanager
def without_foreign_warnings() -> Iterator[None]:
    """Hide warnings that peft and transformers cause in each other; a user can do nothing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
        # Names that were found nowhere are an error of ours.
        warnings.filterwarnings("ignore", message=".*were set but no (module|parameter) was")
        # Said of a mixture's experts, whose ranks do follow the pattern.
        warnings.filterwarnings("ignore", message=".*_pattern keys did not match any targeted")
        yield
