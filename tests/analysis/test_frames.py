"""The figures as data frames: the same numbers, in columns that are described."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pandas
import pytest

from derta.analysis import frames
from derta.analysis.analyse import analyse
from derta.analysis.evaluation_folder import read_evaluation
from derta.analysis.outcomes import read_outcomes
from derta.analysis.readings import load_readings
from derta.errors import DataError
from tests.analysis.fake_run import METHODS, write_fake_run

DOCS = Path(__file__).resolve().parents[2] / "docs" / "analysis-figures.md"
FROM_READINGS = (
    "readings_frame", "refusal_probabilities", "refusal_ranks", "roc_curve", "detection",
    "false_stops", "stopped_texts", "divergence",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with runs/evaluation-small in it."""
    place = tmp_path_factory.mktemp("work")
    write_fake_run(place / "runs" / "evaluation-small")
    return place


@pytest.fixture(scope="module")
def folder(run: Path) -> Path:
    return run / "runs" / "evaluation-small"


@pytest.fixture(scope="module")
def figures(folder: Path) -> dict[str, Any]:
    return analyse(
        read_outcomes(folder / "outcomes.jsonl"),
        load_readings(folder),
        evaluation=read_evaluation(folder),
        methods=METHODS,
    )


@pytest.mark.parametrize("name", frames.__all__)
def test_every_column_is_described_and_every_frame_has_rows(name: str, folder: Path) -> None:
    make = getattr(frames, name)
    frame = make(folder)
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) > 0
    described = inspect.getdoc(make) or ""
    assert "Raises:" in described
    if name == "outcomes_frame":
        return  # its columns are the fields of Outcome
    for column in frame.columns:
        # "..._low" stands for all the low ends.
        plain = re.sub(r"_(low|high)$", "", column).removeprefix("greedy_")
        assert re.search(rf"\b{column}\b|\b{plain}\b", described), column


