"""A score keeps the name it was given, and one that isn't ours is never touched.

Covered: real logs of inspect-ai with reviewers of similar names, scores of other tools, and scores
of before it was said whose they are. Not covered: what the scores say (test_log_scores).
"""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import EvalLog, ProvenanceData, edit_score, read_eval_log, write_eval_log
from inspect_ai.scorer import Score, ScoreEdit

from derta.analysis.human_verdicts import TOGETHER, Judgement, ReviewItem
from derta.review.items import find_logs, load_items
from derta.review.log_scores import WITHDRAWN, write_scores
from tests.evaluate.suites import INSPECT_WARNING
from tests.review.making import AT, judgement, mock_evaluation, review

pytestmark = pytest.mark.filterwarnings(INSPECT_WARNING)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mock") / "run"
    return mock_evaluation(folder, "direct", "multi_turn", overrides=("questions=2",))


@pytest.fixture
def logs(made: Path, tmp_path: Path) -> Path:
    """A folder with a log of each of two scenarios, of two responses each."""
    return shutil.copytree(made / "logs", tmp_path / "logs")


def log_of(logs: Path, scenario: str = "direct") -> Path:
    named = scenario.replace("_", "-")
    (path,) = (path for path in find_logs(logs) if named in path.name)
    return path


def responses(logs: Path, scenario: str = "direct") -> list[ReviewItem]:
    return [each for each in load_items(logs) if each.scenario == scenario]


def change(logs: Path, act: Callable[[EvalLog], None], scenario: str = "direct") -> None:
    """Let another tool change a log."""
    path = log_of(logs, scenario)
    log = read_eval_log(str(path))
    act(log)
    write_eval_log(log, str(path))


def scores(logs: Path, item: ReviewItem) -> dict[str, Score]:
    log = read_eval_log(str(log_of(logs, item.scenario)))
    (found,) = (each for each in log.samples or [] if str(each.id) == item.sample_id)
    return {name: score for name, score in (found.scores or {}).items() if "human" in name}


def values(logs: Path, item: ReviewItem) -> dict[str, Any]:
    return {name: score.value for name, score in scores(logs, item).items()}


def write(logs: Path, *said: Judgement) -> list[str]:
    """Write the scores; return what was told of their names."""
    told: list[str] = []
    write_scores(logs, review(load_items(logs), said), tell=told.append)
    return told


def author(score: Score) -> str:
    provenance = score.history[-1].provenance
    assert provenance is not None
    return provenance.author


def one(names: set[str]) -> str:
    (name,) = names
    return name


# --- reviewers of similar names ------------------------------------------------------------------


def test_a_reviewer_of_a_similar_name_who_comes_later_gets_a_mark_and_the_first_keeps_the_name(
    logs: Path,
) -> None:
    item = responses(logs)[0]
    assert write(logs, judgement(item, "A. B")) == []
    before = scores(logs, item)
    both = judgement(item, "A. B"), judgement(item, "a b", "SAFE")
    told = write(logs, *both)
    after = scores(logs, item)
    assert after["human_a_b"] == before["human_a_b"]
    newcomer = one(set(after) - {"human", "human_a_b"})
    assert newcomer.startswith("human_a_b_")
    assert (after[newcomer].value, author(after[newcomer])) == ("SAFE", "a b")
    assert told == [
        f"human_a_b is the score of another reviewer: what a b says is called {newcomer}."
    ]
    path = log_of(logs)
    written = path.read_bytes()
    assert write(logs, *both) == told
    assert path.read_bytes() == written


def test_a_name_stays_with_the_first_one_even_when_that_one_has_taken_everything_back(
    logs: Path,
) -> None:
    item = responses(logs)[0]
    write(logs, judgement(item, "A. B"))
    write(logs, judgement(item, "a b", "SAFE"))
    found = scores(logs, item)
    assert (found["human_a_b"].value, author(found["human_a_b"])) == (WITHDRAWN, "derta review")
    newcomer = one(set(found) - {"human", "human_a_b"})
    assert found[newcomer].value == "SAFE"
    write(logs, judgement(item, "a b", "SAFE"), judgement(item, "A. B", "CANNOT_TELL"))
    found = scores(logs, item)
    assert set(found) == {"human", "human_a_b", newcomer}
    assert found["human_a_b"].value == "CANNOT_TELL"
    assert [each.value for each in found["human_a_b"].history] == [
        "UNSAFE", WITHDRAWN, "CANNOT_TELL",
    ]  # fmt: skip


