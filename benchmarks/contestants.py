"""The trainers that are compared, each on the same rows in the same steps.

authors   a loop in the manner of the authors' script: right-padded rows, all logits in float32,
          labels replaced one by one
stock     transformers' Trainer on right-padded rows with labels, the model's own loss
trl       TRL's SFTTrainer on the same rows with labels
derta     ours, with the levers that its options name

Everything else is equal: model, LoRA r 16 on all linear layers, float32, AdamW, learning rate,
gradient clipping, no gradient checkpointing. The first step is a warm-up and not timed.

Shapes:  B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments

from benchmarks.workloads import labelled
from derta.data.epoch import EpochSampler, TrainingExamples
from derta.matmul import onednn_matmul
from derta.memory import keep_freed_memory
from derta.rows import TrainingRow
from derta.train.collate import RowCollator
from derta.train.trainer import DertaTrainer

__all__ = ["Measured", "Setting", "train"]

LEARNING_RATE = 1e-4
Batch = dict[str, Tensor]


@dataclass(slots=True)
class Measured:
    """What training some steps took; the warm-up step is in none of it."""

    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    """Tokens that went through the model in each step, padding included."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The same for all contestants."""

    model: Any
    tokenizer: Any
    examples: TrainingExamples
    """In the order of the steps, the warm-up step first."""
    batch: int
    """Examples in a step."""

    @property
    def pad_id(self) -> int:
        """Return the id that rows are padded with."""
        return int(self.tokenizer.pad_token_id or self.tokenizer.eos_token_id)

    def steps(self) -> list[list[TrainingRow]]:
        """Return the plain rows of each step."""
        groups = [self.examples.rows(0, index) for index in range(len(self.examples))]
        return [
            [row for group in groups[start : start + self.batch] for row in group]
            for start in range(0, len(groups), self.batch)
        ]


def train(kind: str, setting: Setting, options: dict[str, Any]) -> Measured:
    """Train with one contestant.

    Args:
        kind: authors, stock, trl or derta.
        setting: the same for all.
        options: `onednn`, `memory` (any kind); `accumulate`, `by_length` (trl); `rows`, `blocks`,
            `adapters`, `pack_tokens`, `chosen` (derta).
    """
    options = dict(options)
    if options.pop("memory", False):
        keep_freed_memory()
    with onednn_matmul(enabled=None if options.pop("onednn", False) else False):
        return _KINDS[kind](setting, **options)


def _authors(setting: Setting) -> Measured:
    model = setting.model
    parameters = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.0)
    measured = Measured()
    model.train()
    for rows in setting.steps():
        started = time.perf_counter()
        batch = _padded(rows, setting.pad_id)
        labels = torch.full_like(batch["input_ids"], -100)
        for index, row in enumerate(rows):
            for position, target in zip(row.target_positions, row.target_ids, strict=True):
                labels[index, position + 1] = target
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        logits = model(**inputs).logits.float()  # (B, T, V)
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1)
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        measured.seconds.append(time.perf_counter() - started)
        measured.losses.append(float(loss.detach()))
        measured.tokens.append(batch["input_ids"].numel())
    for values in (measured.seconds, measured.losses, measured.tokens):
        del values[0]
    return measured


def _stock(setting: Setting) -> Measured:
    rows = _labelled_rows(setting)
    count = _rows_of_a_step(setting)

    def collate(chosen: Sequence[dict[str, Any]]) -> Batch:
        return _pad(chosen, setting.pad_id)

    with _arguments(setting, count, train_sampling_strategy="sequential") as arguments:
        return _run(
            lambda collator, callbacks: Trainer(
                model=setting.model,
                args=TrainingArguments(**arguments),
                train_dataset=rows,  # type: ignore[arg-type]  # a list is a map-style data set
                data_collator=collator,
                callbacks=callbacks,
            ),
            collate,
        )


