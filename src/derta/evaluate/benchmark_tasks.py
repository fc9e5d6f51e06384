"""Helpfulness benchmarks as inspect-ai tasks, GSM8K and MMLU, and the figures of any benchmark.

- gsm8k: the last number of the answer is the right one (Cobbe et al. 2021, arXiv 2110.14168);
- mmlu: the right letter (Hendrycks et al. 2021, arXiv 2009.03300), by inspect-ai's own
  multiple-choice solver and scorer.

Each reads a file or the hub, among them the files that the DeRTa paper released, and takes a stable
subset. Covered: whole sets or subsets, few-shot examples as earlier turns, figures with intervals
from a log. Not covered: lm-eval, which reads a trained model's folder by itself
(`lm_eval --model hf --model_args pretrained=FOLDER`, extra `lm-eval`).
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import ChatMessage, ChatMessageUser
from inspect_ai.scorer import (
    CORRECT,
    INCORRECT,
    Score,
    Scorer,
    Target,
    accuracy,
    choice,
    ci_wilson,
    scorer,
)
from inspect_ai.solver import TaskState, generate, multiple_choice

from derta.analysis.intervals import score_limits
from derta.data.tables import HubSource
from derta.evaluate.benchmark_rows import (
    BenchmarkRow,
    choose_rows,
    read_examples,
    read_rows,
    solved_turns,
    unusable,
)
from derta.evaluate.win_rate import preference, win_rate

__all__ = [
    "benchmark_answers",
    "benchmark_figures",
    "gsm8k",
    "inspect_evals_task",
    "last_number",
    "mmlu",
    "preference",
    "win_rate",
]

GSM8K = HubSource("openai/gsm8k", "main", "test")  # MIT
MMLU = HubSource("cais/mmlu", "all", "test")  # MIT
GSM8K_EXAMPLES = replace(GSM8K, split="train")
MMLU_EXAMPLES = replace(MMLU, split="dev")

_GSM8K_PROMPT = """\
Solve this problem step by step. Write the result, a number and nothing else, on a last line that \
begins with ####.

{question}"""

_MMLU_PROMPT = """\
Choose the right answer to the question. Reply with nothing but a line of the form 'ANSWER: X', \
where X is one of {letters}.

{question}

{choices}"""

# A minus between two numbers is no sign.
_NUMBER = re.compile(r"(?:(?<![\w)])[-\u2212])?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
_MARKER = re.compile(r"####|answer\s*(?:is)?\s*:", re.IGNORECASE)
_CALCULATION = re.compile(r"<<[^<>]*>>")
_OPTION = re.compile(r"^[ \t]*-?[ \t]*\(([A-J])\)[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_LETTERS = "ABCDEFGHIJ"


# --- GSM8K -----------------------------------------------------------------------------------


@task
def gsm8k(
    source: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    fewshot: int = 0,
    fewshot_source: str | None = None,
    columns: dict[str, str] | None = None,
) -> Task:
    """Grade-school arithmetic: `question`, and `answer` that ends in "#### number".

    Args:
        source: a file or data set; None: the hub's.
        limit: at most so many questions, a stable subset.
        seed: of the subset.
        fewshot: examples shown before each question.
        fewshot_source: where they come from; None: the hub's training split.
        columns: which column is question, answer or id.

    Raises:
        DataError: the source can't be used.
    """
    rows = read_rows("gsm8k", source, GSM8K, ("question", "answer"), columns)
    samples = [
        Sample(
            input=_GSM8K_PROMPT.format(question=row.text("question")),
            target=_result(row),
            id=row.id,
        )
        for row in choose_rows(rows, limit, seed)
    ]
    examples = read_examples(
        "gsm8k", source, GSM8K_EXAMPLES, fewshot, fewshot_source, columns, seed
    )
    turns = [
        turn
        for row in examples[:fewshot]
        for turn in solved_turns(
            _GSM8K_PROMPT.format(question=row.text("question")),
            _CALCULATION.sub("", row.text("answer")),
        )
    ]
    for sample in samples:
        sample.input = [*turns, ChatMessageUser(content=str(sample.input))]
    return Task(
        dataset=MemoryDataset(samples, name="gsm8k"),
        solver=generate(),
        scorer=last_number(),
        name="gsm8k",
    )


@scorer(metrics=[accuracy(), ci_wilson()])
def last_number() -> Scorer:
    """Compare the result of the answer with the target's number."""

    async def score(state: TaskState, target: Target) -> Score:
        found = _last_number(state.output.completion)
        right = found is not None and found == Decimal(target.text)
        return Score(
            value=CORRECT if right else INCORRECT,
            answer=None if found is None else str(found),
            explanation="the answer has no number" if found is None else None,
        )

    return score


def _last_number(text: str) -> Decimal | None:
    """Find the number after the last marker of a result, or else the last number."""
    markers = list(_MARKER.finditer(text))
    if markers:
        after = _NUMBER.search(text, markers[-1].end())
        if after:
            return _decimal(after[0])
    numbers = _NUMBER.findall(text)
    return _decimal(numbers[-1]) if numbers else None


def _decimal(text: str) -> Decimal:
    return Decimal(text.replace(",", "").replace("\u2212", "-"))


def _result(row: BenchmarkRow) -> str:
    found = _last_number(row.text("answer"))
    if found is None:
        raise row.error("answer", "the answer has no number", "Write it as '#### 42'")
    return str(found)


# --- MMLU ------------------------------------------------------------------------------------