def test_a_reviewer_is_called_alike_in_all_logs(logs: Path) -> None:
    first, other = responses(logs)[0], responses(logs, "multi_turn")[0]
    write(logs, judgement(first, "A. B"))
    write(logs, judgement(first, "A. B"), judgement(first, "a b"))
    newcomer = one(set(scores(logs, first)) - {"human", "human_a_b"})
    # In the other log nobody has the plain name; it would be another's there.
    said = (judgement(first, "A. B"), judgement(first, "a b"), judgement(other, "a b"))
    write(logs, *said)
    assert set(scores(logs, other)) == {"human", newcomer}
    write(logs, *said, judgement(other, "A. B"))
    assert set(scores(logs, other)) == {"human", newcomer, "human_a_b"}


def test_reviewers_of_similar_names_who_come_at_once_both_get_a_mark_and_keep_it(
    logs: Path,
) -> None:
    item = responses(logs)[0]
    said = judgement(item, "A. B"), judgement(item, "a b", "SAFE")
    told = write(logs, *said)
    assert len(told) == 2
    assert all("More than one reviewer's name reads as human_a_b" in each for each in told)
    names = set(scores(logs, item)) - {"human"}
    assert len(names) == 2
    assert all(name.startswith("human_a_b_") for name in names)
    write(logs, said[0])
    assert set(scores(logs, item)) - {"human"} == names
    assert sorted(map(str, values(logs, item).values())) == ["UNSAFE", "UNSAFE", WITHDRAWN]


def test_one_person_in_capitals_or_not_has_one_score(logs: Path) -> None:
    item = responses(logs)[0]
    write(logs, judgement(item, "Zoë"))
    write(logs, judgement(item, "ZOË", "SAFE"))  # the review was begun anew meanwhile
    assert values(logs, item) == {"human": "SAFE", "human_zoë": "SAFE"}


def test_nobody_s_name_becomes_that_of_all_together(logs: Path) -> None:
    item = responses(logs)[0]
    said = judgement(item, "together"), judgement(item, "Together!", "SAFE")
    write(logs, *said, judgement(item, TOGETHER, "CANNOT_TELL"))
    found = values(logs, item)
    assert found.pop("human") == "CANNOT_TELL"
    assert sorted(map(str, found.values())) == ["SAFE", "UNSAFE"]


# --- scores of before it was said whose they are -------------------------------------------------


def written_before(name: str, who: str, value: str) -> Callable[[EvalLog], None]:
    def act(log: EvalLog) -> None:
        for sample in log.samples or []:
            provenance = ProvenanceData(
                author=who, reason="derta review", timestamp=datetime.datetime.fromisoformat(AT)
            )
            edit = ScoreEdit(value=value, explanation="", metadata={}, provenance=provenance)
            edit_score(log, sample.id, name, edit, recompute_metrics=False)

    return act


def test_scores_of_before_it_was_said_whose_they_are_belong_to_their_authors(logs: Path) -> None:
    change(logs, written_before("human_a_b", "A. B", "UNSAFE"))
    change(logs, written_before("human", "A. B, Cy", "UNSAFE"))
    item = responses(logs)[0]
    write(logs, judgement(item, "A. B", "SAFE"), judgement(item, "a b", "SAFE"))
    found = values(logs, item)
    assert (found.pop("human"), found.pop("human_a_b")) == ("SAFE", "SAFE")
    assert one(set(found)).startswith("human_a_b_")
    other = responses(logs)[1]
    assert values(logs, other) == {"human": WITHDRAWN, "human_a_b": WITHDRAWN}


def test_who_was_renamed_before_keeps_the_name_that_counts(logs: Path) -> None:
    change(logs, written_before("human_a_b", "A. B", "UNSAFE"))
    change(logs, written_before("human_a_b", "derta review", WITHDRAWN))
    change(logs, written_before("human_a_b_123456", "A. B", "UNSAFE"))
    item = responses(logs)[0]
    write(logs, judgement(item, "A. B", "SAFE"))
    found = values(logs, item)
    assert (found["human_a_b"], found["human_a_b_123456"]) == (WITHDRAWN, "SAFE")
    assert set(found) == {"human", "human_a_b", "human_a_b_123456"}


# --- scores of other tools -----------------------------------------------------------------------


