"""Models are read once, one after the other; what can't be read is named and costs nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from derta.analyse_run import AnalysisOptions, run_analysis
from derta.analyse_run import running as module
from derta.analyse_run.origin import Origin
from derta.analysis.readings import Reading, analysis_folder, load_readings, read_about
from derta.data.encode import ChatEncoder, find_refusal_id
from derta.data.sample import sample_triples
from derta.errors import DataError, ModelError
from derta.evaluate.local_models import load_local_model
from derta.evaluate.weight_attacks import FINE_TUNING
from tests.analyse_run.evaluated import Evaluated, Stages, change, evaluate
from tests.evaluate.suites import INSPECT_WARNING, save_model

pytestmark = pytest.mark.filterwarnings(INSPECT_WARNING)

FEW = AnalysisOptions(responses=2)


@pytest.fixture(scope="module")
def analysed(evaluated: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation that was analysed, with two outputs a scenario."""
    folder = evaluated.copy(tmp_path_factory.mktemp("analysed") / "evaluation")
    run_analysis(folder, FEW, Stages())
    return folder


@pytest.fixture
def folder(analysed: Path, tmp_path: Path) -> Path:
    """A copy of it to be changed."""
    shutil.copytree(analysed, tmp_path / "evaluation")
    return tmp_path / "evaluation"


@pytest.fixture
def fresh(evaluated: Evaluated, tmp_path: Path) -> Path:
    """An evaluation that nobody analysed."""
    return evaluated.copy(tmp_path / "evaluation")


