"""One model measured whole: what it refuses, and what it thinks of refusing at every position.

The measurement of a model in its run folder:

    evaluation/           inspect-ai's logs
    records.jsonl         one line a generated response, with its verdict
    probabilities.npz     P(refusal token), of any of several, along every test response
    measurement.json      fingerprint and seconds; written last: it says "done"
"""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derta import refusal
from derta.analysis.probability import measure_responses
from derta.analysis.records import RefusalRecord, read_records, write_records
from derta.data.devices import place_for_inference
from derta.data.encode import ChatEncoder, find_refusal_id
from derta.data.models import PromptFormat, load_tokenizer
from derta.data.sample import (
    SampleHelpful,
    SampleTriple,
    Split,
    sample_file,
    sample_helpful,
    sample_triples,
)
from derta.errors import DertaError
from derta.evaluate.run import RefusalSamples, evaluate_refusals
from derta.files import digest, write_atomically
from derta.matmul import onednn_matmul
from derta.memory import keep_freed_memory

__all__ = ["Measurement", "TestSet", "measure"]

_DEFAULT_WORD = "Sorry"

Progress = Callable[[int, int], None]
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TestSet:
    """The questions that a model is measured on."""

    triples: list[SampleTriple]
    helpful: list[SampleHelpful]
    hashes: dict[str, dict[str, str | int]]
    fingerprint: str

    @classmethod
    def sample(cls, split: Split, limit: int | None = None) -> TestSet:
        """Take a split of the sample set, at most `limit` questions of each kind."""
        triples = sample_triples(split)[:limit]
        helpful = [
            row
            for category in ("ordinary", "look-alike")
            for row in [s for s in sample_helpful(split) if s.category == category][:limit]
        ]
        hashes: dict[str, dict[str, str | int]] = {}
        for name, rows in (("triples.jsonl", len(triples)), ("helpful.jsonl", len(helpful))):
            content_hash = hashlib.sha256(sample_file(name)).hexdigest()
            hashes[f"sample/{name} ({split})"] = {"sha256": content_hash, "rows": rows}
        key = json.dumps([split, limit, hashes], sort_keys=True)
        return cls(triples, helpful, hashes, digest(key))

    @property
    def counts(self) -> dict[str, int]:
        """Questions of each kind."""
        kinds = ["harmful"] * len(self.triples) + [row.category for row in self.helpful]
        return {kind: kinds.count(kind) for kind in ("harmful", "ordinary", "look-alike")}


@dataclass(frozen=True, slots=True)
class Measurement:
    """All that was seen of one model."""

    records: list[RefusalRecord]
    harmful_probabilities: list[Array]
    """P(refusal token) by position of each harmful response."""
    benign_probabilities: list[Array]
    """The same of each held-out helpful response."""
    helpful_losses: list[Array]
    """Nats by token of each held-out helpful response."""
    seconds: float


def measure(
    load: Callable[[], Any],
    tokenizer_name: str,
    refusal_word: str | Sequence[str],
    test: TestSet,
    folder: Path,
    *,
    fingerprint: str,
    prompt_format: PromptFormat = "chat",
    progress: Progress | None = None,
) -> Measurement:
    """Measure a model on a test set, or read the measurement that `folder` holds already.

    Args:
        load: returns the model; called only if something is to be measured. It is put on the
            device of this process.
        tokenizer_name: of the base model.
        refusal_word: whose token's probability is measured; of several words, the sum.
        test: the questions.
        folder: the model's run folder.
        fingerprint: of the model; with that of the test set it tells whether files are current.
        prompt_format: chat, or inst for a base model without a template.
        progress: called with (done, total) in generated responses and read responses.
    """
    words = [refusal_word] if isinstance(refusal_word, str) else list(dict.fromkeys(refusal_word))
    # The default alone is left out: measurements of before there were others stay what they are.
    key = digest(fingerprint, test.fingerprint, *(words if words != [_DEFAULT_WORD] else ()))
    # Verdicts serve only as long as the rules that made them; what was generated serves longer.
    rules = digest(inspect.getsource(refusal))
    kept = _kept(folder, key)
    if kept is not None and kept.rules == rules:
        return kept.measurement
    tokenizer = load_tokenizer(tokenizer_name, prompt_format)
    encoder = ChatEncoder(tokenizer)
    refusal_ids = [find_refusal_id(encoder, word) for word in words]
    keep_freed_memory()
    model = place_for_inference(load(), folder.name)
    started = time.monotonic()
    harmful = [(row.triple.prompt, row.triple.harmful_response) for row in test.triples]
    helpful = [(row.example.prompt, row.example.response) for row in test.helpful]
    read = len(harmful) + len(helpful)

    def generated(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total + read)

    with onednn_matmul():
        records = evaluate_refusals(
            model,
            tokenizer,
            RefusalSamples(test.triples, test.helpful),
            folder / "evaluation",
            fingerprint=key,
            name=folder.name,
            progress=generated,
        )
    write_records(folder / "records.jsonl", records)
    if kept is not None:
        judged = replace(kept.measurement, records=records)
        _keep(folder, key, rules, judged)
        return judged

    def measured(done: int, total: int) -> None:
        if progress is not None:
            progress(len(records) + done, len(records) + total)

    finished = [True] * len(harmful) + [row.finished for row in test.helpful]
    with onednn_matmul():
        measures = measure_responses(
            model, encoder, harmful + helpful, refusal_ids, finished=finished, progress=measured
        )
    measurement = Measurement(
        records,
        [m.refusal_probability for m in measures[: len(harmful)]],
        [m.refusal_probability for m in measures[len(harmful) :]],
        [m.losses for m in measures[len(harmful) :]],
        time.monotonic() - started,
    )
    _keep(folder, key, rules, measurement)
    return measurement


_ARRAYS = ("harmful_probabilities", "benign_probabilities", "helpful_losses")


def _keep(folder: Path, key: str, rules: str, measurement: Measurement) -> None:
    arrays = {
        f"{name}/{index}": array
        for name in _ARRAYS
        for index, array in enumerate(getattr(measurement, name))
    }
    temporary = folder / "probabilities.partial.npz"
    np.savez_compressed(temporary, **arrays)
    temporary.replace(folder / "probabilities.npz")
    state = {"fingerprint": key, "rules": rules, "seconds": measurement.seconds}
    write_atomically(folder / "measurement.json", json.dumps(state) + "\n")


@dataclass(frozen=True, slots=True)
class _Kept:
    """A measurement on disk and the hash of the rules that judged its records."""

    measurement: Measurement
    rules: str


def _kept(folder: Path, key: str) -> _Kept | None:
    try:
        state = json.loads((folder / "measurement.json").read_text(encoding="utf-8"))
        if state.get("fingerprint") != key:
            return None
        records = read_records(folder / "records.jsonl")
        with np.load(folder / "probabilities.npz") as file:
            by_name = {
                name: [file[f"{name}/{i}"] for i in range(_count(file.files, name))]
                for name in _ARRAYS
            }
    except (OSError, ValueError, KeyError, DertaError):
        return None
    measurement = Measurement(records=records, seconds=state["seconds"], **by_name)
    return _Kept(measurement, str(state.get("rules")))


def _count(names: list[str], prefix: str) -> int:
    return sum(name.startswith(f"{prefix}/") for name in names)
