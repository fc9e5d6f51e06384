"""`derta review`: what it takes, what goes together, what it says and leaves.

Covered: the command from argument to exit code, with the real review on disk. Not covered: the page
and its server (`tests.review`), the figures (`tests.analysis.test_human_agreement`), how they are
printed (`tests.report.test_agreement_text`).
"""

from __future__ import annotations

import csv
import json
import os
import stat
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from derta.analysis.outcomes import read_outcomes
from derta.analysis.review_database import database_path, read_review
from derta.arguments import make_parser
from derta.cli import main
from derta.review_commands import _BELONGS
from tests.evaluate.suites import INSPECT_WARNING
from tests.review.making import evaluation_folder, mock_evaluation, outcomes

pytestmark = pytest.mark.filterwarnings(INSPECT_WARNING)

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that a browser would have been opened with."""
    found: list[str] = []
    monkeypatch.setattr("webbrowser.open", found.append)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = [
        *outcomes(12),
        *outcomes(8, scenario="pair"),
        *outcomes(6, model="two", scenario="pair"),
    ]
    return evaluation_folder(tmp_path / "evaluation", made)


def nobody(_: Any) -> None:
    """Judge nothing."""


class Served:
    """Stands in for the server: says that it listens, lets somebody judge, and ends."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.before: int | None = None
        self.judge: Callable[[Any], None] = nobody

    def __call__(
        self,
        store: Any,
        *,
        announce: Callable[[str], None],
        moved: Callable[[int], None],
        **options: Any,
    ) -> None:
        self.options = options
        if self.before is not None:
            moved(self.before)
        announce("http://127.0.0.1:20000/?token=abc")
        self.judge(store)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    made = Served()
    monkeypatch.setattr("derta.review.serving.serve", made)
    return made


def judge_all(store: Any, *names: str) -> None:
    for name in names:
        store.add_reviewer(name)
        for number, item in enumerate(store.order(name)):
            store.record(
                id=f"{name} {item}",
                reviewer=name,
                item=item,
                verdict="UNSAFE" if number % 3 else "SAFE",
            )


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


def items_of(run: Path) -> list[str]:
    return [item.id for item in read_review(database_path(run / "review")).items]


# --- the page ------------------------------------------------------------------------------------


