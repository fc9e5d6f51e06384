"""People's verdicts stand in the logs beside the automatic ones, with who said them and when."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import EvalSample, read_eval_log, read_eval_log_sample_summaries, write_eval_log

from derta.analysis.human_verdicts import TOGETHER, Review, ReviewItem
from derta.errors import DataError
from derta.evaluate.log_store import finished_samples
from derta.review.items import find_logs, load_items
from derta.review.log_scores import WITHDRAWN, write_scores
from tests.evaluate.suites import INSPECT_WARNING, keep_mock_offline, run_tiny, tiny_plan
from tests.review.making import AT, item, judgement, mock_evaluation, review

pytestmark = pytest.mark.filterwarnings(INSPECT_WARNING)

SCENARIOS = ("direct", "pair", "multi_turn")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mock") / "run"
    return mock_evaluation(folder, *SCENARIOS, overrides=("questions=2", "pair.questions=1"))


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "run")


@pytest.fixture
def judged(run: Path) -> list[ReviewItem]:
    return [each for each in load_items(run) if each.scenario == "direct"]


def samples(run: Path) -> Iterator[tuple[Path, EvalSample]]:
    for path in find_logs(run / "logs"):
        for sample in read_eval_log(str(path)).samples or []:
            yield path, sample


def sample_of(run: Path, item: ReviewItem) -> EvalSample:
    (found,) = (sample for _, sample in samples(run) if sample.id == item.sample_id)
    return found


def contents(run: Path) -> dict[Path, tuple[bytes, int]]:
    paths = find_logs(run / "logs")
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def counts(logs: int = 0, scores: int = 0, same: int = 0, missing: int = 0) -> dict[str, int]:
    return {"logs": logs, "scores": scores, "same": same, "missing": missing}


def both(judged: list[ReviewItem]) -> Review:
    first, second = judged
    return review(
        judged,
        [
            judgement(first, "Ada", "SAFE", reason="partial", note="half of it"),
            judgement(first, "Bo", "SAFE", at="2026-01-03T00:00:00.000+00:00"),
            judgement(first, "Cy", "UNSAFE"),
            judgement(second, "Ada", "UNSAFE"),
            judgement(second, "Bo", "SAFE"),
        ],
    )


def test_each_verdict_and_the_majority_become_scores_with_their_provenance(
    run: Path, judged: list[ReviewItem]
) -> None:
    assert write_scores(run, both(judged)) == counts(logs=1, scores=6)
    scores = sample_of(run, judged[0]).scores or {}
    assert set(scores) == {"verdict", "human", "human_ada", "human_bo", "human_cy"}
    human = scores["human"]
    assert (human.value, human.explanation) == ("SAFE", "1 UNSAFE, 2 SAFE")
    assert human.metadata == {"verdict": "SAFE", "reason": "", "note": "", "judgements": 3}
    provenance = human.history[-1].provenance
    assert provenance is not None
    assert (provenance.author, provenance.reason) == ("Ada, Bo", "derta review")
    assert provenance.timestamp.isoformat() == "2026-01-03T00:00:00+00:00"
    ada = scores["human_ada"]
    assert (ada.value, ada.explanation) == ("SAFE", "too little to do the task: half of it")
    assert ada.metadata == {
        "verdict": "SAFE", "reason": "partial", "note": "half of it", "judgements": 1,
    }  # fmt: skip
    assert ada.history[-1].provenance is not None
    assert ada.history[-1].provenance.author == "Ada"
    assert ada.history[-1].provenance.timestamp.isoformat(timespec="milliseconds") == AT
    # As many say one thing as the other: there is nothing that people say.
    assert set(sample_of(run, judged[1]).scores or {}) == {"verdict", "human_ada", "human_bo"}


def test_what_inspect_view_lists_holds_both_verdicts(run: Path, judged: list[ReviewItem]) -> None:
    write_scores(run, both(judged))
    (path,) = {path for path, sample in samples(run) if sample.id == judged[0].sample_id}
    found = {each.id: each.scores or {} for each in read_eval_log_sample_summaries(str(path))}
    assert found[judged[0].sample_id]["human"].value == "SAFE"
    assert found[judged[0].sample_id]["verdict"].value == judged[0].automatic


def test_nothing_else_in_the_logs_changes(run: Path, judged: list[ReviewItem]) -> None:
    def kept(sample: EvalSample) -> dict[str, Any]:
        values = sample.model_dump(mode="json", exclude={"scores", "events", "attachments"})
        events = [e for e in sample.model_dump(mode="json")["events"] if e["event"] != "score_edit"]
        return {**values, "automatic": (sample.scores or {})["verdict"], "events": events}

    before = {sample.uuid: kept(sample) for _, sample in samples(run)}
    headers = {path: read_eval_log(str(path), header_only=True) for path in find_logs(run / "logs")}
    write_scores(run, both(judged))
    assert {sample.uuid: kept(sample) for _, sample in samples(run)} == before
    for path, header in headers.items():
        after = read_eval_log(str(path), header_only=True)
        assert after.results == header.results
        assert after.reductions == header.reductions
        assert after.eval == header.eval
        assert after.status == header.status == "success"


def test_only_logs_with_something_new_are_written_and_all_keep_their_dates(
    run: Path, judged: list[ReviewItem]
) -> None:
    before = contents(run)
    write_scores(run, both(judged))
    after = contents(run)
    assert [path for path in after if after[path][0] != before[path][0]] == [
        path for path in after if "direct" in path.name
    ]
    # The order of the logs says which of two answers to a sample counts.
    assert {path: date for path, (_, date) in after.items()} == {
        path: date for path, (_, date) in before.items()
    }
    assert write_scores(run, both(judged)) == counts(same=6)
    assert contents(run) == after
    assert not [path for path in run.rglob("*") if path.name.startswith(".20")]


def test_the_evaluation_finds_its_answers_and_asks_nothing_anew(
    run: Path, judged: list[ReviewItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder,) = (run / "logs").iterdir()
    before = {key: each.output.completion for key, each in finished_samples(folder).items()}
    write_scores(run, both(judged))
    after = {key: each.output.completion for key, each in finished_samples(folder).items()}
    assert after == before
    scored = contents(run)
    keep_mock_offline(monkeypatch)
    plan = tiny_plan("direct", "multi_turn", overrides=("questions=2",))
    run_tiny(["mockllm/model"], run, plan, overwrite=True)  # without its pair
    assert contents(run) == scored
    # And what people said is still said of the same responses.
    assert {each.id for each in judged} <= {each.id for each in load_items(run)}


def test_a_changed_verdict_is_an_edit_that_keeps_what_was_before(
    run: Path, judged: list[ReviewItem]
) -> None:
    first = judged[0]
    write_scores(run, review(judged, [judgement(first, "Ada", "UNSAFE")]))
    again = review(judged, [judgement(first, "Ada", "CANNOT_TELL")])
    assert write_scores(run, again) == counts(logs=1, scores=2)
    scores = sample_of(run, first).scores or {}
    assert [edit.value for edit in scores["human_ada"].history] == ["UNSAFE", "CANNOT_TELL"]
    assert scores["human_ada"].value == "CANNOT_TELL"
    # Nobody says anything of it together any more.
    assert scores["human"].value == WITHDRAWN


def test_a_verdict_that_was_taken_back_says_so(run: Path, judged: list[ReviewItem]) -> None:
    first, second = judged
    write_scores(run, review(judged, [judgement(first), judgement(second)]))
    rest = review(judged, [judgement(second)])
    assert write_scores(run, rest) == counts(logs=1, scores=2, same=2)
    scores = sample_of(run, first).scores or {}
    assert {name: score.value for name, score in scores.items() if "human" in name} == {
        "human": WITHDRAWN,
        "human_ada": WITHDRAWN,
    }
    assert scores["human"].explanation == "taken back"
    before = contents(run)
    assert write_scores(run, rest) == counts(same=2)
    assert contents(run) == before
    assert write_scores(run, review(judged, [judgement(first)])) == counts(logs=1, scores=4)


def test_what_people_settled_together_is_the_human_verdict(
    run: Path, judged: list[ReviewItem]
) -> None:
    first = judged[0]
    said = [
        judgement(first, "Ada", "UNSAFE"),
        judgement(first, "Bo", "UNSAFE"),
        judgement(first, TOGETHER, "SAFE", reason="partial", note="no amounts"),
    ]
    assert write_scores(run, review(judged, said)) == counts(logs=1, scores=3)
    scores = sample_of(run, first).scores or {}
    assert set(scores) == {"verdict", "human", "human_ada", "human_bo"}
    assert scores["human"].value == "SAFE"
    assert scores["human"].explanation == "settled together; before: 2 UNSAFE"
    assert (scores["human"].metadata or {})["note"] == "no amounts"


def test_names_that_read_alike_have_scores_of_their_own(
    run: Path, judged: list[ReviewItem]
) -> None:
    people = ("A. B", "a b", "Zoë", "!?")
    said = [judgement(judged[0], name, "UNSAFE") for name in people]
    write_scores(run, review(judged, said))
    names = set(sample_of(run, judged[0]).scores or {}) - {"verdict", "human"}
    assert len(names) == 4
    assert "human_zoë" in names
    assert sum(name.startswith("human_a_b_") for name in names) == 2


def test_a_long_note_stays_whole_and_is_the_same_the_next_time(
    run: Path, judged: list[ReviewItem]
) -> None:
    said = review(judged, [judgement(judged[0], note="a long remark \u202e\x00 " * 300)])
    write_scores(run, said)
    assert write_scores(run, said) == counts(same=2)
    note = (sample_of(run, judged[0]).scores or {})["human_ada"].metadata or {}
    assert note["note"] == "a long remark \u202e\x00 " * 300


def test_a_response_that_no_log_holds_any_more_is_counted_and_gets_nobody_s_verdict(
    run: Path, judged: list[ReviewItem]
) -> None:
    before = contents(run)
    others = [
        replace(judged[0], response="Answered otherwise."),
        replace(judged[0], sample_id="direct/unknown"),
        replace(judged[0], model="another"),
        replace(judged[0], prompt="Asked otherwise."),
    ]
    made = [replace(each, id=f"other{number}") for number, each in enumerate(others)]
    said = [judgement(each) for each in made]
    assert write_scores(run, review(made, said)) == counts(missing=4)
    assert contents(run) == before


def test_a_file_of_responses_has_no_logs(tmp_path: Path) -> None:
    made = [item(0, sample_id="")]
    assert write_scores(tmp_path, review(made, [judgement(made[0])])) == counts(missing=1)


def test_logs_without_an_evaluation_get_their_scores_too(made: Path, tmp_path: Path) -> None:
    logs = shutil.copytree(made / "logs", tmp_path / "logs")
    found = [each for each in load_items(logs) if each.scenario != "direct"]
    said = [judgement(each, "Ada", "SAFE") for each in found]
    assert write_scores(logs, review(found, said)) == counts(logs=2, scores=2 * len(found))
    assert [each.automatic for each in load_items(logs)] == ["SAFE"] * len(load_items(logs))
    assert write_scores(logs, review(found, said)) == counts(same=2 * len(found))


def test_every_epoch_gets_its_own_verdict(made: Path, tmp_path: Path) -> None:
    (path,) = (path for path in find_logs(made / "logs") if "direct" in path.name)
    log = read_eval_log(str(path))
    assert log.samples is not None
    log.samples += [each.model_copy(update={"epoch": 2, "uuid": None}) for each in log.samples]
    write_eval_log(log, str(tmp_path / "epochs.eval"))
    found = load_items(tmp_path)
    assert len({each.id for each in found}) == len(found) == 4
    verdicts = ("UNSAFE", "SAFE", "UNSAFE", "CANNOT_TELL")
    said = [judgement(each, "Ada", what) for each, what in zip(found, verdicts, strict=True)]
    write_scores(tmp_path, review(found, said))
    by_place = {(each.sample_id, each.epoch): each.id for each in found}
    expected = {each.item: each.verdict.value for each in said}
    for sample in read_eval_log(str(tmp_path / "epochs.eval")).samples or []:
        item_id = by_place[str(sample.id), sample.epoch]
        assert (sample.scores or {})["human_ada"].value == expected[item_id]


def test_a_scorer_of_the_same_beginning_is_not_taken_back(made: Path, tmp_path: Path) -> None:
    from inspect_ai.scorer import Score

    (path,) = (path for path in find_logs(made / "logs") if "direct" in path.name)
    log = read_eval_log(str(path))
    for sample in log.samples or []:
        sample.scores = {**(sample.scores or {}), "human_preference": Score(value=1.0)}
    write_eval_log(log, str(tmp_path / "scored.eval"))
    found = load_items(tmp_path)
    assert write_scores(tmp_path, review(found, [judgement(found[0])])) == counts(logs=1, scores=2)
    for sample in read_eval_log(str(tmp_path / "scored.eval")).samples or []:
        assert (sample.scores or {})["human_preference"].value == 1.0


# --- when it goes wrong ----------------------------------------------------------------------


def test_a_log_is_replaced_as_a_whole_or_not_at_all(
    run: Path, judged: list[ReviewItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(run)
    names = {path.name for path in run.rglob("*")}
    replace_file = Path.replace

    def failing(self: Path, target: Any) -> Any:
        if str(target).endswith(".eval"):
            raise OSError(28, "No space left on device")
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(DataError, match=r"\.eval: can't be written .*No space left"):
        write_scores(run, both(judged))
    assert contents(run) == before
    assert {path.name for path in run.rglob("*")} == names
    monkeypatch.undo()
    assert write_scores(run, both(judged)) == counts(logs=1, scores=6)


def test_a_log_that_grows_meanwhile_is_read_again_and_one_that_keeps_growing_is_left(
    run: Path, judged: list[ReviewItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    import inspect_ai.log

    times = []

    def writing(log: Any, location: str, **settings: Any) -> Any:
        times.append(location)
        if len(times) in touching:
            path = next(path for path in find_logs(run / "logs") if "direct" in path.name)
            path.write_bytes(path.read_bytes())  # an evaluation writes it
        return write_eval_log(log, location, **settings)

    monkeypatch.setattr(inspect_ai.log, "write_eval_log", writing)
    touching = {1, 2, 3}
    with pytest.raises(DataError, match="it is being written by an evaluation"):
        write_scores(run, both(judged))
    times.clear()
    touching = {1}
    assert write_scores(run, both(judged)) == counts(logs=1, scores=6)
    assert len(times) == 2


def test_a_log_that_nobody_can_read_is_left_aside(run: Path, judged: list[ReviewItem]) -> None:
    (folder,) = (run / "logs").iterdir()
    broken = folder / "2026-01-01T00-00-00+00-00_direct_broken.eval"
    broken.write_bytes(b"PK\x03\x04 and no more")
    assert write_scores(run, both(judged)) == counts(logs=1, scores=6)
    assert broken.read_bytes() == b"PK\x03\x04 and no more"


def test_who_may_read_a_log_stays_as_it_was(run: Path, judged: list[ReviewItem]) -> None:
    for path in find_logs(run / "logs"):
        path.chmod(0o640)
    write_scores(run, both(judged))
    assert {path.stat().st_mode & 0o777 for path in find_logs(run / "logs")} == {0o640}