@pytest.mark.parametrize("name", frames.__all__)
def test_a_folder_without_an_evaluation_is_named_with_the_remedy(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"evaluation\.json") as caught:
        getattr(frames, name)(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "derta evaluate" in str(caught.value)
    with pytest.raises(DataError, match="no such folder"):
        getattr(frames, name)(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", FROM_READINGS)
def test_a_folder_that_nobody_analysed_says_which_command_does(name: str, tmp_path: Path) -> None:
    write_fake_run(tmp_path, models=1, questions=2)
    for path in tmp_path.rglob("reading.json"):
        path.unlink()
    with pytest.raises(DataError, match=f"Run `derta analyse {re.escape(str(tmp_path))}`"):
        getattr(frames, name)(tmp_path)
    assert len(frames.outcomes_frame(tmp_path)) > 0


def test_outcomes_are_listed_with_numbers_that_may_be_missing(folder: Path) -> None:
    frame = frames.outcomes_frame(folder)
    outcomes = read_outcomes(folder / "outcomes.jsonl")
    assert len(frame) == len(outcomes)
    assert str(frame["words_before_refusal"].dtype) == "Int64"
    known = [o.words_before_refusal for o in outcomes if o.words_before_refusal is not None]
    assert frame["words_before_refusal"].dropna().tolist() == known


def test_readings_have_one_row_a_context(folder: Path) -> None:
    frame = frames.readings_frame(folder)
    readings = load_readings(folder)
    assert len(frame) == sum(len(each.tokens) + 1 for each in readings)
    chosen = next(each for each in readings if each.prefilled_tokens > 3)
    number = [each for each in readings if each.model == chosen.model].index(chosen)
    rows = frame[(frame["model"] == chosen.model) & (frame["text"] == number)]
    assert rows["position"].tolist() == list(range(len(chosen.tokens) + 1))
    assert rows["token"].tolist()[:-1] == list(chosen.tokens)
    assert rows["token"].isna().tolist()[-1]
    assert rows["prefilled"].sum() == chosen.prefilled_tokens
    assert rows["refusal_rank"].tolist() == chosen.refusal_rank.tolist()
    assert frame[frame["model"] == "untouched"]["divergence"].isna().all()


def test_frames_hold_the_figures_of_the_analysis(folder: Path, figures: dict[str, Any]) -> None:
    places = frames.refusal_positions(folder).query("model == 'derta' and unit == 'tokens'")
    steps = figures["refusal_position"]["derta"]["tokens"]["cumulative"]
    assert places[["position", "share", "low", "high", "n"]].to_dict("records") == steps
    curve = frames.prefill_curve(folder).query("model == 'vanilla' and measure == 'unsafe'")
    points = figures["prefill"]["vanilla"]["points"]
    assert curve["share"].tolist() == [point["unsafe"]["share"] for point in points]
    soon = frames.corrections(folder).query("model == 'derta'").drop(columns="model")
    assert soon.to_dict("records") == [
        {name: entry[name] for name in soon.columns} for entry in figures["correction"]["derta"]
    ]
    for make, figure, column in (
        (frames.refusal_probabilities, "probability", "mean"),
        (frames.refusal_ranks, "rank", "median"),
        (frames.false_stops, "stops", "share"),
        (frames.divergence, "divergence", "mean"),
    ):
        rows = make(folder).query("model == 'derta' and source == 'benign'")
        assert rows[column].tolist() == figures[figure]["derta"]["benign"][column]
    stopped = frames.stopped_texts(folder).query("model == 'derta' and source == 'benign'")
    columns = ["count", "n", "share", "low", "high", "questions"]
    assert stopped[columns].to_dict("records") == [figures["stops"]["derta"]["benign"]["anywhere"]]
    roc = frames.roc_curve(folder).query("model == 'derta'")
    assert roc["true_positive"].tolist() == [
        point["true_positive"] for point in figures["detection"]["derta"]["roc"]
    ]
    assert roc["threshold"].isna().tolist()[:2] == [True, False]


def test_summaries_have_one_row_a_model(folder: Path, figures: dict[str, Any]) -> None:
    detection = frames.detection(folder).set_index("model")
    found = figures["detection"]["derta"]
    assert detection.loc["derta", "auc"] == found["auc"]["value"]
    assert (
        detection.loc["derta", "false_positive_high"]
        == (found["operating_point"]["false_positive"]["high"])
    )
    assert (
        detection.loc["derta", "greedy_true_positive"]
        == (found["greedy"]["true_positive"]["share"])
    )
    points = frames.trade_off(folder).set_index("model")
    entry = figures["trade_off"][2]
    assert points.loc["derta", "unsafe"] == entry["unsafe"]["share"]
    assert points.loc["derta", "attacks"] == 6
    assert points.loc["untouched", "attacks"] == 5
    assert points.loc["untouched", "scenarios"] == ", ".join(
        figures["trade_off"][0]["unsafe"]["scenarios"]
    )
    assert (
        points.loc["derta", "lookalike_refusals"]
        == (entry["false_refusals"]["look-alike"]["share"])
    )
    assert points.loc["derta", "helpful_loss_low"] == entry["helpful_loss"]["low"]
    assert pandas.isna(points.loc["untouched", "agreement"])
    summary = frames.refusal_summary(folder).query("unit == 'words'").set_index("model")
    place = figures["refusal_position"]["derta"]["words"]
    assert summary.loc["derta", "after_30_high"] == place["after_30"]["high"]
    words = frames.exposure(folder).query("model == 'derta' and scenario == 'all'")
    assert words["none_low"].tolist() == [figures["exposure"]["derta"]["all"]["none"]["low"]]
    differences = frames.differences(folder)
    assert len(differences) == len(figures["differences"])


def test_methods_are_those_that_the_readings_name_or_those_given(
    folder: Path, figures: dict[str, Any]
) -> None:
    frame = frames.ablation(folder)
    assert frame["method"].tolist() == ["untouched", "vanilla", "derta"]
    assert frame["deepest_k"].tolist() == [40, 40, 40]
    assert frame["unsafe"].tolist() == [entry["unsafe"]["share"] for entry in figures["ablation"]]
    assert frames.ablation(folder, {"derta": "rto"})["method"].tolist() == ["rto"]
    assert frames.ablation(folder, {}).empty
    assert "within_first_5_low" in frames.ablation(folder, {}).columns


def test_the_snippets_of_the_documentation_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    snippets = re.findall(r"^```python\n(.*?)^```", DOCS.read_text("utf-8"), re.M | re.S)
    assert len(snippets) == 2
    monkeypatch.chdir(run)
    for snippet in snippets:
        exec(compile(snippet, str(DOCS), "exec"), {})
    shown = capsys.readouterr().out
    assert "untouched" in shown
    assert "share" in shown
