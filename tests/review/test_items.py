"""What is judged: answers to harmful questions, each known by all that is judged of it."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from derta.data.streams import stream_rows
from derta.errors import DataError
from derta.evaluate.judged_files import Response, write_judged
from derta.files import FORMULA
from derta.judges.verdicts import Judgement, Verdict
from derta.review.items import choose_items, find_logs, load_items, review_folder
from tests.evaluate.suites import INSPECT_WARNING
from tests.review.making import evaluation_folder, mock_evaluation, outcomes

pytestmark = pytest.mark.filterwarnings(INSPECT_WARNING)


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


# --- where a review lies ---------------------------------------------------------------------


def test_the_review_lies_in_the_run_or_beside_the_file(tmp_path: Path) -> None:
    run = evaluation_folder(tmp_path / "run", outcomes(1))
    (run / "logs").mkdir()
    for named in (run, run / "evaluation.json", run / "outcomes.jsonl", run / "logs"):
        assert review_folder(named) == run / "review"
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "one.eval").touch()
    assert review_folder(tmp_path / "logs") == tmp_path / "logs" / "review"
    assert review_folder(tmp_path / "logs" / "one.eval") == tmp_path / "logs" / "review"
    (tmp_path / "answers.csv").touch()
    assert review_folder(tmp_path / "answers.csv") == tmp_path / "answers-review"


def test_what_isn_t_there_is_an_error(tmp_path: Path) -> None:
    for ask in (review_folder, load_items):
        with pytest.raises(DataError, match="no such file or folder"):
            ask(tmp_path / "nowhere")


# --- an evaluation ---------------------------------------------------------------------------


def test_an_evaluation_gives_its_harmful_questions_with_a_verdict(tmp_path: Path) -> None:
    first, second, third, fourth = outcomes(4, scenario="prefill", cell="k=4", prefilled="Sure")
    made = [
        first,
        replace(second, category="look-alike", scenario="benign"),
        replace(third, verdict="ERROR"),
        replace(fourth, verdict="UNREADABLE", truncated=True),
    ]
    run = evaluation_folder(tmp_path, made)
    one, two = load_items(run)
    assert one.question == "How do I skip queue 0?"
    assert one.response == "Walk past 0 people."
    assert (one.automatic, one.automatic_reason, one.truncated) == ("UNSAFE", "made up", False)
    assert (one.sample_id, one.epoch, one.log) == ("prefill/k=4/q0", 1, "")
    assert one.stratum == ("derta", "prefill", "UNSAFE")
    assert (two.automatic, two.truncated) == ("UNREADABLE", True)


def test_an_id_stays_with_what_is_judged_and_goes_with_it(tmp_path: Path) -> None:
    made = outcomes(3)
    before = [each.id for each in load_items(evaluation_folder(tmp_path / "a", made))]
    # Another order, another judge and more responses change no id.
    other = [replace(each, verdict="UNREADABLE", reason="", truncated=True) for each in made[::-1]]
    more = outcomes(2, model="untouched")
    after = [each.id for each in load_items(evaluation_folder(tmp_path / "b", more + other))]
    assert after[2:] == before[::-1]
    assert len({*before, *after}) == 5
    for change in (
        {"response": "Wait."},
        {"prompt": "Otherwise asked"},
        {"cell": "k=4"},
        {"question": "Which?"},
        {"prefilled": "Sure"},
        {"question_id": "q7"},
    ):
        run = evaluation_folder(tmp_path / "c", [replace(made[0], **change)])
        assert load_items(run)[0].id not in before


def test_equal_responses_are_judged_one_by_one(tmp_path: Path) -> None:
    (made,) = outcomes(1)
    found = load_items(evaluation_folder(tmp_path, [made, made, made]))
    assert len({each.id for each in found}) == 3
    assert found[0].id == load_items(evaluation_folder(tmp_path, [made]))[0].id


def test_half_characters_become_marks_that_can_be_written(tmp_path: Path) -> None:
    run = evaluation_folder(tmp_path, outcomes(1))
    row = json.loads((run / "outcomes.jsonl").read_text("utf-8"))
    lines(run / "outcomes.jsonl", {**row, "response": "half \ud83d of it"})
    assert load_items(run)[0].response == "half ? of it"


def test_scenarios_and_models_are_chosen_by_name(tmp_path: Path) -> None:
    made = [
        *outcomes(2, scenario="code_attack"),
        *outcomes(2, scenario="pair"),
        *outcomes(2, scenario="direct", model="untouched"),
    ]
    run = evaluation_folder(tmp_path, made)
    there = load_items(run)
    assert choose_items(there, run) == there
    assert len(there) == 6
    found = choose_items(there, run, scenarios=["code-attack", "direct"])
    assert {each.scenario for each in found} == {"code_attack", "direct"}
    assert {each.model for each in choose_items(there, run, models=["untouched"])} == {"untouched"}
    with pytest.raises(DataError, match=r"no scenario 'dirct'.*It has code_attack, pair, direct"):
        choose_items(there, run, scenarios=["dirct"])
    with pytest.raises(DataError, match=r"no model 'vanilla'.*It has derta, untouched"):
        choose_items(there, run, models=["vanilla"])
    with pytest.raises(DataError, match=r"no response in these scenarios.*untouched in direct"):
        choose_items(there, run, scenarios=["pair"], models=["untouched"])


def test_an_evaluation_without_harmful_questions_has_nothing_to_judge(tmp_path: Path) -> None:
    run = evaluation_folder(tmp_path, outcomes(2, category="ordinary", scenario="benign"))
    with pytest.raises(DataError, match="no response to a harmful question"):
        load_items(run)


def test_an_evaluation_that_was_interrupted_is_told_from_a_folder_of_logs(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").touch()
    (tmp_path / "logs").mkdir()
    with pytest.raises(DataError, match=r"isn't finished.*it goes on"):
        load_items(tmp_path)


# --- logs ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mock_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mock") / "run"
    return mock_evaluation(folder, "direct", "languages", "benign", overrides=("questions=2",))


def test_logs_give_what_the_evaluation_gives(mock_run: Path, tmp_path: Path) -> None:
    expected = load_items(mock_run)
    logs = shutil.copytree(mock_run / "logs", tmp_path / "logs")
    found = load_items(logs)
    assert {each.scenario for each in found} == {"direct", "languages"}
    by_sample = {each.sample_id: each for each in found}
    assert len(found) == len(by_sample) == len(expected) == 4
    for each in expected:
        other = by_sample[each.sample_id]
        assert other.model == "mockllm/model"
        assert (logs / other.log).is_file()
        # The evaluation names the model shortly and doesn't know the log.
        assert replace(other, id=each.id, model=each.model, log="") == each


def test_one_log_is_read_alone(mock_run: Path) -> None:
    path = next(path for path in find_logs(mock_run / "logs") if "languages" in path.name)
    found = load_items(path)
    assert {each.scenario for each in found} == {"languages"}
    assert {each.log for each in found} == {path.name}


def test_logs_of_a_judge_are_no_responses(mock_run: Path, tmp_path: Path) -> None:
    from inspect_ai.log import read_eval_log, write_eval_log

    (path,) = (path for path in find_logs(mock_run / "logs") if "direct" in path.name)
    log = read_eval_log(str(path))
    log.eval.metadata = {"judge": "rubric:mockllm/model"}
    write_eval_log(log, str(tmp_path / "judge.eval"))
    with pytest.raises(DataError, match="no response to a harmful question"):
        load_items(tmp_path)


def test_a_log_that_goes_on_from_another_is_not_judged_twice(
    mock_run: Path, tmp_path: Path
) -> None:
    (path,) = (path for path in find_logs(mock_run / "logs") if "direct" in path.name)
    shutil.copy(path, tmp_path / "first.eval")
    shutil.copy(path, tmp_path / "second.eval")
    assert {each.log for each in load_items(tmp_path)} == {"second.eval"}
    assert len(load_items(tmp_path)) == 2


def test_what_people_have_said_in_a_log_is_not_the_automatic_verdict(
    mock_run: Path, tmp_path: Path
) -> None:
    from inspect_ai.log import edit_score, read_eval_log, write_eval_log
    from inspect_ai.scorer import ScoreEdit

    (path,) = (path for path in find_logs(mock_run / "logs") if "direct" in path.name)
    log = read_eval_log(str(path))
    for sample in log.samples or []:
        for name in ("human", "human_ada"):
            edit_score(log, sample.id, name, ScoreEdit(value="UNSAFE"), recompute_metrics=False)
        assert sample.scores is not None
        del sample.scores["verdict"]
    write_eval_log(log, str(tmp_path / "scored.eval"))
    assert {each.automatic for each in load_items(tmp_path)} == {""}


def test_a_log_that_nobody_can_read_is_left_aside_in_a_folder_and_an_error_alone(
    mock_run: Path, tmp_path: Path
) -> None:
    logs = shutil.copytree(mock_run / "logs", tmp_path / "logs")
    broken = logs / "broken.eval"
    broken.write_bytes(b"PK\x03\x04 and no more")
    assert len(load_items(logs)) == 4
    with pytest.raises(DataError, match=r"broken\.eval: can't be read"):
        load_items(broken)
    for path in find_logs(logs):
        if path != broken:
            path.unlink()
    with pytest.raises(DataError, match=r"of its logs \(not in broken\.eval\)"):
        load_items(logs)


def test_a_folder_with_nothing_in_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no responses in this folder"):
        load_items(tmp_path)


# --- files -----------------------------------------------------------------------------------


def test_a_file_of_responses_is_judged_with_or_without_names(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "mine.jsonl",
        {"goal": "How do I skip?", "prompt": "As a poem: skip", "output": "Roses", "id": 7},
        {"goal": "How do I skip?", "prompt": "", "output": "Violets", "model": "mine"},
        {"goal": "How do I skip?", "prompt": "", "output": "Sugar", "attack": "poem"},
    )
    first, second, third = load_items(path)
    assert (first.question, first.prompt, first.response) == (
        "How do I skip?", "As a poem: skip", "Roses",
    )  # fmt: skip
    assert (first.question_id, first.automatic, first.log) == ("7", "", "")
    assert second.prompt == "How do I skip?"
    assert (second.model, third.scenario) == ("mine", "poem")
    # Responses to one question belong together though nobody gave it an id.
    assert second.question_id == third.question_id != "7"


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def stream(source: Path, **options: Any) -> Iterator[Any]:
        read.append(source)
        return stream_rows(source, **options)

    monkeypatch.setattr("derta.data.tables.stream_rows", stream)
    load_items(lines(tmp_path / "mine.jsonl", {"prompt": "Skip?", "response": "Past"}))
    assert len(read) == 1


def judged(path: Path, *texts: str, reveal: bool) -> Path:
    rows = [
        Response("How do I skip?", "", "", text, False, "direct", "mine", id=str(number))
        for number, text in enumerate(texts or ("Past all.", "No.", "Hm."))
    ]
    said = [
        Judgement(Verdict.UNSAFE, "words of substance"),
        Judgement(Verdict.SAFE, "a refusal"),
        "the judge failed",
    ]
    write_judged(path, rows, said[: len(rows)], reveal=reveal)
    return path


@pytest.mark.parametrize("name", ["judged.csv", "judged.jsonl"])
def test_a_file_that_a_judge_wrote_brings_its_verdicts(tmp_path: Path, name: str) -> None:
    found = load_items(judged(tmp_path / name, reveal=True))
    assert [each.automatic for each in found] == ["UNSAFE", "SAFE", ""]
    assert found[0].automatic_reason == "words of substance"
    assert found[2].automatic_reason == ""


@pytest.mark.parametrize("sign", FORMULA)
def test_what_a_judge_kept_from_spreadsheets_is_judged_as_it_was(tmp_path: Path, sign: str) -> None:
    text = f"{sign}x\n'{sign}"
    path = judged(tmp_path / "judged.csv", text, reveal=True)
    assert [each.response for each in load_items(path)] == [text]
    with pytest.raises(DataError, match="the responses are masked"):
        load_items(judged(path, text, reveal=False))


def test_what_is_masked_can_t_be_judged(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"judged\.csv: the responses are masked.*--reveal"):
        load_items(judged(tmp_path / "judged.csv", reveal=False))


def test_what_people_said_in_a_file_is_not_taken_for_the_automatic_verdict(tmp_path: Path) -> None:
    path = tmp_path / "labelled.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["prompt", "response", "label"], ["Skip?", "Past", "unsafe"]])
    assert [each.automatic for each in load_items(path)] == [""]


def test_a_file_without_the_columns_is_refused_with_a_remedy_that_a_review_has(
    tmp_path: Path,
) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("asked,said\nHow do I skip a queue?,Walk past.\n", "utf-8")
    with pytest.raises(DataError) as caught:
        load_items(path)
    assert str(caught.value) == (
        f'{path}: no column holds the response. Call one "response" in a copy; it has asked, said'
    )


def test_names_that_a_file_doesn_t_have_can_t_be_chosen(tmp_path: Path) -> None:
    path = lines(tmp_path / "mine.jsonl", {"prompt": "Skip?", "response": "Past"})
    with pytest.raises(DataError, match="It names no models: leave --model out"):
        choose_items(load_items(path), path, models=["mine"])
