"""What the command line promises: true help at once, and messages instead of tracebacks."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from derta.cli import main
from derta.errors import DataError, InputProblem
from derta.rows import Method
from tests.tiny import tiny_model, tiny_tokenizer

HEAVY = ("torch", "transformers", "inspect_ai", "matplotlib", "pydantic", "rich", "yaml")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "derta", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    # `train` says on standard output what it has begun.
    assert captured.out.strip() == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom derta.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"print('imported:', sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.stderr == ""
    assert done.returncode == 0
    assert "quickstart" in done.stdout
    assert done.stdout.endswith("imported: []\n")


@pytest.mark.parametrize("command", ["quickstart", "show", "train", "report"])
def test_every_command_explains_itself_with_examples(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert f"  derta {command}" in text.split("examples:")[1]


def test_show_offers_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["show", "--help"])
    text = capsys.readouterr().out
    assert f"{{{','.join(Method)}}}" in text


def test_no_command_prints_the_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert "commands" in failure(capsys)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("derta ")


def test_a_missing_file_is_a_message_and_exit_code_2(tmp_path: Path) -> None:
    done = run("show", "--triples", str(tmp_path / "none.jsonl"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert "none.jsonl: there is no such file" in done.stderr
    assert "Traceback" not in done.stderr


def test_all_bad_rows_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": 3}\n{"prompt": "q", "chosen": "a", "rejected": "a"}\n')
    lines = failure(capsys, "show", "--triples", str(path)).splitlines()
    assert len(lines) == 4
    assert [":1 (prompt)" in lines[0], ":2 (rejected)" in lines[3]] == [True, True]


GOOD_TRIPLE = '{"prompt": "q", "chosen": "Sorry, no.", "rejected": "Like this."}'


@pytest.mark.parametrize(
    ("lines", "overrides", "said"),
    [
        ('{"prompt": "q", "chosen": "Sor', [], "rows.jsonl:2: the line is not JSON"),
        ('{"prompt": "q", "chosen": "a"}', [], "rows.jsonl:2 (rejected): the field is missing"),
        ('{"prompt": "q", "chosen": " ", "rejected": "b"}', [], "rows.jsonl:2 (chosen): the text"),
        ('{"prompt": 3, "chosen": "a", "rejected": "b"}', [], "rows.jsonl:2 (prompt): the value"),
        ('{"prompt": "q", "chosen": "a", "rejected": "a"}', [], "rows.jsonl:2 (rejected): chosen"),
        (GOOD_TRIPLE, ["rows.max_length=8", "rows.overlong=error"], "rows.jsonl:1: the row is"),
        (GOOD_TRIPLE, ["rows.kept_share=2"], "command line (rows.kept_share)"),
        (GOOD_TRIPLE, ["trainer.bogus=1"], "(trainer.bogus)"),
        (GOOD_TRIPLE, ["refusal_word=Antidisestablishment"], "refusal word"),
        (GOOD_TRIPLE, ["attention=flex_attention"], "attention=sdpa"),
    ],
)
def test_bad_input_to_training_is_a_message_and_exit_code_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    lines: str,
    overrides: list[str],
    said: str,
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{GOOD_TRIPLE}\n{lines}\n")
    data = [f"data.triples={json.dumps(str(path))}", "data.helpful=null"]
    output = tmp_path / "run"
    message = failure(
        capsys, "train", "quickstart", "--output", str(output), "rows.overlong=error", *data,
        *overrides,
    )  # fmt: skip
    assert said in message
    assert not (output / "model").exists()


def test_a_tokenizer_without_chat_template_is_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path / "model")
    tiny_model("llama").save_pretrained(tmp_path / "model")
    model = f"model={json.dumps(str(tmp_path / 'model'))}"
    message = failure(capsys, "train", "quickstart", "--output", str(tmp_path / "run"), model)
    assert "has no chat template" in message


def test_a_recipe_that_is_missing_is_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere.yaml" in failure(capsys, "train", "nowhere.yaml")


def test_messages_never_drive_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps({"\x1b[2J\u202e": 1, "prompt": "q", "chosen": "a"}))
    message = failure(capsys, "show", "--triples", str(path))
    assert "\x1b" not in message
    assert "\u202e" not in message


def test_an_unknown_recipe_key_is_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    message = failure(capsys, "train", "quickstart", "rows.kept_sahre=0.2")
    assert "rows.kept_sahre" in message
    assert "kept_share" in message


def test_results_that_are_missing_are_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "results.json" in failure(capsys, "report", str(tmp_path))


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "stray"],
        ["report", "run", "a=b"],
        ["quickstart", "--bogus=3"],
        ["quickstart", "--budget", "tiny"],
        ["show", "--index", "-1"],
        ["show", "--index", "1", "--id", "a"],
    ],
)
def test_bad_arguments_are_usage_errors(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: Any = main(arguments)
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    assert "derta" in capsys.readouterr().err


class Recorder:
    """Stands in for the quickstart, which takes minutes."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.options: dict[str, Any] = {}
        self.error = error

    def __call__(self, **options: Any) -> None:
        self.options = options
        if self.error is not None:
            raise self.error


def install(monkeypatch: pytest.MonkeyPatch, recorder: Recorder) -> None:
    module = types.ModuleType("derta.quickstart")
    module.run_quickstart = recorder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "derta.quickstart", module)


def test_overrides_may_stand_before_and_after_options(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    install(monkeypatch, recorder)
    assert main(["quickstart", "a=1", "--seed", "3", "b.c=x=y", "--reveal", "d=2"]) == 0
    assert recorder.options["overrides"] == ["a=1", "b.c=x=y", "d=2"]
    assert recorder.options["seed"] == 3
    assert recorder.options["reveal"] is True
    assert recorder.options["output"] == Path("runs/quickstart")


def test_a_smoke_run_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    install(monkeypatch, recorder)
    assert main(["quickstart", "--budget", "smoke"]) == 0
    assert recorder.options["output"] == Path("runs/quickstart-smoke")


def test_an_interrupted_run_says_how_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, Recorder(KeyboardInterrupt()))
    assert main(["quickstart"]) == 130
    assert "continues" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        DataError([InputProblem("f.jsonl", "bad", "Mend it", 3)]),
        PermissionError(13, "Permission denied", "runs/quickstart"),
    ],
)
def test_what_the_input_is_guilty_of_is_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    install(monkeypatch, Recorder(error))
    assert ("f.jsonl:3" in (message := failure(capsys, "quickstart"))) or "runs" in message


def test_a_defect_of_derta_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Recorder(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["quickstart"])
