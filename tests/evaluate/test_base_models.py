"""A base model has no chat template: it is asked in the format of the run that was trained from it.

Or in the one that `inst:` before its name asks for; else the message says how.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from derta.analyse_run import AnalysisOptions, probe, run_analysis
from derta.data.models import INST_TEMPLATE
from derta.errors import ModelError, TokenizerError
from derta.evaluate.local_models import (
    describe_local_model,
    load_local_model,
    load_local_tokenizer,
)
from derta.evaluate.provider import LocalModelAPI
from derta.evaluate.subjects import Subject, make_subjects, without_format
from derta.evaluate.suite import run_suite
from derta.make_triples.asking import Models
from derta.triple import Conversation
from tests.evaluate.suites import INSPECT_WARNING, save_model, silent, tiny_plan
from tests.evaluate.test_local_models import saved_adapter
from tests.tiny import PEFT_WARNING, tiny_tokenizer

pytestmark = [
    pytest.mark.filterwarnings(PEFT_WARNING),
    pytest.mark.filterwarnings(INSPECT_WARNING),
]

QUESTION = Conversation.from_text("How?")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_model(tmp_path_factory.mktemp("models") / "base")
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    tiny_tokenizer(None).save_pretrained(folder)
    return folder


def a_run(folder: Path, base: Path, prompt_format: str = "inst") -> Path:
    """Write what a run leaves behind that trained all weights of a base model."""
    save_model(folder / "model", seed=5)
    template = INST_TEMPLATE if prompt_format == "inst" else tiny_tokenizer().chat_template
    tiny_tokenizer(template).save_pretrained(folder / "model")
    recipe = {
        "model": str(base),
        "method": "derta",
        "prompt_format": prompt_format,
        "data": {"triples": "sample", "helpful": "sample"},
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    (folder / "manifest.json").write_text(json.dumps({"fingerprint": "abc"}))
    (folder / "training.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_run(tmp_path_factory.mktemp("runs") / "mine", base)


def make(*references: object) -> list[Subject]:
    return make_subjects([str(each) for each in references], batch_size=4)


def prompt_of(subject: Subject) -> str:
    assert subject.encoder is not None
    return str(subject.encoder.tokenizer.decode(subject.encoder.prompt_ids(QUESTION)))


def test_without_a_chat_template_the_message_says_what_to_write_and_that_works(base: Path) -> None:
    with pytest.raises(TokenizerError, match=rf"no chat template.*Name it inst:{base} "):
        make(base)
    (subject,) = make(f"inst:{base}")
    assert prompt_of(subject) == "<bos>[INST] How? [\\INST] "
    assert (subject.name, subject.kind, subject.local) == ("base", "folder", True)
    assert subject.longest == make(f"derta/inst:{base}")[0].longest is not None


def test_the_format_is_part_of_what_decides_whether_answers_are_used_again(base: Path) -> None:
    plain, asked = (describe_local_model(f"{prefix}{base}")[1] for prefix in ("", "inst:"))
    assert plain != asked
    loaded = load_local_model(f"inst:{base}")
    assert (loaded.fingerprint, loaded.prompt_format) == (asked, "inst")
    assert loaded.tokenizer.chat_template == INST_TEMPLATE


def test_an_adapter_may_be_asked_so_too(base: Path, tmp_path: Path) -> None:
    saved_adapter(tmp_path / "adapter", base)
    assert not load_local_tokenizer(str(tmp_path / "adapter")).chat_template
    assert load_local_tokenizer(f"inst:{tmp_path / 'adapter'}").chat_template == INST_TEMPLATE


def test_a_run_keeps_the_format_that_it_was_trained_in(run: Path) -> None:
    with pytest.raises(ModelError, match="without inst:"):
        make(f"inst:{run}")


@pytest.mark.parametrize("ours", ["", "derta/"])
def test_beside_its_run_a_base_model_is_asked_as_the_run_was_trained(
    ours: str, base: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    untouched, trained = make(f"{ours}{base}", run)
    assert prompt_of(untouched) == prompt_of(trained) == "<bos>[INST] How? [\\INST] "
    assert (untouched.name, trained.name) == ("base", "mine")
    assert untouched.reference == f"inst:{base}"
    assert untouched.fingerprint == describe_local_model(f"inst:{base}")[1]
    assert without_format(untouched.reference) == str(base)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"no chat template; asked as {run} was trained" in said


def test_another_run_does_not_decide_the_format(base: Path, tmp_path: Path) -> None:
    other = save_model(tmp_path / "other")
    with pytest.raises(TokenizerError, match="no chat template"):
        make(base, a_run(tmp_path / "of another model", other))
    with pytest.raises(TokenizerError, match="no chat template"):
        make(base, a_run(tmp_path / "in chat", base, "chat"))


def test_a_model_with_a_template_keeps_it_unless_another_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = save_model(tmp_path / "chat")
    plain, _ = make(chat, a_run(tmp_path / "run", chat))
    assert plain.reference == str(chat)
    assert "[INST]" not in prompt_of(plain)
    assert "no chat template" not in capsys.readouterr().err
    both = make(chat, f"inst:{chat}")
    assert both[0].fingerprint != both[1].fingerprint
    assert both[0].name != both[1].name
    with pytest.raises(ModelError, match="named twice"):
        make(f"inst:{chat}", f"derta/inst:{chat}/")


def test_a_suite_its_analysis_and_a_probe_take_a_base_model_beside_its_run(
    base: Path, run: Path, tmp_path: Path
) -> None:
    results = run_suite([str(base), str(run)], tiny_plan("direct"), tmp_path / "suite", silent)
    assert [each["name"] for each in results["subjects"]] == ["base", "mine"]
    assert results["subjects"][0]["reference"] == f"inst:{base}"
    analysis = run_analysis(tmp_path / "suite", AnalysisOptions(responses=2), silent)
    assert not [note for note in analysis["notes"] if "not read" in note or "ivergence" in note]
    for name in ("base", "mine"):
        about = json.loads((tmp_path / "suite/analysis" / name / "reading.json").read_text())
        assert about["base_model"] == str(base)
    found = probe(str(run), "How?", "Sorry", reference=str(base))
    assert found.reading.divergence is not None


def test_whoever_writes_data_or_judges_may_be_a_base_model(base: Path) -> None:
    with pytest.raises(TokenizerError, match="inst:"):
        Models.of([str(base)], batch_size=2)
    subject = Models.of([f"inst:{base}"], batch_size=2).subjects[f"inst:{base}"]
    assert prompt_of(subject).startswith("<bos>[INST]")
    with pytest.raises(TokenizerError, match="inst:"):
        LocalModelAPI(str(base))
