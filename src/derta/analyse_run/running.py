"""All models of an evaluation read their texts, one after the other; then the figures.

    <evaluation>/analysis/NAME/readings.parquet   what a model made of every token
    <evaluation>/analysis/NAME/reading.json       what was read; written last
    <evaluation>/analysis/analysis.json           every figure

A model whose readings are there, of the same weights, texts, refusal words and reference, is not
read again: a run that was killed goes on with the next model. Covered: one process, one model in
memory. Not covered: models behind a provider, which show no probabilities of every token; pages
(`derta.report`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from derta import __version__
from derta.analyse_run.origin import Origin
from derta.analyse_run.planning import AnalysisOptions, Plan, find_origins, make_plans
from derta.analyse_run.reading import read_texts
from derta.analysis.analyse import analyse
from derta.analysis.evaluation_folder import read_evaluation
from derta.analysis.outcomes import Outcome, read_outcomes
from derta.analysis.readings import analysis_folder, load_readings, read_about, write_model
from derta.analysis.shares import CURVE_MINIMUM
from derta.analysis.token_reading import ReferenceStates, TokenRow, keep_states
from derta.errors import DertaError
from derta.evaluate.subjects import Subject
from derta.files import prepare_run_folder, write_atomically

__all__ = ["AnalysisOptions", "Stage", "run_analysis"]

Stage = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Shows a stage of this title while it runs."""

_STATES_FILE = ".reference-states.npy"


def run_analysis(folder: Path, options: AnalysisOptions, stage: Stage) -> dict[str, Any]:
    """Read what is missing, compute all figures, and write both into the evaluation's folder.

    Args:
        folder: of the evaluation.
        options: what is read.
        stage: shows stages and their progress.

    Returns:
        The content of analysis.json: what `derta.analysis.analyse.analyse` gives, and "notes":
        all that is missing, in words.

    Raises:
        DataError: the folder holds no finished evaluation, or a file of it is damaged.
        ModelError: `options.models` names one that was not evaluated.
        KeyboardInterrupt: it was interrupted; models that were read to the end are kept.
    """
    evaluation = read_evaluation(folder)
    outcomes = read_outcomes(folder / "outcomes.jsonl")
    origins = find_origins(evaluation)
    prepare_run_folder(analysis_folder(folder))
    with stage("Texts") as progress:
        made = make_plans(folder, evaluation, outcomes, origins, options, progress)
    notes = [*made.notes]
    missing = [
        plan for plan in made.plans if not plan.is_done(folder, divergence=options.divergence)
    ]
    for plan in made.plans:
        if plan not in missing:
            with stage(f"{plan.subject.name}: tokens"):
                pass  # kept from an earlier run
    try:
        _read_all(folder, missing, made.reference, options, stage, notes)
    finally:
        (analysis_folder(folder) / _STATES_FILE).unlink(missing_ok=True)
    for each in evaluation["subjects"]:
        about = read_about(folder, str(each["name"])) or {}
        notes += [str(note) for note in about.get("notes", [])]
    with stage("Figures") as progress:
        progress(0, 1)
        methods = _methods(folder, origins)
        results = _figures(folder, evaluation, outcomes, methods)
        if methods:
            notes += [
                f"{name}: not in the table of training methods: how it was trained is not known"
                for name in origins
                if name not in methods
            ]
        results["notes"] = list(dict.fromkeys(notes))
        path = analysis_folder(folder) / "analysis.json"
        write_atomically(path, json.dumps(results, indent=1) + "\n")
        progress(1, 1)
    return results


def _methods(folder: Path, origins: Mapping[str, Origin]) -> dict[str, str]:
    """Say how models were trained, now or when they were read; the unknown ones are left out."""
    methods = {}
    for name, origin in origins.items():
        method = (read_about(folder, name) or {}).get("method") or origin.method
        if method is not None:
            methods[name] = str(method)
    return methods


def _figures(
    folder: Path,
    evaluation: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    methods: Mapping[str, str],
) -> dict[str, Any]:
    return analyse(
        outcomes,
        load_readings(folder),
        evaluation=evaluation,
        seed=int(evaluation["seed"]),
        minimum=int(evaluation["settings"].get("minimum_samples", CURVE_MINIMUM)),
        methods=methods,
    )


def _read_all(
    folder: Path,
    missing: Sequence[Plan],
    reference: Subject | None,
    options: AnalysisOptions,
    stage: Stage,
    notes: list[str],
) -> None:
    """Read with every model whose readings are missing; the reference comes first."""
    states: ReferenceStates | None = None
    own = [plan for plan in missing if plan.subject is reference]
    others = [plan for plan in missing if plan.subject is not reference]
    rows = [text.row for plan in others if plan.reference is not None for text in plan.texts]
    if reference is not None and (own or rows):
        with reference.at_work():
            for plan in own:
                _read(folder, plan, None, options, stage, notes)
            if rows:
                states = _states(folder, reference, rows, options, stage, notes)
    for plan in others:
        if states is None:
            plan.reference = None
        with plan.subject.at_work():
            _read(folder, plan, states, options, stage, notes)


def _states(
    folder: Path,
    reference: Subject,
    rows: Sequence[TokenRow],
    options: AnalysisOptions,
    stage: Stage,
    notes: list[str],
) -> ReferenceStates | None:
    """Let the reference read what the others will be compared with it on."""
    path = analysis_folder(folder) / _STATES_FILE
    try:
        with stage(f"{reference.name}: compared") as progress:
            return keep_states(
                reference.load().model,
                rows,
                path=path,
                batch_size=options.batch_size,
                progress=progress,
            )
    except DertaError as error:
        notes.append(f"No divergence: {reference.name} can't be read: {error}")
        return None


def _read(
    folder: Path,
    plan: Plan,
    states: ReferenceStates | None,
    options: AnalysisOptions,
    stage: Stage,
    notes: list[str],
) -> None:
    """Read a model's texts and keep what was read; one that can't be used costs its own only."""
    subject, reference = plan.subject, plan.reference
    started = time.monotonic()
    try:
        with stage(f"{subject.name}: tokens") as progress:
            progress(0, len(plan.texts))
            loaded = subject.load()
            readings = read_texts(
                loaded.model,
                loaded.tokenizer,
                subject.name,
                plan.texts,
                list(plan.refusal_ids.values()),
                reference=states if reference is not None else None,
                batch_size=options.batch_size,
                progress=progress,
            )
    except DertaError as error:
        notes.append(f"{subject.name}: not read token by token: {error}")
        return
    if reference is not None and any(reading.divergence is None for reading in readings):
        problem = f"its output matrix has another size than that of {reference.name}"
        plan.notes.append(f"{subject.name}: no divergence: {problem}")
    about = {
        "name": subject.name,
        "fingerprint": subject.fingerprint,
        "refusal_words": list(plan.refusal_ids),
        "refusal_ids": list(plan.refusal_ids.values()),
        "reference": None if reference is None else reference.name,
        "reference_fingerprint": "" if reference is None else reference.fingerprint,
        "method": plan.origin.method,
        "seed": plan.origin.seed,
        "base_model": plan.origin.base_model,
        "seconds": round(time.monotonic() - started, 1),
        "tokens": sum(len(text.row.text_ids) for text in plan.texts),
        "derta_version": __version__,
        "notes": plan.notes,
        "key": plan.wanted_key,
    }
    write_model(folder, about, readings)
