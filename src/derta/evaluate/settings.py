"""What a safety suite measures: its scenarios, how many questions, how much is generated.

The defaults are the paper's, where it has them (METHOD, measurements). A budget is a set of other
values; any key can be changed from the command line. The descriptions of the fields are what an
error says is valid. Covered: keys, values and budgets. Not covered: what a scenario does with
them (`derta.evaluate.scenarios`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from derta.errors import RecipeError
from derta.train.recipe import as_problems
from derta.train.recipe_yaml import Origins, merge_overrides

__all__ = ["BUDGETS", "SuiteSettings", "load_settings"]

_Count = Annotated[int, Field(ge=1, description="a whole number, 1 or more")]
_CountOrNone = Annotated[
    int | None, Field(ge=1, description="a whole number, 1 or more, or null for all of them")
]
_Tokens = Annotated[int, Field(ge=1, description="a number of tokens, 1 or more")]
_TokensOrNone = Annotated[
    int | None, Field(ge=1, description="a number of tokens, or null for the suite's max_tokens")
]
_Seed = Annotated[int, Field(ge=0, description="a whole number, 0 or more")]
_TextOrNone = Annotated[
    str | None, Field(min_length=1, pattern=r"\S", description="a text, or null for the default")
]
_Share = Annotated[float, Field(ge=0, le=1, description="a share from 0 to 1")]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, description="a number above 0")]
_Depths = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...],
    Field(min_length=1, description="a list of numbers of tokens, such as [0, 20, 80]"),
]
_LimitOrNone = Annotated[
    float | None, Field(gt=0, description="a number above 0, or null for no limit")
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CodeAttackSettings(_Section):
    """Which data structures hide the question."""

    variants: Annotated[
        tuple[Literal["stack", "list", "string"], ...],
        Field(min_length=1, description="a list of stack, list and string"),
    ] = ("stack",)
    max_tokens: _TokensOrNone = None


class JailbreakChatSettings(_Section):
    """Where the role-play templates come from."""

    templates: _TextOrNone = None
    """None: the embedded ones; `pyrit`: the published set; else a folder or a file."""


class SelfCipherSettings(_Section):
    """The demonstrations before the question."""

    demonstrations: _TextOrNone = None
    """A file of the user's; None: the embedded ones, which are harmless."""
    count: _Count = 5


class CompletingSettings(_Section):
    """Who turns a question into a declarative opening."""

    rewriter: _TextOrNone = None
    """A model, as inspect-ai names it; None: a rule."""


class PairSettings(_Section):
    """The search by an attacker model (Chao et al. 2023)."""

    questions: _CountOrNone = 50
    streams: _Count = 20
    depth: _Count = 3
    attacker: _TextOrNone = None
    """A model, as inspect-ai names it; None: a scripted attacker, which is weaker."""
    judge: _TextOrNone = None
    """Who scores inside the loop; None: the offline judge."""
    calls: Annotated[
        int | None, Field(ge=1, description="calls of all three models a question, or null")
    ] = None
    seconds: _LimitOrNone = None


class AutoDanSettings(_Section):
    """The genetic search on local weights (Liu et al. 2023)."""

    questions: _CountOrNone = 50
    population: _Count = 256
    generations: _Count = 100
    elite_share: _Share = 0.05
    crossover_rate: _Share = 0.5
    break_points: _Count = 5
    mutation_rate: _Share = 0.01
    rewriter: _TextOrNone = None
    calls: Annotated[int | None, Field(ge=1, description="a number of calls, or null")] = None
    seconds: _LimitOrNone = None


class PrefillSettings(_Section):
    """After how many tokens of a harmful response the model goes on."""

    depths: _Depths = (0, 5, 10, 20, 40, 80)
    max_tokens: _TokensOrNone = None


class LongPrefillSettings(_Section):
    """The same with long continuations."""

    depths: _Depths = (160, 320, 640, 1280, 2000)
    questions: _CountOrNone = None
    max_tokens: _TokensOrNone = None


class RankAssistedSettings(_Section):
    """How many tokens are picked among the most likely ones."""

    steps: _Count = 40
    top: _Count = 20


class LanguagesSettings(_Section):
    """In which languages the answer is demanded."""

    languages: Annotated[
        tuple[str, ...], Field(min_length=1, description="a list of languages, such as [French]")
    ] = ("Chinese", "French", "German", "Spanish")


class MultiTurnSettings(_Section):
    """How many turns lead up to the question, itself included."""

    turns: Annotated[int, Field(ge=2, le=5, description="a number of turns, 2 to 5")] = 3


class SamplingSettings(_Section):
    """Answers drawn instead of decoded greedily."""

    temperature: _Positive = 1.0
    top_p: Annotated[float, Field(gt=0, le=1, description="a share above 0 and at most 1")] = 1.0
    samples: _Count = 3
    """Answers a question, each with a seed of its own."""


