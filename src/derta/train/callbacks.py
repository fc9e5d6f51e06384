"""Callbacks for transformers' Trainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

__all__ = ["ReportLog", "ReportProgress"]


class ReportProgress(TrainerCallback):
    """Tells a function how many optimizer steps are done."""

    def __init__(self, progress: Callable[[int, int], None]) -> None:
        """Report to `progress(done, total)`."""
        self.progress = progress

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002  # the Trainer's signature
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002  # the Trainer's signature
        **kwargs: Any,  # noqa: ARG002  # the Trainer's signature
    ) -> None:
        """Report where training begins: not at 0 when it continues."""
        self.progress(state.global_step, state.max_steps)

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002  # the Trainer's signature
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002  # the Trainer's signature
        **kwargs: Any,  # noqa: ARG002  # the Trainer's signature
    ) -> None:
        """Report a finished step."""
        self.progress(state.global_step, state.max_steps)


class ReportLog(TrainerCallback):
    """Tells a function at every checkpoint what has been logged so far."""

    def __init__(self, report: Callable[[list[dict[str, float]]], object]) -> None:
        """Report the entries with a loss to `report`."""
        self.report = report

    def on_save(
        self,
        args: TrainingArguments,  # noqa: ARG002  # the Trainer's signature
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002  # the Trainer's signature
        **kwargs: Any,  # noqa: ARG002  # the Trainer's signature
    ) -> None:
        """Report what the state holds."""
        self.report([dict(entry) for entry in state.log_history if "loss" in entry])
