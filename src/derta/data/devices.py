"""Where a model that answers or is read does its work: on the first GPU, else on the CPU.

Covered: one CUDA device a process; in a run of several processes each takes its own (LOCAL_RANK).
Not covered: training, whose Trainer moves its model itself; merging an adapter, which is done on
the CPU; a model that is too large for one GPU; Apple's mps.
"""

from __future__ import annotations

import os
from typing import Any

from derta.errors import ModelError

__all__ = ["inference_device", "place_for_inference"]


def inference_device() -> str:
    """Name the device of this process: "cpu", or "cuda:0" and the like."""
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    local = int(os.environ.get("LOCAL_RANK", "0"))
    return f"cuda:{local % max(1, torch.cuda.device_count())}"


def place_for_inference(model: Any, name: str) -> Any:
    """Move a model to the device of this process, and set it to evaluation.

    One that was loaded onto a device already, as quantised weights are, stays there.

    Args:
        model: a transformers causal language model, or a PEFT model around one.
        name: what a message calls it.

    Returns:
        The same model.

    Raises:
        ModelError: the GPU has too little free memory.
    """
    import torch

    device = inference_device()
    if device != "cpu" and model.device.type == "cpu":
        try:
            model.to(device)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{name}: the memory of {device} is too small for its weights; derta puts a model "
                "on one GPU as a whole. End what else runs there, choose another GPU "
                "(CUDA_VISIBLE_DEVICES=1), compute on the CPU (CUDA_VISIBLE_DEVICES=), or, to ask "
                "it only, serve it over several GPUs and name it as a provider's model"
            ) from error
    return model.eval()