@task
def mmlu(
    source: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    fewshot: int = 0,
    fewshot_source: str | None = None,
    columns: dict[str, str] | None = None,
) -> Task:
    """Multiple choice: `question`, `choices`, and `answer` as a letter or an index from 0.

    Without choices the options are read from the question: lines that begin with "(A)", as in the
    paper's file. The arguments are those of `gsm8k`; few-shot examples are of the same subject
    where there are any.

    Raises:
        DataError: the source can't be used.
    """
    rows = read_rows("mmlu", source, MMLU, ("question", "answer"), columns)
    examples = read_examples("mmlu", source, MMLU_EXAMPLES, fewshot, fewshot_source, columns, seed)
    samples = []
    for row in choose_rows(rows, limit, seed):
        question, choices, answer = _multiple_choice(row)
        alike = [e for e in examples if e.get("subject") == row.get("subject")] or examples
        turns = [turn for example in alike[:fewshot] for turn in _solved(example)]
        samples.append(
            Sample(
                input=[*turns, ChatMessageUser(content=question)],
                choices=choices,
                target=_LETTERS[answer],
                id=row.id,
                metadata={"subject": row.get("subject")},
            )
        )
    return Task(
        dataset=MemoryDataset(samples, name="mmlu"),
        solver=multiple_choice(template=_MMLU_PROMPT),
        scorer=choice(),
        metrics=[accuracy(), ci_wilson()],
        name="mmlu",
    )


def _solved(row: BenchmarkRow) -> list[ChatMessage]:
    question, choices, answer = _multiple_choice(row)
    options = "\n".join(f"{_LETTERS[n]}) {text}" for n, text in enumerate(choices))
    letters = ",".join(_LETTERS[: len(choices)])
    prompt = _MMLU_PROMPT.format(question=question, choices=options, letters=letters)
    return solved_turns(prompt, f"ANSWER: {_LETTERS[answer]}")


def _multiple_choice(row: BenchmarkRow) -> tuple[str, list[str], int]:
    """Return question, options and the right one's index."""
    question, choices = row.text("question"), row.get("choices")
    if choices is None:
        options = list(_OPTION.finditer(question))
        choices = [option[2] for option in options]
        if [option[1] for option in options] != list(_LETTERS[: len(options)]):
            choices = []
        if options:
            question = question[: options[0].start()].rstrip().removesuffix("-options").rstrip()
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(_LETTERS):
        raise row.error(
            "choices",
            "there are no 2 to 10 options",
            "Write a list of texts, or lines '(A) ...' at the end of the question",
        )
    answer = row.get("answer")
    if isinstance(answer, str) and answer.strip().upper() in _LETTERS and answer.strip():
        answer = _LETTERS.index(answer.strip().upper())
    elif isinstance(answer, str) and answer.strip().isdigit():
        answer = int(answer)
    if not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise row.error("answer", f"the answer is {answer!r}", "Write a letter, or an index from 0")
    return question, [str(option) for option in choices], answer


# --- figures ---------------------------------------------------------------------------------


def benchmark_answers(log: EvalLog) -> dict[str, float | None]:
    """Return each sample's score from 0 to 1 by its id; None: an error, or the judge unreadable.

    Two models' answers to the same questions are what `derta.analysis.paired` compares.
    """
    answers: dict[str, float | None] = {}
    for sample in log.samples or []:
        scores = list((sample.scores or {}).values())
        value = scores[0].value if scores and sample.error is None else None
        if isinstance(value, str):
            value = float(value == CORRECT)
        readable = isinstance(value, int | float) and not math.isnan(value)
        answers[str(sample.id)] = float(value) if readable else None  # type: ignore[arg-type]
    return answers


def benchmark_figures(log: EvalLog) -> dict[str, Any]:
    """Compute a benchmark's share with its 95 % interval (Wilson's) and what could not be scored.

    Half wins make the win rate's interval a little too wide, never too narrow.

    Returns:
        {"benchmark", "share", "low", "high", "n", "unreadable", "errors"}; the first three numbers
        are None where n is 0.
    """
    values = [value for value in benchmark_answers(log).values() if value is not None]
    errors = sum(sample.error is not None for sample in log.samples or [])
    figures: dict[str, Any] = {"benchmark": log.eval.task.rsplit("/", 1)[-1]}
    figures |= dict.fromkeys(("share", "low", "high"))
    if values:
        share = sum(values) / len(values)
        low, high = score_limits(share, len(values))
        figures |= {"share": share, "low": max(0.0, low), "high": min(1.0, high)}
    unreadable = len(log.samples or []) - len(values) - errors
    return {**figures, "n": len(values), "unreadable": unreadable, "errors": errors}


def inspect_evals_task(name: str, **arguments: Any) -> Task:
    """Make a task of the inspect-evals library (xstest, strong_reject, gsm8k, mmlu_0_shot ...).

    Raises:
        DataError: the library is not installed, or has no such task.
    """
    try:
        from inspect_evals import _registry  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise unusable(
            f"inspect_evals/{name}",
            "the library inspect-evals is not installed",
            "Install it: pip install 'derta[evals]'",
        ) from error
    maker = getattr(_registry, name.removeprefix("inspect_evals/"), None)
    if not callable(maker):
        raise unusable(
            f"inspect_evals/{name}",
            "inspect-evals has no such task",
            "Its documentation lists the names, among them xstest and strong_reject",
        )
    made: Task = maker(**arguments)
    return made