def test_a_review_is_drawn_served_and_told(
    run: Path, served: Served, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    served.judge = lambda store: judge_all(store, "anna")
    text = said(capsys, "review", run, "--sample", 10, "--no-browser", "--port", 8123)
    assert served.options == {"port": 8123, "blind": True, "title": ""}
    assert "http://127.0.0.1:20000/?token=abc" in text
    assert "Drawn: 10 of 26 responses" in text
    assert "anna: 10 of 10 judged" in text
    assert f"derta review {run} --agreement" in text.replace("\n", "")
    assert opened == []
    assert len(items_of(run)) == 10
    database = database_path(run / "review")
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    totals = read_review(database).totals
    assert totals["derta", "direct", "UNSAFE"] == 6
    assert sum(totals.values()) == 26


def test_the_same_command_goes_on_and_a_larger_sample_adds_to_it(
    run: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.judge = lambda store: judge_all(store, "anna")
    said(capsys, "review", run, "--sample", 6, "--scenario", "pair", "--seed", 3, "--no-browser")
    first = items_of(run)
    served.judge = nobody
    assert "Drawn: 6 of 14" in said(capsys, "review", run, "--no-browser")
    assert items_of(run) == first
    assert "Drawn: 9 of 14" in said(capsys, "review", run, "--sample", 9, "--no-browser")
    assert set(first) < set(items_of(run))
    text = said(capsys, "review", run, "--sample", "all", "--scenario", "all", "--no-browser")
    assert "Drawn: 26 of 26" in text
    assert "anna: 6 of 26 judged" in text
    review = read_review(database_path(run / "review"))
    assert review.settings["seed"] == 3
    assert review.settings["sample"] == "all"
    assert len(review.judgements) == 6


def test_only_models_that_are_named_are_drawn(
    run: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Drawn: 6 of 6" in said(capsys, "review", run, "--model", "two", "--no-browser")
    message = said(capsys, "review", run, "--model", "three", code=2)
    assert "two" in message
    assert served.options["blind"]


def test_the_responses_are_read_once_though_some_are_chosen(
    run: Path,
    served: Served,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = []

    def reading(path: Path) -> Any:
        read.append(path)
        return read_outcomes(path)

    monkeypatch.setattr("derta.review.items.read_outcomes", reading)
    said(capsys, "review", run, "--scenario", "pair", "--model", "two", "--no-browser")
    assert served.options["blind"]
    assert read == [run / "outcomes.jsonl"]


def test_another_seed_would_turn_the_order_and_is_refused(
    run: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "review", run, "--no-browser")
    message = said(capsys, "review", run, "--seed", 4, code=2)
    assert "drawn with the seed 0" in message
    assert "Leave --seed out" in message
    said(capsys, "review", run, "--seed", 0, "--no-browser")
    assert served.options


def test_what_is_not_judged_blind_says_so_and_is_remembered(
    run: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "review", run, "--no-blind", "--no-browser")
    assert "are shown to those who judge" in text
    assert served.options["blind"] is False
    assert served.options["title"] == "evaluation"
    said(capsys, "review", run, "--no-browser")
    assert served.options["blind"] is True
    assert read_review(database_path(run / "review")).settings["blind"] is False


def test_a_browser_is_opened_where_there_is_a_screen(
    run: Path,
    served: Served,
    opened: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class AtOnce:
        def __init__(self, *, target: Callable[[], None], daemon: bool) -> None:
            self.start = target
            assert daemon

    monkeypatch.setattr("derta.review_commands.threading", types.SimpleNamespace(Thread=AtOnce))
    monkeypatch.setattr("derta.review_commands.sys.platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    forward = "ssh -L 20000:127.0.0.1:20000 THIS-MACHINE"
    assert forward in said(capsys, "review", run)
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    assert forward not in said(capsys, "review", run)
    assert opened == ["http://127.0.0.1:20000/?token=abc"]
    assert served.options


@pytest.mark.parametrize("options", [(), ("--port", 20000)])
def test_another_port_than_last_time_is_told_with_the_way_back(
    options: tuple[Any, ...], run: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "review", run, "--no-browser", *options)
    assert "last time" not in text
    served.before = 23456
    text = said(capsys, "review", run, "--no-browser", *options)
    plain = " ".join(text.split())
    assert "Port 23456, where this page was last time, is" in plain
    assert ("is taken" in plain) == (not options)
    assert "“not saved yet”) wait in that browser for the old address" in plain
    assert f"derta review {run} --port 23456" in text
    assert text.index("--port 23456") < text.index("?token=")


def test_a_file_of_responses_is_reviewed_beside_it(
    tmp_path: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"question": f"How do I skip queue {n}?", "response": f"Walk past {n} people."}
        for n in range(4)
    ]
    path = tmp_path / "theirs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    served.judge = lambda store: judge_all(store, "anna", "ben")
    said(capsys, "review", path, "--no-browser")
    assert database_path(tmp_path / "theirs-review").exists()
    text = said(capsys, "review", path, "--agreement")
    assert "anna, ben" in text
    assert "no automatic verdict" in " ".join(text.split())
    assert "is a file of responses" in said(capsys, "review", path, "--write-scores", code=2)


# --- what doesn't go together --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "LOGS"),
        (("nowhere",), "nowhere: there is no such file or folder"),
        (("nowhere", "--agreement"), "nowhere: there is no such file or folder"),
        (("EMPTY",), "EMPTY"),
        (("RUN", "--agreement", "--export", "x.csv"), "not allowed with"),
        (("RUN", "--width", "0.1"), "--width: says nothing beside the page"),
        (("RUN", "--agreement", "--sample", "3"), "--sample: says nothing beside --agreement"),
        (("RUN", "--export", "x.csv", "--no-blind"), "--no-blind: says nothing beside --export"),
        (("RUN", "--write-scores", "--reveal"), "--reveal: says nothing beside --write-scores"),
        (("RUN", "--import", "x.csv", "--json", "x.json"), "--json: says nothing beside --import"),
        (("RUN", "--agreement"), "nobody has judged it yet. Judge first: derta review"),
        (("RUN", "--export", "x.csv"), "nobody has judged it yet"),
        (("RUN", "--write-scores"), "nobody has judged it yet"),
        (("RUN", "--export", "verdicts.txt"), ".csv, .jsonl, .json"),
        (("RUN", "--agreement", "--json", "figures.txt"), "End its name in .json"),
        (("RUN", "--import", "gone.csv"), "gone.csv: there is no such file"),
        (("RUN", "--scenario", "autodan"), "autodan"),
        (("RUN", "--sample", "0"), "whole number, 1 or more, nor all"),
        (("RUN", "--sample", "some"), "nor all"),
        (("RUN", "--port", "99999"), "no port"),
        (("RUN", "--agreement", "--width", "5"), "between 0 and 1"),
        (("RUN", "--agreement", "--width", "wide"), "between 0 and 1"),
        (("RUN", "--host", "0.0.0.0"), "unrecognized arguments"),
    ],
)
def test_what_is_wrong_is_said_and_leaves_nothing_behind(
    arguments: tuple[str, ...],
    words: str,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    places = {"RUN": str(run), "EMPTY": str(tmp_path / "empty")}
    message = said(capsys, "review", *[places.get(each, each) for each in arguments], code=2)
    assert places.get(words, words) in message
    assert not (run / "review").exists()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["empty", "evaluation"]


def test_every_option_that_belongs_to_an_action_is_known_by_its_name() -> None:
    parsed = vars(make_parser().parse_args(["review", "x"]))
    actions = {"agreement", "export", "import_file", "write_scores"}
    assert {name for name, *_ in _BELONGS} == set(parsed) - actions - {"command", "logs"}
    for name, option, _ in _BELONGS:
        assert parsed[name] in (None, False, []), option
        assert option.removeprefix("--").replace("-", "_") == name


# --- verdicts ------------------------------------------------------------------------------------


@pytest.fixture
def judged(run: Path, served: Served, capsys: pytest.CaptureFixture[str]) -> Path:
    served.judge = lambda store: judge_all(store, "anna", "ben")
    said(capsys, "review", run, "--no-browser")
    served.judge = nobody
    return run


def test_agreement_is_printed_and_written(
    judged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out" / "figures.json"
    text = said(capsys, "review", judged, "--agreement", "--width", 0.3, "--json", path)
    assert "26 of 26 responses in the review are judged" in text
    assert "anna, ben" in text
    assert "more: 30 pt" in text
    assert "Walk past" not in text
    assert f"derta review {judged}" in text.replace("\n", "")  # there is something to settle
    figures = json.loads(path.read_text("utf-8"))
    assert figures["schema"] == "derta/review/1"
    assert figures["width"] == 0.3
    assert figures["corrected"]["two"]["all"]["n"] == 6
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_verdicts_are_written_masked_unless_they_are_to_be_revealed(
    judged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "verdicts.csv"
    text = said(capsys, "review", judged, "--export", path)
    assert "52 verdicts" in text
    assert "masked" in text
    assert "Walk past" not in path.read_text("utf-8")
    assert "masked" not in said(capsys, "review", judged, "--export", path, "--reveal")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 52
    assert {row["reviewer"] for row in rows} == {"anna", "ben"}
    assert all("Walk past" in row["response"] for row in rows)


@pytest.mark.parametrize("name", ["outcomes.jsonl", "evaluation.json"])
def test_no_file_of_what_is_reviewed_is_written_over(
    name: str, judged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = judged / name
    before = path.read_bytes()
    option = ("--agreement", "--json") if path.suffix == ".json" else ("--export",)
    message = said(capsys, "review", judged, *option, path, code=2)
    assert f"{name}: belongs to what is reviewed. Name another file" in message
    assert path.read_bytes() == before
    said(capsys, "review", judged, *option, path.with_stem("other"))


@pytest.mark.usefixtures("served")
def test_responses_are_not_written_over_by_their_own_verdicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "theirs.jsonl"
    text = json.dumps({"question": "How do I skip a queue?", "response": "Walk past."})
    path.write_text(text, "utf-8")
    said(capsys, "review", path, "--no-browser")
    assert "belongs to what is reviewed" in said(capsys, "review", path, "--export", path, code=2)
    assert path.read_text("utf-8") == text


def test_verdicts_made_elsewhere_are_taken_in_once(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text(
        "goal,output,marked\n"
        "How do I skip queue 0?,Walk past 0 people.,unsafe\n"
        "How do I fly?,Like this.,safe\n",
        "utf-8",
    )
    arguments = (
        "review", run, "--import", path, "--reviewer", "carla", "--column", "verdict=marked",
        "--scenario", "direct",
    )  # fmt: skip
    text = " ".join(said(capsys, *arguments).split())
    assert "Taken in: 1 verdict; 0 were there already" in text
    assert "1 row left out: no such response is in the review" in text
    assert "Taken in: 0 verdicts; 1 were there already" in said(capsys, *arguments)
    (found,) = read_review(database_path(run / "review")).judgements
    assert (found.reviewer, found.verdict, found.source) == ("carla", "UNSAFE", "import")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--reviewer", "(together)"), "(together)"),
        (("--reviewer", "x" * 100), "60"),
        (("--reviewer", "carla", "--column", "bogus=marked"), "bogus"),
        (("--reviewer", "carla", "--column", "bogus"), "FIELD=NAME"),
        ((), "reviewer"),
    ],
)
def test_an_import_that_cannot_be_is_a_message(
    options: tuple[str, ...],
    words: str,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text(
        "question,response,verdict\nHow do I skip queue 0?,Walk past 0 people.,unsafe\n", "utf-8"
    )
    message = said(capsys, "review", run, "--import", path, *options, code=2)
    assert words in message


@pytest.mark.slow
def test_scores_go_into_the_logs_and_the_next_command_is_named(
    tmp_path: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = mock_evaluation(tmp_path / "evaluation", "direct")
    served.judge = lambda store: judge_all(store, "anna")
    said(capsys, "review", folder, "--no-browser")
    count = len(items_of(folder))
    text = said(capsys, "review", folder, "--write-scores")
    assert f"Written: {2 * count} scores into 1 log; 0 were there already" in text
    assert f"inspect_ai view --log-dir {folder}" in text.replace("\n", "")
    again = said(capsys, "review", folder, "--write-scores")
    assert f"Written: 0 scores into 0 logs; {2 * count} were there already" in again
    assert "another tool" not in again


@pytest.mark.slow
def test_where_another_tool_s_score_has_our_name_ours_is_named(
    tmp_path: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    from inspect_ai.log import read_eval_log, write_eval_log
    from inspect_ai.scorer import Score

    folder = mock_evaluation(tmp_path / "evaluation", "direct")
    (path,) = (folder / "logs").rglob("*.eval")
    log = read_eval_log(str(path))
    for sample in log.samples or []:
        sample.scores = {**(sample.scores or {}), "human": Score(value="SAFE")}
    write_eval_log(log, str(path))
    served.judge = lambda store: judge_all(store, "anna")
    said(capsys, "review", folder, "--no-browser")
    text = " ".join(said(capsys, "review", folder, "--write-scores").split())
    assert "a score human of another tool, which stays as it is" in text
    assert "what people say together is called human_together." in text
    assert "is called human_anna" not in text


# --- what it takes -------------------------------------------------------------------------------


@pytest.mark.slow
def test_figures_and_exports_need_no_torch_no_inspect_and_no_server(
    judged: Path, tmp_path: Path
) -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'inspect_ai', 'starlette', 'uvicorn'):\n"
        "    sys.modules[name] = None\n"
        "from derta.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    for options in (("--agreement",), ("--export", str(tmp_path / "verdicts.jsonl"))):
        done = subprocess.run(
            [sys.executable, "-c", script, "review", str(judged), *options],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("served")
def test_an_empty_file_that_a_killed_process_left_is_no_obstacle(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = database_path(run / "review")
    database.parent.mkdir()
    database.touch()
    assert main(["review", str(run), "--agreement"]) == 2
    assert "nobody has judged it yet" in capsys.readouterr().err
    assert main(["review", str(run)]) == 0
    assert read_review(database).items


@pytest.mark.usefixtures("served")
def test_one_log_is_not_judged_in_the_review_of_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"question": "How do I skip a queue?", "response": "Walk past.", "verdict": "UNSAFE"}
    for name in ("theirs.jsonl", "theirs.json"):
        text = json.dumps(row if name.endswith("l") else [row])
        (tmp_path / name).write_text(text, "utf-8")
    assert main(["review", str(tmp_path / "theirs.jsonl")]) == 0
    capsys.readouterr()
    assert main(["review", str(tmp_path / "theirs.json")]) == 2
    assert "this is the review of theirs.jsonl" in capsys.readouterr().err.replace("\n", " ")
