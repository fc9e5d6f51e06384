"""The shape of results.json, "derta/results/1", as pydantic models.

Covers reading and checking; docs/results-schema.md says what each field means, and a test keeps
the two together. Keys that are not listed here are let through unread, so that a later version
may add some. Fields with a default may be missing or null: the page shows a dash.
Not covered: whether the figures are right.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from derta.errors import DertaError, InputProblem

__all__ = [
    "SCHEMA",
    "ModelName",
    "Results",
    "ResultsError",
    "check_results",
    "load_results",
]

SCHEMA = "derta/results/1"
ModelName = Literal["untouched", "vanilla", "derta"]


class ResultsError(DertaError):
    """A results.json can't be read, or a report can't be written; every key is named."""

    def __init__(self, problems: list[InputProblem]) -> None:
        """Collect the problems, one line each."""
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


def _missing_if_not_finite(value: object) -> object:
    """Turn NaN and infinities, which Python writes into JSON, into a missing value."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_missing_if_not_finite)]


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="ignore", frozen=True, populate_by_name=True, protected_namespaces=()
    )


class Share(_Part):
    """A share with its Wilson 95 % interval; n = 0 leaves the three numbers null."""

    count: int = Field(ge=0)
    n: int = Field(ge=0)
    share: Number = None
    low: Number = None
    high: Number = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.count > self.n:
            raise ValueError(f"count {self.count} is larger than n {self.n}")
        for name, value in (("share", self.share), ("low", self.low), ("high", self.high)):
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} {value} is not between 0 and 1")
        return self


class DataFile(_Part):
    """One data file that the run read."""

    sha256: str
    rows: int | None = None


class LogEntry(_Part):
    """One line of the training log: means over the targets of a kind since the last line."""

    step: int
    loss: Number = None
    loss_helpful: Number = None
    loss_safe_response: Number = None
    loss_refusal_transition: Number = None
    refusal_probability_helpful: Number = None
    refusal_probability_safe_response: Number = None
    refusal_probability_refusal_transition: Number = None


class Training(_Part):
    """How one model was trained."""

    method: str | None = None
    optimizer_steps: int | None = None
    examples: int | None = None
    tokens_computed: int | None = None
    seconds: Number = None
    log: list[LogEntry] = []


class PrefillMeasure(_Part):
    """Refusals after k tokens of the harmful response."""

    k: int = Field(ge=0)
    refused: Share | None = None


class RawText(_Part):
    """Refusals when the question is raw text to continue (CompletingAttack)."""

    refused: Share | None = None


class FalseRefusals(_Part):
    """Refusals of benign questions."""

    ordinary: Share | None = None
    look_alike: Share | None = Field(default=None, alias="look-alike")


class RefusalPosition(_Part):
    """Where refusals begin in the generated text."""

    words: list[Annotated[int, Field(ge=0)]] = []
    n: int | None = None
    median: Number = None
    within_first_5: Share | None = None


class ProbabilityCurve(_Part):
    """Mean probability of the refusal token by position of the response; parallel lists."""

    position: list[int] = []
    mean: list[Number] = []
    low: list[Number] = []
    high: list[Number] = []
    n: list[int] = []

    @model_validator(mode="after")
    def _check(self) -> Self:
        lengths = {len(x) for x in (self.position, self.mean, self.low, self.high, self.n)}
        if len(lengths) > 1:
            raise ValueError("position, mean, low, high and n differ in length")
        return self


class Auc(_Part):
    """Area under the ROC curve: harmful against benign positions by P(refusal token)."""

    value: Number = None
    low: Number = None
    high: Number = None
    harmful_positions: int | None = None
    benign_positions: int | None = None
    harmful_responses: int | None = None
    benign_responses: int | None = None


class RefusalProbability(_Part):
    """The refusal token's probability inside harmful and benign responses."""

    harmful: ProbabilityCurve = ProbabilityCurve()
    benign: ProbabilityCurve = ProbabilityCurve()
    auc: Auc | None = None


class HelpfulLoss(_Part):
    """Loss per token on held-out helpful responses."""

    nats: Number = None
    untouched_nats: Number = None
    difference: Number = None
    low: Number = None
    high: Number = None
    responses: int | None = None
    tokens: int | None = None


class Model(_Part):
    """All that was measured on one model."""

    name: ModelName
    training: Training | None = None
    prefill: list[PrefillMeasure] = []
    raw_text: RawText | None = None
    false_refusals: FalseRefusals | None = None
    refusal_position: RefusalPosition | None = None
    refusal_probability: RefusalProbability | None = None
    helpful_loss: HelpfulLoss | None = None


class Response(_Part):
    """What one model answered in an example."""

    text: str
    refused: bool | None = None
    refusal_span: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        span = self.refusal_span
        if span is not None and not 0 <= span[0] <= span[1] <= len(self.text):
            raise ValueError(f"refusal_span {list(span)} does not lie inside the text")
        return self


class Example(_Part):
    """One question that all models answered."""

    scenario: Literal["prefill", "raw_text", "benign"]
    k: int | None = None
    prompt: str
    prefilled: str | None = None
    responses: dict[ModelName, Response] = {}


class Bound(_Part):
    """One bound set in advance, and whether it was met."""

    name: str
    bound: str
    value: Number = None
    met: bool | None = None


class Results(_Part):
    """The whole file."""

    schema_name: Literal["derta/results/1"] = Field(alias="schema")
    derta_version: str | None = None
    created: str | None = None
    command: str | None = None
    budget: str | None = None
    seed: int | None = None
    base_model: str | None = None
    refusal_word: str | None = None
    machine: dict[str, Any] = {}
    seconds: dict[str, Number] = {}
    data: dict[str, DataFile] = {}
    test: dict[str, int] = {}
    recipe: dict[str, Any] = {}
    models: list[Model]
    examples: list[Example] = []
    bounds: list[Bound] = []

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [model.name for model in self.models]
        if len(set(names)) != len(names):
            raise ValueError(f"models: a name occurs twice in {names}")
        return self


def check_results(results: object, source: str = "results.json") -> Results:
    """Check results against the schema.

    Args:
        results: what was read from a results.json.
        source: the name that errors give to it.

    Raises:
        ResultsError: keys are missing or have values that can't be used; all are listed.
    """
    try:
        return Results.model_validate(results)
    except ValidationError as error:
        problems = []
        for detail in error.errors():
            key = "".join(
                f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]
            ).lstrip(".")
            problem = detail["msg"].removeprefix("Value error, ")
            problems.append(
                InputProblem(
                    source,
                    problem[:1].lower() + problem[1:],
                    "docs/results-schema.md describes each field; "
                    "`derta quickstart` writes the file anew",
                    key=key or None,
                )
            )
        raise ResultsError(problems) from None


def load_results(path: Path) -> dict[str, Any]:
    """Read a results.json and check it.

    Returns:
        The results as they stand in the file.

    Raises:
        ResultsError: the file is missing, is not JSON, or does not follow the schema.
    """
    remedy = "Give the results.json that `derta quickstart` wrote into its run folder"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        problem = InputProblem(str(path), f"is not JSON ({error.msg})", remedy, line=error.lineno)
        raise ResultsError([problem]) from error
    except UnicodeDecodeError as error:
        raise ResultsError([InputProblem(str(path), "is not UTF-8", remedy)]) from error
    except OSError as error:
        reason = error.strerror or "can't be read"
        raise ResultsError([InputProblem(str(path), reason.lower(), remedy)]) from error
    check_results(results, str(path))
    return results  # type: ignore[no-any-return]  # a dict: the schema was just checked