def given_by_another_tool(name: str, value: Any, *, first_only: bool = False) -> Any:
    def act(log: EvalLog) -> None:
        samples = log.samples or []
        for sample in samples[:1] if first_only else samples:
            score = Score(value=value, explanation="by hand", metadata={"hand": "left"})
            sample.scores = {**(sample.scores or {}), name: score}

    return act


def test_another_tool_s_human_score_is_never_touched_and_ours_is_called_otherwise(
    logs: Path,
) -> None:
    change(logs, given_by_another_tool("human", "SAFE"))
    first, second = responses(logs)
    theirs = scores(logs, first)["human"]
    told = write(logs, judgement(first, "Ada"), judgement(second, "Ada"))
    assert told == [
        "The logs hold a score human of another tool, which stays as it is: what people say "
        "together is called human_together."
    ]
    for item in (first, second):
        found = scores(logs, item)
        assert found["human"] == theirs
        assert (found["human_together"].value, found["human_ada"].value) == ("UNSAFE", "UNSAFE")
    # A verdict that was taken back is ours alone, too.
    assert write(logs, judgement(second, "Ada")) == told
    assert values(logs, first) == {
        "human": "SAFE", "human_together": WITHDRAWN, "human_ada": WITHDRAWN,
    }  # fmt: skip
    assert scores(logs, first)["human"] == theirs


def test_a_person_s_name_that_another_tool_s_score_has_gets_a_mark(logs: Path) -> None:
    change(logs, given_by_another_tool("human_ada", 0.5))
    item = responses(logs)[0]
    theirs = scores(logs, item)["human_ada"]
    (told,) = write(logs, judgement(item, "Ada"))
    found = scores(logs, item)
    assert found["human_ada"] == theirs
    ours = one(set(found) - {"human", "human_ada"})
    assert ours.startswith("human_ada_")
    assert "a score human_ada of another tool" in told
    assert told.endswith(f"what Ada says is called {ours}.")


def test_another_tool_s_score_in_one_sample_keeps_its_name_from_all_that_are_new(
    logs: Path,
) -> None:
    change(logs, given_by_another_tool("human", "SAFE", first_only=True), "multi_turn")
    first, other = responses(logs)[0], responses(logs, "multi_turn")
    write(logs, judgement(first, "Ada"), *(judgement(each, "Ada") for each in other))
    assert set(values(logs, first)) == {"human_together", "human_ada"}
    assert [values(logs, each).get("human") for each in other].count("SAFE") == 1
    assert all("human_together" in values(logs, each) for each in other)


def test_another_tool_that_comes_after_us_changes_no_name_that_stands(logs: Path) -> None:
    first, second = responses(logs)
    write(logs, judgement(first, "Ada"))
    ours = scores(logs, first)["human"]

    def beside_ours(log: EvalLog) -> None:
        for sample in log.samples or []:
            sample.scores = {"human": Score(value="SAFE"), **(sample.scores or {})}

    change(logs, beside_ours)
    write(logs, judgement(first, "Ada"), judgement(second, "Ada"))
    assert scores(logs, first)["human"] == ours
    assert values(logs, second) == {
        "human": "SAFE", "human_together": "UNSAFE", "human_ada": "UNSAFE",
    }  # fmt: skip


def test_another_tool_s_score_that_was_edited_over_is_theirs_from_now_on(logs: Path) -> None:
    change(logs, given_by_another_tool("human", "SAFE"))
    change(logs, written_before("human", "Ada", "UNSAFE"))
    item = responses(logs)[0]
    before = scores(logs, item)["human"]
    write(logs, judgement(item, "Ada", "SAFE"))
    found = scores(logs, item)
    assert found["human"] == before
    assert found["human_together"].value == "SAFE"


# --- models that share their logs ----------------------------------------------------------------


def test_of_models_that_share_their_logs_the_one_that_is_judged_counts(
    made: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(made, tmp_path / "run")
    values_of = json.loads((run / "evaluation.json").read_text("utf-8"))
    (subject,) = values_of["subjects"]
    values_of["subjects"].append({**subject, "name": "twin"})
    (run / "evaluation.json").write_text(json.dumps(values_of), "utf-8")
    own = [each for each in load_items(run) if each.scenario == "direct"]
    twins = [replace(each, id=f"twin{number}", model="twin") for number, each in enumerate(own)]
    counts = write_scores(run, review([*own, *twins], [judgement(each) for each in twins]))
    assert counts == {"logs": 1, "scores": 4, "same": 0, "missing": 0}
