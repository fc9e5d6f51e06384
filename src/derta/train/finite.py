"""Training stops at a loss or gradient that is no number, before it spoils the weights.

The Trainer's own way is to hide such a loss from the log and to go on. Covered: any trainer of
transformers' family. DeepSpeed has made the step by the time that is looked at, so there only the
checkpoints are safe. Not covered: why it happened; the message names what to try.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from derta.errors import ModelError

if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
else:
    _Trainer = object

__all__ = ["StopsAtNonFinite"]


class StopsAtNonFinite(_Trainer):
    """Mixed into a Trainer, before it: `class Mine(StopsAtNonFinite, Trainer)`."""

    _loss_of_step: Tensor | None = None

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Compute a micro-batch, and keep its loss for the look before the optimizer's step."""
        loss: Tensor = super().training_step(*args, **kwargs)
        kept = self._loss_of_step
        self._loss_of_step = loss.detach() if kept is None else kept + loss.detach()
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Look at loss and gradients: the Trainer asks for the norm right before each step.

        Raises:
            ModelError: one of them is no number, in this process or another.
        """
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]  # the Trainer's
        loss, self._loss_of_step = self._loss_of_step, None
        device = self.args.device
        seen = torch.stack(
            [
                torch.zeros((), device=device) if loss is None else loss.float().to(device),
                torch.as_tensor(0.0 if norm is None else _whole(norm)).float().to(device),
            ]
        )
        # float16's loss scaling makes infinite gradients on purpose and skips such a step.
        scaled = self.accelerator.scaler is not None or (
            self.is_deepspeed_enabled and self.args.fp16
        )
        judged = seen[:1] if scaled else seen
        bad = (~judged.isfinite()).any().float()
        if float(self.accelerator.reduce(bad, reduction="sum")):
            raise ModelError(
                f"training stopped before step {self.state.global_step + 1}: the loss is "
                f"{float(seen[0]):g} and the gradients' norm {float(seen[1]):g}. The weights are "
                "those of the last checkpoint. Lower trainer.learning_rate, set "
                "trainer.max_grad_norm=1.0, or train in float32 (dtype=float32, bf16 off); the "
                "same command with the same recipe would stop here again"
            )
        return norm

    def _run_epoch(self, *args: Any, **kwargs: Any) -> Any:
        """Train an epoch; a run that resumes behind its last step makes no step more."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return None
        return super()._run_epoch(*args, **kwargs)  # type: ignore[no-untyped-call]  # the Trainer's


def _whole(norm: Any) -> Any:
    """Return a norm that is divided among processes (a DTensor) as one number."""
    if hasattr(norm, "full_tensor"):
        norm = norm.full_tensor()
    return norm.detach() if isinstance(norm, Tensor) else norm
