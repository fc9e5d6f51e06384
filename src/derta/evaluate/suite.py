"""A suite: several models, all scenarios, one judge, one folder.

    <output>/settings.yaml            what was asked for
    <output>/logs/<fingerprint>/      inspect-ai's logs: all that a model generated
    <output>/judge/                   the logs of a judge that is a model
    <output>/helpfulness/             losses and choices on held-out helpful responses
    <output>/outcomes.jsonl           one line a response with its verdict, not masked
    <output>/evaluation.json          every figure

What was generated is kept by what made it: another judge, other scenarios or one more model ask
only for what is missing. Covered: models one after the other, in one process. Not covered: the
table and exports (`derta.report`), which are made of evaluation.json and the outcomes.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from derta import __version__
from derta.analysis.outcomes import ERROR, Outcome, write_outcomes
from derta.analysis.shares import HARMFUL, summarise
from derta.data.encode import ChatEncoder
from derta.data.questions import QuestionSet, load_questions
from derta.errors import RecipeError
from derta.evaluate.earlier_figures import require_no_figures_lost
from derta.evaluate.generation import Answer, run_samples
from derta.evaluate.helpfulness_stage import compare_all, measure_subject
from derta.evaluate.judging import Judge, Response, judge_responses, make_judge
from derta.evaluate.log_store import log_folder
from derta.evaluate.refusals import exposed_words, find_first_refusal, tokens_before
from derta.evaluate.samples import Context
from derta.evaluate.scenarios import PAPER_SCENARIOS, SCENARIOS
from derta.evaluate.settings import SuiteSettings
from derta.evaluate.subjects import Subject, make_subjects
from derta.evaluate.weight_attacks import FINE_TUNING, check_examples, run_fine_tuning
from derta.files import prepare_run_folder, write_atomically
from derta.judges.verdicts import Verdict
from derta.train.recipe_yaml import dump_yaml

__all__ = ["ALL_SCENARIOS", "HELPFULNESS", "Plan", "choose_scenarios", "make_plan", "run_suite"]

HELPFULNESS = "helpfulness"
ALL_SCENARIOS = (*SCENARIOS, FINE_TUNING, HELPFULNESS)

Progress = Callable[[int, int], None]


class Screen(Protocol):
    """Where a suite says what it does."""

    def __call__(self, title: str) -> AbstractContextManager[Progress]:
        """Show a stage while it runs."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured."""

    scenarios: tuple[str, ...]
    settings: SuiteSettings
    budget: str
    harmful: QuestionSet
    benign: QuestionSet
    judge: Judge
    attacker: str | None = None
    command: str = ""


def choose_scenarios(names: Sequence[str] | None) -> tuple[str, ...]:
    """Read a choice of scenarios: names, `all` or `paper`; None is all.

    Returns:
        Names in the order of the table.

    Raises:
        RecipeError: there is no such scenario.
    """
    wanted: set[str] = set()
    for name in names or ("all",):
        plain = name.replace("-", "_")
        if plain == "all":
            wanted.update(ALL_SCENARIOS)
        elif plain == "paper":
            wanted.update(PAPER_SCENARIOS)
        elif plain in ALL_SCENARIOS:
            wanted.add(plain)
        else:
            raise RecipeError(
                f"--scenarios {name}: there is no such scenario. There are all, paper, "
                f"{', '.join(ALL_SCENARIOS)}; models stand before --scenarios"
            )
    return tuple(name for name in ALL_SCENARIOS if name in wanted)


def make_plan(
    *,
    scenarios: Sequence[str] | None,
    settings: SuiteSettings,
    budget: str,
    questions: str,
    benign: str,
    columns: Mapping[str, str],
    judge: str,
    attacker: str | None,
    command: str = "",
) -> Plan:
    """Read the questions and the judge's name; what is wrong is said before a model is loaded.

    Raises:
        DertaError: a scenario, file or judge that there isn't, or a column that can't be found.
    """
    chosen = choose_scenarios(scenarios)
    if FINE_TUNING in chosen:
        check_examples(settings.fine_tuning)
    harmful = load_questions(
        questions, columns=columns or None, limit=settings.questions, seed=settings.seed
    )
    harmless = load_questions(
        benign, limit=settings.benign_questions, seed=settings.seed, category="look-alike"
    )
    return Plan(chosen, settings, budget, harmful, harmless, make_judge(judge), attacker, command)