def _trl(setting: Setting, accumulate: int = 1, by_length: bool = False) -> Measured:
    """Train with SFTTrainer.

    Args:
        setting: the same for all.
        accumulate: micro-batches of a step.
        by_length: each step's rows are sorted, so that rows of a micro-batch are padded little. The
            sampler for that, `group_by_length`, would move rows from step to step.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    count = _rows_of_a_step(setting)
    if count % accumulate:
        raise ValueError(f"{count} rows of a step can't be split into {accumulate} micro-batches")
    data = Dataset.from_list(_labelled_rows(setting, by_length))
    with _arguments(
        setting,
        count // accumulate,
        gradient_accumulation_steps=accumulate,
        train_sampling_strategy="sequential",
        max_length=None,
        gradient_checkpointing=False,
    ) as arguments:

        def make(collator: Any, callbacks: list[TrainerCallback]) -> Trainer:
            trainer = SFTTrainer(
                model=setting.model,
                args=SFTConfig(**arguments),
                train_dataset=data,
                processing_class=setting.tokenizer,
                callbacks=callbacks,
            )
            collator.inner = trainer.data_collator
            trainer.data_collator = collator
            return trainer  # type: ignore[no-any-return]

        return _run(make, None, accumulate)


class _InOrder(EpochSampler):
    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter([(0, index) for index in range(self.size)])


class _DertaInOrder(DertaTrainer):
    def sampler(self) -> EpochSampler:
        return _InOrder(len(self.examples), self.args.per_device_train_batch_size, 0)


def _derta(
    setting: Setting,
    rows: str = "packed",
    blocks: bool = True,
    adapters: bool = True,
    pack_tokens: int = 2048,
    chosen: bool = True,
) -> Measured:
    """Train with ours.

    Args:
        setting: the same for all.
        rows: plain, trees (one for each example, padded together) or packed.
        blocks: attention in blocks where the device allows it; otherwise a dense mask.
        adapters: LoRA layers with fewer passes; otherwise PEFT's own.
        pack_tokens: most tokens of a packed row with a dense mask.
        chosen: the trainer chooses the length up to that; otherwise it is that.
    """
    limit = 1 if rows == "trees" else pack_tokens
    collate = RowCollator(setting.pad_id, rows != "plain", limit)
    with _levers(blocks, adapters), _arguments(setting, setting.batch) as arguments:

        def make(collator: Any, callbacks: list[TrainerCallback]) -> Trainer:
            trainer = _DertaInOrder(
                setting.model,
                TrainingArguments(**arguments),
                setting.examples,
                collate,
                callbacks=callbacks,
            )
            if rows == "packed" and chosen:
                collator.inner = trainer.data_collator
            return _counting_only_training(trainer, collator)

        return _run(make, collate)


@contextlib.contextmanager
def _levers(blocks: bool, adapters: bool) -> Iterator[None]:
    """Take levers away that no setting of the trainer takes away."""
    with contextlib.ExitStack() as stack:
        if not blocks:
            for module in ("forward", "trainer"):
                name = f"derta.train.{module}.reason_blocks_are_unused"
                stack.enter_context(mock.patch(name, return_value="not wanted here"))
        if not adapters:
            name = "derta.train.trainer.install_fused_adapters"
            stack.enter_context(mock.patch(name, return_value=0))
        yield


_KINDS: dict[str, Callable[..., Measured]] = {
    "authors": _authors,
    "stock": _stock,
    "trl": _trl,
    "derta": _derta,
}


# --- what the Trainers share -----------------------------------------------------------------


class _Counting:
    """A collator that counts the tokens of each batch."""

    def __init__(self, inner: Callable[..., Any] | None) -> None:
        self.inner = inner
        self.tokens: list[int] = []

    def __call__(self, chosen: Any) -> Any:
        assert self.inner is not None
        batch = self.inner(chosen)
        self.tokens.append(int(batch["input_ids"].numel()))
        return batch


def _counting_only_training(trainer: DertaTrainer, collator: _Counting) -> Trainer:
    """Count what training collates; the self-check at start needs the collator itself."""
    original = trainer.get_train_dataloader

    def loader() -> Any:
        trainer.data_collator = collator  # type: ignore[assignment]  # by its call
        return original()

    trainer.get_train_dataloader = loader  # type: ignore[method-assign]
    return trainer


class _Clock(TrainerCallback):
    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def _run(
    make: Callable[[Any, list[TrainerCallback]], Trainer],
    collate: Callable[..., Any] | None,
    accumulate: int = 1,
) -> Measured:
    clock, collator = _Clock(), _Counting(collate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = make(collator, [clock])
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    tokens = [
        sum(collator.tokens[start : start + accumulate])
        for start in range(0, len(collator.tokens), accumulate)
    ]
    seconds = [b - a for a, b in zip(clock.ends, clock.ends[1:], strict=False)]
    return Measured(seconds, [float(each) for each in losses[1:]], tokens[1:])


@contextlib.contextmanager
def _arguments(setting: Setting, rows: int, **more: Any) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        yield {
            "output_dir": folder,
            "per_device_train_batch_size": rows,
            "max_steps": -(-len(setting.examples) // setting.batch),
            "learning_rate": LEARNING_RATE,
            "lr_scheduler_type": "constant",
            "weight_decay": 0.0,
            "max_grad_norm": 1.0,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "bf16": False,
            "dataloader_pin_memory": False,
            **more,
        }


def _labelled_rows(setting: Setting, by_length: bool = False) -> list[dict[str, Any]]:
    steps = setting.steps()
    if by_length:
        steps = [sorted(rows, key=len, reverse=True) for rows in steps]
    return [labelled(row, setting.pad_id) for rows in steps for row in rows]


def _rows_of_a_step(setting: Setting) -> int:
    counts = {len(rows) for rows in setting.steps()}
    if len(counts) != 1:
        raise ValueError(f"the steps differ in their rows: {sorted(counts)}")
    return counts.pop()


def _padded(rows: Sequence[TrainingRow], pad_id: int) -> Batch:
    return _pad([labelled(row, pad_id) for row in rows], pad_id)


def _pad(rows: Sequence[dict[str, Any]], pad_id: int) -> Batch:
    width = max(len(row["input_ids"]) for row in rows)
    input_ids = torch.full((len(rows), width), pad_id)
    labels = torch.full((len(rows), width), -100)
    attention_mask = torch.zeros((len(rows), width), dtype=torch.long)
    for index, row in enumerate(rows):
        length = len(row["input_ids"])
        input_ids[index, :length] = torch.tensor(row["input_ids"])
        labels[index, :length] = torch.tensor(row["labels"])
        attention_mask[index, :length] = 1
    return {"input_ids": input_ids, "labels": labels, "attention_mask": attention_mask}