@pytest.fixture(autouse=True)
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the bootstraps out, which have tests of their own; `analysed` has them."""
    monkeypatch.setattr(module, "analyse", lambda *_, **__: {"models": []})


def of_model(folder: Path, name: str, source: str | None = None) -> list[Reading]:
    return [
        reading
        for reading in load_readings(folder)
        if reading.model == name and source in (None, reading.source)
    ]


def notes_of(folder: Path, options: AnalysisOptions = FEW) -> str:
    notes: list[str] = run_analysis(folder, options, Stages())["notes"]
    return "\n".join(notes)


# --- what is read -----------------------------------------------------------------------------


def test_every_model_reads_the_shared_texts_and_outputs_of_every_scenario(analysed: Path) -> None:
    for name in ("one", "two"):
        shared = of_model(analysed, name, "harmful") + of_model(analysed, name, "benign")
        # The tiny suite is a smoke run: three harmful questions, two benign ones of each kind.
        assert [each.source for each in shared] == ["harmful"] * 3 + ["benign"] * 4
        assert [each.question_id for each in shared[:3]] == [
            row.id for row in sample_triples("test")[:3]
        ]
        own = of_model(analysed, name, "response")
        scenarios = {each.scenario for each in own}
        assert {"direct", "prefill", "completing", "multi_turn", "autodan", "benign"} <= scenarios
        assert all(sum(each.scenario == s for each in own) <= 2 for s in scenarios)
        assert all(each.prefilled_tokens == 0 and not each.prefilled for each in shared)
        deep = [each for each in own if each.scenario == "long_prefill"]
        assert all(each.prefilled_tokens == 160 for each in deep)


def test_both_models_read_their_outputs_to_the_same_questions(analysed: Path) -> None:
    one, two = (
        [(r.scenario, r.cell, r.question_id) for r in of_model(analysed, name, "response")]
        for name in ("one", "two")
    )
    assert one == two


def test_the_values_are_those_of_the_stock_model(analysed: Path, evaluated: Evaluated) -> None:
    models = [load_local_model(str(path)) for path in evaluated.models]
    encoder = ChatEncoder(models[1].tokenizer)
    triple = sample_triples("test")[0].triple
    ids = [
        *encoder.prompt_ids(triple.prompt),
        *encoder.prefix_ids(triple.prompt, triple.harmful_response),
    ]
    start = len(encoder.prompt_ids(triple.prompt)) - 1
    with torch.inference_mode():
        logs = [
            each.model(input_ids=torch.tensor([ids])).logits[0, start:].double().log_softmax(-1)
            for each in models
        ]
    reading = of_model(analysed, "two", "harmful")[0]
    assert reading.response == triple.harmful_response
    assert "".join(reading.tokens) == triple.harmful_response
    refusal = find_refusal_id(encoder)
    np.testing.assert_allclose(reading.refusal_probability, logs[1][:, refusal].exp(), rtol=1e-3)
    expected = (logs[1].exp() * (logs[1] - logs[0])).sum(-1)
    assert reading.divergence is not None
    np.testing.assert_allclose(reading.divergence, expected, rtol=1e-3, atol=1e-5)
    best = encoder.tokenizer.decode([int(logs[1][0].argmax())])
    assert reading.top_tokens[0].strip() == best.strip()


def test_the_first_model_is_the_reference_and_has_no_divergence(analysed: Path) -> None:
    assert all(each.divergence is None for each in of_model(analysed, "one"))
    assert all(each.divergence is not None for each in of_model(analysed, "two"))
    about = read_about(analysed, "two")
    assert about is not None
    assert about["reference"] == "one"
    assert about["refusal_words"] == ["Sorry"]
    assert about["method"] is None  # a folder may have been trained in any way
    assert about["tokens"] == sum(len(each.tokens) for each in of_model(analysed, "two"))


def test_the_folder_is_private_and_holds_all_figures_and_no_states(analysed: Path) -> None:
    place = analysis_folder(analysed)
    assert place.stat().st_mode & 0o077 == 0
    assert {each.name for each in place.iterdir()} == {
        "one", "two", "analysis.json", "NOTICE.txt", ".gitignore",
    }  # fmt: skip
    figures = json.loads((place / "analysis.json").read_text("utf-8"))
    assert figures["models"] == ["one", "two"]
    assert figures["detection"]["two"]["auc"]["harmful_responses"] == 3
    assert figures["notes"] == []


def test_a_model_of_unknown_training_is_in_no_method_and_a_note_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, str]] = []
    monkeypatch.setattr(module, "analyse", lambda *_, methods, **__: given.append(methods) or {})
    origins = {"one": Origin(None), "two": Origin("rto", words=("Sorry",))}
    monkeypatch.setattr(module, "find_origins", lambda _: origins)
    assert notes_of(folder) == (
        "one: not in the table of training methods: how it was trained is not known"
    )
    assert given == [{"two": "rto"}]


# --- what is not read again -------------------------------------------------------------------


def test_what_was_read_is_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("a model was read again")

    monkeypatch.setattr(module, "read_texts", never)
    monkeypatch.setattr(module, "keep_states", never)
    stages = Stages()
    run_analysis(folder, FEW, stages)
    assert stages.all == ["Texts", "one: tokens", "two: tokens", "Figures"]
    assert stages.busy == ["Texts", "Figures"]
    # Readings with a divergence serve where none is wanted.
    run_analysis(folder, AnalysisOptions(responses=2, divergence=False), Stages())


def test_more_texts_or_other_words_are_read_anew(folder: Path) -> None:
    for options in (
        AnalysisOptions(responses=3),
        AnalysisOptions(responses=3, refusal_words=("Unfortunately",)),
    ):
        stages = Stages()
        run_analysis(folder, options, stages)
        assert {"one: tokens", "two: tokens"} <= set(stages.busy)
    about = read_about(folder, "one")
    assert about is not None
    assert about["refusal_words"] == ["Unfortunately"]


def test_an_interrupted_run_goes_on_with_the_next_model(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock, calls = module.read_texts, []

    def interrupted(model: Any, tokenizer: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        if calls == ["one", "two"]:
            raise KeyboardInterrupt
        return stock(model, tokenizer, name, *args, **kwargs)

    monkeypatch.setattr(module, "read_texts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_analysis(fresh, FEW, Stages())
    assert {each.model for each in load_readings(fresh)} == {"one"}
    assert not list(analysis_folder(fresh).glob(".reference*"))
    run_analysis(fresh, FEW, Stages())
    assert calls == ["one", "two", "two"]
    assert {each.model for each in load_readings(fresh)} == {"one", "two"}


def test_only_the_named_models_are_read_and_still_compared_with_the_first(fresh: Path) -> None:
    stages = Stages()
    run_analysis(fresh, AnalysisOptions(responses=1, models=("two",)), stages)
    assert stages.all == ["Texts", "one: compared", "two: tokens", "Figures"]
    assert {each.model for each in load_readings(fresh)} == {"two"}
    assert all(each.divergence is not None for each in load_readings(fresh))


def test_without_divergence_the_reference_is_not_asked(fresh: Path) -> None:
    stages = Stages()
    run_analysis(fresh, AnalysisOptions(responses=0, divergence=False), stages)
    assert "one: compared" not in stages.all
    assert all(each.divergence is None for each in load_readings(fresh))
    assert {each.source for each in load_readings(fresh)} == {"harmful", "benign"}


# --- what is missing is named -----------------------------------------------------------------


def test_a_model_whose_weights_changed_is_not_read(folder: Path) -> None:
    def other(values: dict[str, Any]) -> None:
        values["subjects"][1]["fingerprint"] = "of before"

    change(folder, other)
    assert "two: not read token by token: its weights are not those" in notes_of(folder)
    assert {each.model for each in load_readings(folder)} == {"one"}


def test_a_model_that_is_gone_keeps_what_it_read(folder: Path, tmp_path: Path) -> None:
    def moved(values: dict[str, Any]) -> None:
        values["subjects"][1]["reference"] = str(tmp_path / "gone")

    change(folder, moved)
    notes = notes_of(folder)
    assert "two: not read token by token" in notes
    assert "What it read in an earlier run is used" in notes
    assert {each.model for each in load_readings(folder)} == {"one", "two"}


def test_without_the_reference_the_others_are_read_without_divergence(
    fresh: Path, tmp_path: Path
) -> None:
    def moved(values: dict[str, Any]) -> None:
        values["subjects"][0]["reference"] = str(tmp_path / "gone")

    change(fresh, moved)
    notes = notes_of(fresh)
    assert "No divergence: one, with which models are compared, can't be read" in notes
    found = load_readings(fresh)
    assert {each.model for each in found} == {"two"}
    assert all(each.divergence is None for each in found)


def test_a_model_that_fails_costs_its_own_readings_only(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = module.read_texts

    def failing(model: Any, tokenizer: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "one":
            raise ModelError("the output head does more")
        return stock(model, tokenizer, name, *args, **kwargs)

    monkeypatch.setattr(module, "read_texts", failing)
    assert "one: not read token by token: the output head does more" in notes_of(fresh)
    found = load_readings(fresh)
    assert {each.model for each in found} == {"two"}
    assert all(each.divergence is not None for each in found)


def test_a_model_behind_a_provider_is_named_and_the_next_one_is_the_reference(
    fresh: Path,
) -> None:
    def provider(values: dict[str, Any]) -> None:
        values["subjects"][0]["kind"] = "provider"

    change(fresh, provider)
    assert "one: not read token by token: it is behind a provider" in notes_of(fresh)
    assert all(each.divergence is None for each in load_readings(fresh))


def test_another_vocabulary_has_no_divergence(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from derta.analyse_run import planning

    monkeypatch.setattr(planning, "_vocabulary", lambda subject: {subject.name: 1})
    assert "two: no divergence: its vocabulary is not that of one" in notes_of(fresh)
    assert all(each.divergence is None for each in of_model(fresh, "two"))


def test_answers_whose_logs_are_gone_are_counted(fresh: Path) -> None:
    shutil.rmtree(fresh / "logs")
    notes = notes_of(fresh)
    assert "of its answers are not read: they are not in its logs" in notes
    assert {each.source for each in load_readings(fresh)} == {"harmful", "benign"}


def test_texts_that_are_longer_than_the_model_reads_are_left_out(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    folder = evaluated.copy(tmp_path / "evaluation")
    short = save_model(tmp_path / "short", length=600)

    def shorter(values: dict[str, Any]) -> None:
        from derta.evaluate.local_models import describe_local_model

        values["subjects"] = [
            {
                "name": "one",
                "reference": str(short),
                "kind": "folder",
                "fingerprint": describe_local_model(str(short))[1],
            }
        ]

    change(folder, shorter)
    assert "texts are not read: they are longer than the model reads" in notes_of(folder)
    assert load_readings(folder)


def test_a_refusal_word_that_is_no_token_is_named(fresh: Path) -> None:
    options = AnalysisOptions(responses=0, refusal_words=("Entschuldigung", "Sorry"))
    assert "one: the refusal word 'Entschuldigung' is no single token" in notes_of(fresh, options)
    about = read_about(fresh, "one")
    assert about is not None
    assert about["refusal_words"] == ["Sorry"]
    options = AnalysisOptions(responses=0, refusal_words=("Entschuldigung",))
    assert "Name one that is: --refusal-word WORD" in notes_of(fresh, options)


@pytest.mark.slow
def test_answers_after_fine_tuning_are_named_and_not_read(tmp_path: Path) -> None:
    folder = evaluate(tmp_path, "direct", FINE_TUNING).folder
    assert "fine_tuning: its answers are not read" in notes_of(folder)
    assert {each.scenario for each in load_readings(folder)} == {"", "direct"}


def test_what_is_no_finished_evaluation_is_an_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "quickstart" / "evaluation.json").write_text('{"name": "derta"}')
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "evaluation.json").write_text("{")
    for name, words in (
        ("nothing", "no such folder"),
        ("empty", "no evaluation.json"),
        ("quickstart", "no evaluation of `derta evaluate`"),
        ("broken", "can't be read"),
    ):
        with pytest.raises(DataError, match=words):
            run_analysis(tmp_path / name, FEW, Stages())
    with pytest.raises(ModelError, match=r"--model three: .*It has one, two"):
        run_analysis(folder, AnalysisOptions(models=("three",)), Stages())
    (folder / "outcomes.jsonl").unlink()
    with pytest.raises(DataError, match=r"outcomes\.jsonl"):
        run_analysis(folder, FEW, Stages())