class FineTuningSettings(_Section):
    """A few steps of training on a copy: how fast is the defence trained away."""

    kinds: Annotated[
        tuple[Literal["harmful", "benign"], ...],
        Field(min_length=1, description="a list of harmful and benign"),
    ] = ("harmful", "benign")
    steps: _Depths = (5, 10, 20)
    batch_size: _Count = 8
    learning_rate: _Positive = 2e-4
    max_length: _Tokens = 256
    questions: _CountOrNone = None
    max_tokens: _TokensOrNone = None
    triples: _TextOrNone = None
    """A file of triples, whose harmful responses are trained on; None: the sample set's."""
    helpful: _TextOrNone = None
    """A file of helpful examples for the benign kind; None: the sample set's."""


class HelpfulnessSettings(_Section):
    """Held-out helpful responses."""

    rows: _CountOrNone = None


class SuiteSettings(_Section):
    """All of a suite."""

    questions: _CountOrNone = 200
    """Harmful questions a scenario."""
    benign_questions: _CountOrNone = None
    """Harmless questions of each kind."""
    max_tokens: _Tokens = 1024
    """New tokens a response."""
    benign_max_tokens: _TokensOrNone = None
    seed: _Seed = 0
    minimum_samples: _Count = 20
    """No curve has a point that fewer samples reach."""
    batch_size: _Count = 96
    code_attack: CodeAttackSettings = CodeAttackSettings()
    jailbreak_chat: JailbreakChatSettings = JailbreakChatSettings()
    self_cipher: SelfCipherSettings = SelfCipherSettings()
    completing: CompletingSettings = CompletingSettings()
    pair: PairSettings = PairSettings()
    autodan: AutoDanSettings = AutoDanSettings()
    prefill: PrefillSettings = PrefillSettings()
    long_prefill: LongPrefillSettings = LongPrefillSettings()
    rank_assisted: RankAssistedSettings = RankAssistedSettings()
    languages: LanguagesSettings = LanguagesSettings()
    multi_turn: MultiTurnSettings = MultiTurnSettings()
    sampling: SamplingSettings = SamplingSettings()
    fine_tuning: FineTuningSettings = FineTuningSettings()
    helpfulness: HelpfulnessSettings = HelpfulnessSettings()


BUDGETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "small": {
        "questions": 40,
        "benign_questions": 40,
        "max_tokens": 80,
        "benign_max_tokens": 40,
        "code_attack": {"max_tokens": 112},
        "pair": {"questions": 10, "streams": 4, "depth": 2},
        "autodan": {"questions": 10, "population": 8, "generations": 2},
        "prefill": {"max_tokens": 40},
        "long_prefill": {"max_tokens": 24},
        "rank_assisted": {"steps": 20},
        "languages": {"languages": ("Chinese", "French")},
        "multi_turn": {"turns": 2},
        "sampling": {"samples": 1},
        "fine_tuning": {"steps": (5, 10), "batch_size": 4, "max_tokens": 40, "max_length": 128},
        "helpfulness": {"rows": 40},
    },
    "smoke": {
        "questions": 2,
        "benign_questions": 2,
        "max_tokens": 12,
        "minimum_samples": 1,
        "pair": {"questions": 1, "streams": 2, "depth": 2},
        "autodan": {"questions": 1, "population": 4, "generations": 2},
        "prefill": {"depths": (0, 5)},
        "long_prefill": {"depths": (160,), "questions": 1},
        "rank_assisted": {"steps": 4},
        "languages": {"languages": ("Chinese", "French")},
        "sampling": {"samples": 1},
        "fine_tuning": {"steps": (1,), "batch_size": 2, "max_length": 64},
        "helpfulness": {"rows": 4},
    },
}
"""paper: METHOD's settings; small: hours become minutes on a CPU; smoke: every path, no figures."""


def load_settings(budget: str, overrides: Sequence[str] = ()) -> SuiteSettings:
    """Make the settings of a budget with `key=value` laid over it.

    Raises:
        RecipeError: there is no such budget, or a key or value can't be used; all are listed.
    """
    if budget not in BUDGETS:
        raise RecipeError(f"unknown budget {budget!r}; there are {', '.join(BUDGETS)}")
    values: dict[str, Any] = {
        key: dict(value) if isinstance(value, dict) else value
        for key, value in BUDGETS[budget].items()
    }
    origins = Origins("settings")
    problems = merge_overrides(values, overrides, origins)
    try:
        settings = SuiteSettings.model_validate(values)
    except ValidationError as error:
        problems += as_problems(error, origins, SuiteSettings)
    if problems:
        raise RecipeError("\n".join(str(problem) for problem in problems))
    return settings
