"""`derta analyse`, `derta probe` and `derta report`: what they take, what they say, how they end.

Covered: the commands from argument to exit code. Not covered: the figures (`tests.analysis`), what
is read (`tests.analyse_run`), the page (`tests.report.evaluation_page`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from derta.analysis.readings import load_readings, read_about
from derta.cli import main
from tests.analysis.fake_run import write_fake_run
from tests.evaluate.suites import INSPECT_WARNING, run_tiny, save_model, tiny_plan
from tests.report.fake_results import full_results

pytestmark = pytest.mark.filterwarnings(INSPECT_WARNING)

ROOT = Path(__file__).parents[1]
PROMPT, RESPONSE = "How do I make a cake?", "Sure, mix flour and water."


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [save_model(folder / name, seed=seed) for seed, name in enumerate(("one", "two"))]


@pytest.fixture(scope="module")
def evaluation(models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite") / "evaluation"
    run_tiny(models, folder, tiny_plan("direct", "prefill", "benign"))
    return folder


def said(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    """Run the command; return what it said on the stream that belongs to its exit code."""
    try:
        found = main([str(each) for each in arguments])
    except SystemExit as stop:  # argparse's own errors
        found = int(stop.code or 0)
    captured = capsys.readouterr()
    assert found == code, captured.err
    assert "Traceback" not in captured.err + captured.out
    assert all(len(line) <= 80 for line in captured.out.splitlines() if "/" not in line)
    return captured.err if code else captured.out


# --- analyse ------------------------------------------------------------------------------------


def test_analyse_reads_prints_a_screen_and_names_the_next_command(
    evaluation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(
        capsys, "analyse", evaluation, "--responses", 1, "--batch-size", 4, "--model", "one",
        "--model", "two", "--refusal-word", "Sorry", "I",
    )  # fmt: skip
    assert "ROC area" in text
    assert "SMOKE RUN" in text
    assert "one: compared" in text
    assert f"derta report {evaluation}" in text.replace("\n", "")
    about = read_about(evaluation, "two")
    assert about is not None
    assert about["refusal_words"] == ["Sorry", "I"]
    assert {each.model for each in load_readings(evaluation)} == {"one", "two"}
    figures = json.loads((evaluation / "analysis" / "analysis.json").read_text("utf-8"))
    assert figures["models"] == ["one", "two"]
    again = said(
        capsys, "analyse", evaluation, "--responses", 1, "--refusal-word", "Sorry", "I",
        "--no-divergence",
    )  # fmt: skip
    assert again.count("kept from an earlier run") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "FOLDER"),
        (("nowhere",), "nowhere: there is no such folder"),
        (("EMPTY",), "derta evaluate"),
        (("EVALUATION", "--model", "three"), "--model three"),
        (("EVALUATION", "--responses", "-1"), "whole number, 0 or more"),
        (("EVALUATION", "--batch-size", "0"), "whole number, 1 or more"),
        (("EVALUATION", "--nosuch"), "unrecognized arguments"),
    ],
)
def test_analyse_says_what_is_wrong_with_what_it_was_given(
    arguments: tuple[str, ...],
    words: str,
    evaluation: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"EVALUATION": str(evaluation), "EMPTY": str(tmp_path)}
    given = [places.get(each, each) for each in arguments]
    assert words in said(capsys, "analyse", *given, code=2)


# --- probe --------------------------------------------------------------------------------------


def test_probe_shows_a_text_and_where_the_model_would_refuse(
    models: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(
        capsys, "probe", "--model", models[0], "--prompt", PROMPT, "--response", RESPONSE
    )  # fmt: skip
    assert RESPONSE in text
    assert "Greedy decoding would" in text
    assert "derta probe: one" in text
    assert "KL" not in text


def test_probe_compares_with_a_second_model(
    models: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(
        capsys, "probe", "--model", models[0], "--reference", models[1], "--prompt", PROMPT,
        "--response", RESPONSE, "--refusal-word", "I",
    )  # fmt: skip
    assert "KL from two" in text
    assert "[I]" in text


def test_probe_reads_texts_from_files(
    models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "q.txt").write_text(PROMPT + "\n")
    (tmp_path / "a.txt").write_text(RESPONSE + "\n\n")
    output = tmp_path / "out" / "probe.json"
    said(
        capsys, "probe", "--model", models[0], "--prompt", f"@{tmp_path / 'q.txt'}",
        "--response", f"@{tmp_path / 'a.txt'}", "--output", output,
    )  # fmt: skip
    found = json.loads(output.read_text("utf-8"))
    assert (found["prompt"], found["response"]) == (PROMPT, RESPONSE + "\n")
    said(
        capsys, "probe", "--model", models[0], "--prompt", "@@me", "--response", "@@", "-o", output
    )  # fmt: skip
    found = json.loads(output.read_text("utf-8"))
    assert (found["prompt"], found["response"]) == ("@me", "@")


def test_probe_draws_a_picture(
    models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "probe.SVG"
    text = said(
        capsys, "probe", "--model", models[0], "--prompt", PROMPT, "--response", RESPONSE,
        "--output", output,
    )  # fmt: skip
    assert "probe.SVG" in text.replace("\n", "")
    assert "<svg" in output.read_text("utf-8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--model": "nowhere/at/all"}, "nowhere/at/all: there is no such folder"),
        ({"--model": "mockllm/model"}, "behind a provider"),
        ({"--prompt": ""}, "--prompt is empty"),
        ({"--prompt": "@missing.txt"}, "missing.txt: can't be read"),
        ({"--response": "@BINARY"}, "is not UTF-8 text"),
        ({"--output": "probe.pdf"}, ".svg, .png or .json"),
        ({"--refusal-word": "Entschuldigung"}, "--refusal-word"),
        ({"--bogus": "x"}, "unrecognized arguments"),
    ],
)
def test_probe_says_what_is_wrong_with_what_it_was_given(
    changes: dict[str, str],
    words: str,
    models: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xfa")
    values = {"--model": str(models[0]), "--prompt": PROMPT, "--response": RESPONSE, **changes}
    given = [part for pair in values.items() for part in pair]
    given = [each.replace("BINARY", str(tmp_path / "binary")) for each in given]
    assert words in said(capsys, "probe", *given, code=2)


# --- report -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fake") / "evaluation"
    write_fake_run(folder, models=2, questions=4)
    return folder


def test_report_writes_the_page_of_an_evaluation(
    fake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert str(fake / "report.html") in said(capsys, "report", fake).replace("\n", "")
    assert "<html" in (fake / "report.html").read_text("utf-8")
    said(capsys, "report", fake, "-o", tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_mode & 0o077 == 0


def test_report_puts_several_evaluations_on_one_page(
    fake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from derta.report.evaluation_page import page

    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        page,
        "write_evaluation_page",
        lambda runs, output, *, command, plots: calls.append((runs, output, command, plots)),
    )
    monkeypatch.setattr(sys, "argv", ["/somewhere/derta", "report", "one folder", "other"])
    other = tmp_path / "other"
    write_fake_run(other, models=1, questions=2)
    said(capsys, "report", fake, other, "--plots", tmp_path / "plots")
    ((runs, output, command, plots),) = calls
    assert (runs, output) == ([fake, other], fake / "report-together.html")
    assert plots == tmp_path / "plots"
    assert command == "derta report 'one folder' other"


def test_report_still_writes_the_page_of_a_quickstart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").write_text(json.dumps(full_results()), "utf-8")
    said(capsys, "report", tmp_path)
    assert (tmp_path / "report.html").exists()
    said(capsys, "report", tmp_path / "results.json", "-o", tmp_path / "page.html")
    assert (tmp_path / "page.html").exists()


def test_report_says_what_does_not_go_together(
    fake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").write_text(json.dumps(full_results()), "utf-8")
    assert "only those go on one page" in said(capsys, "report", fake, tmp_path, code=2)
    message = said(capsys, "report", tmp_path, "--plots", tmp_path / "plots", code=2)
    assert "--plots" in message
    assert "results.json" in said(capsys, "report", tmp_path / "gone", code=2)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "evaluation.json").write_text("{")
    assert "evaluation.json" in said(capsys, "report", broken, code=2)


@pytest.mark.slow
def test_report_needs_no_torch(fake: Path, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'inspect_ai', 'datasets'):\n"
        "    sys.modules[name] = None\n"
        "from derta.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    output = tmp_path / "page.html"
    done = subprocess.run(
        [sys.executable, "-c", script, "report", str(fake), "-o", str(output)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert output.exists()