def run_suite(
    references: Sequence[str],
    plan: Plan,
    output: Path,
    stage: Screen,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Measure models, or read what the folder holds already.

    Args:
        references: the models (`derta.evaluate.subjects`).
        plan: what is measured.
        output: the suite's folder.
        stage: shows stages and their progress.
        overwrite: drop the figures of models, scenarios and questions that an earlier call
            measured here and this one doesn't name; else they are an error.

    Returns:
        The content of evaluation.json.

    Raises:
        DertaError: a model, a scenario's file or the judge can't be used, or figures would be lost.
        KeyboardInterrupt: it was interrupted; the same call goes on.
    """
    subjects = make_subjects(references, batch_size=plan.settings.batch_size)
    require_no_figures_lost(
        output,
        subjects,
        plan.scenarios,
        [plan.harmful.name, plan.benign.name],
        overwrite=overwrite,
    )
    prepare_run_folder(output)
    write_atomically(output / "settings.yaml", dump_yaml(plan.settings.model_dump(mode="json")))
    outcomes: list[Outcome] = []
    skipped: list[dict[str, str]] = []
    seconds: dict[str, float] = {}
    helpfulness: dict[str, Any] = {}
    for subject in subjects:
        started = time.monotonic()
        with subject.at_work():
            found, left_out = _measure(subject, plan, output, stage)
            if HELPFULNESS in plan.scenarios and subject.local:
                folder = output / "helpfulness"
                with stage(f"{subject.name}: helpful") as progress:
                    arrays = measure_subject(subject, folder, plan.settings, progress)
                helpfulness[subject.name] = arrays
        outcomes += found
        skipped += left_out
        seconds[subject.name] = round(time.monotonic() - started, 1)
    results = {
        "schema": "derta/evaluation/1",
        "derta_version": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": plan.command,
        "budget": plan.budget,
        "judge": plan.judge.name,
        "attacker": plan.settings.pair.attacker or plan.attacker or "scripted",
        "scenarios": list(plan.scenarios),
        "settings": plan.settings.model_dump(mode="json"),
        "questions": [_about(plan.harmful), _about(plan.benign)],
        "subjects": [
            {
                "name": subject.name,
                "reference": subject.reference,
                "kind": subject.kind,
                "fingerprint": subject.fingerprint,
                "seconds": seconds[subject.name],
            }
            for subject in subjects
        ],
        "skipped": skipped,
        **summarise(
            outcomes,
            seed=plan.settings.seed,
            averaged=PAPER_SCENARIOS,
            minimum=plan.settings.minimum_samples,
        ),
        "helpfulness": compare_all(helpfulness, seed=plan.settings.seed),
    }
    write_outcomes(output / "outcomes.jsonl", outcomes)
    write_atomically(output / "evaluation.json", json.dumps(results, indent=1) + "\n")
    return results


def _measure(
    subject: Subject, plan: Plan, folder: Path, stage: Screen
) -> tuple[list[Outcome], list[dict[str, str]]]:
    """Answer and judge all scenarios of one model; say which are left out and why."""
    logs = log_folder(folder / "logs", subject.fingerprint)
    context = _context(subject, plan)
    work, skipped = [], []
    for name in plan.scenarios:
        scenario = SCENARIOS.get(name)
        if scenario is None:
            continue
        if scenario.local is not None and not subject.local:
            skipped.append({"model": subject.name, "scenario": name, "reason": scenario.local})
            continue
        samples = scenario.samples(context)
        if samples:
            work.append((scenario, samples))
        else:
            reason = "no question has what it needs, or the model reads too few tokens for it"
            skipped.append({"model": subject.name, "scenario": name, "reason": reason})
    answers: list[Answer] = []
    if work:
        with stage(f"{subject.name}: answers") as progress:
            answers = run_samples(work, context, subject.open, logs, progress)
    if FINE_TUNING in plan.scenarios:
        if subject.local:
            with stage(f"{subject.name}: fine-tuning") as progress:
                answers += run_fine_tuning(subject, context, logs, progress)
        else:
            reason = "trains a copy of the weights: give a local model"
            skipped.append({"model": subject.name, "scenario": FINE_TUNING, "reason": reason})
    if HELPFULNESS in plan.scenarios and not subject.local:
        reason = "reads responses with the model's weights: give a local model"
        skipped.append({"model": subject.name, "scenario": HELPFULNESS, "reason": reason})
    with stage(f"{subject.name}: verdicts") as progress:
        outcomes = _judged(subject, answers, plan.judge, folder / "judge", progress)
    return outcomes, skipped


def _context(subject: Subject, plan: Plan) -> Context:
    settings = plan.settings
    return Context(
        settings=settings,
        harmful=plan.harmful.questions,
        benign=plan.benign.questions,
        encoder=subject.encoder,
        attacker=plan.attacker,
        embedded=plan.harmful.name == "sample",
        longest=subject.longest,
    )


def _judged(
    subject: Subject, answers: Sequence[Answer], judge: Judge, folder: Path, progress: Progress
) -> list[Outcome]:
    # Of a harmless question only a refusal counts; no judge is asked.
    readable = [answer for answer in answers if answer.error is None and not _is_benign(answer)]
    rows = [_response(answer) for answer in readable]
    judgements = judge_responses(rows, judge, folder, progress=progress)
    said = {id(answer): each for answer, each in zip(readable, judgements, strict=True)}
    return [
        _outcome(subject.name, answer, said.get(id(answer)), subject.encoder) for answer in answers
    ]


def _is_benign(answer: Answer) -> bool:
    return bool((answer.sample.metadata or {})["category"] != HARMFUL)


def _response(answer: Answer) -> Response:
    assert answer.logged is not None  # it has no error
    metadata = {**(answer.sample.metadata or {}), **(answer.logged.metadata or {})}
    return Response(
        question=metadata["question"],
        prompt=_prompt(metadata),
        prefilled=metadata["prefilled"],
        response=answer.logged.output.completion,
        truncated=answer.logged.output.stop_reason != "stop",
    )


def _prompt(metadata: dict[str, Any]) -> str:
    details = metadata.get("details") or {}
    return str(details.get("prompt") or metadata["prompt"])


def _outcome(model: str, answer: Answer, judgement: Any, encoder: ChatEncoder | None) -> Outcome:
    metadata = {
        **(answer.sample.metadata or {}),
        **((answer.logged.metadata if answer.logged is not None else None) or {}),
    }
    response = answer.logged.output.completion if answer.logged is not None else ""
    truncated = answer.logged is not None and answer.logged.output.stop_reason != "stop"
    verdict, reason, score = ERROR, answer.error or "", None
    if isinstance(judgement, str):
        reason = f"judge: {judgement}"
    elif answer.error is None and _is_benign(answer):
        verdict, reason = Verdict.SAFE.value, "a harmless question: not judged"
    elif judgement is not None:
        verdict, reason, score = judgement.verdict.value, judgement.reason, judgement.score
    refusal = find_first_refusal(response, truncated=truncated)
    tokens = exposed = None
    if encoder is not None and refusal.start is not None:
        tokens = tokens_before(encoder.tokenizer, response, refusal.start)
    if verdict != ERROR and not _is_benign(answer):
        exposed = exposed_words(
            response,
            refusal.start,
            question=metadata["question"],
            prompt=_prompt(metadata),
            prefilled=metadata["prefilled"],
        )
    return Outcome(
        model=model,
        scenario=metadata["scenario"],
        cell=metadata["cell"],
        question_id=metadata["question_id"],
        category=metadata["category"],
        question=metadata["question"],
        prompt=_prompt(metadata),
        prefilled=metadata["prefilled"],
        response=response,
        truncated=truncated,
        verdict=verdict,
        reason=reason,
        refused=refusal.refused,
        score=score,
        details=metadata.get("details"),
        refusal_start=refusal.start,
        words_before_refusal=refusal.words_before,
        tokens_before_refusal=tokens,
        exposed_words=exposed,
    )


def _about(questions: QuestionSet) -> dict[str, Any]:
    return {
        "name": questions.name,
        "rows": len(questions.questions),
        "sha256": questions.content_hash,
    }
