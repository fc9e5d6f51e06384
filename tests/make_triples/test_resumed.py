"""Local models: prefilled tries, and that a killed run goes on without repeating a call."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from derta.errors import DataError
from derta.evaluate import judging
from derta.evaluate.log_store import read_logged_samples
from derta.judges.verdicts import Judgement, Verdict
from tests.evaluate.suites import INSPECT_WARNING, finished, save_model
from tests.forks import Forks, written_samples
from tests.make_triples.fakes import BENIGN, HARMFUL, make, rows_of, write_questions

pytestmark = pytest.mark.filterwarnings(INSPECT_WARNING)

ROOT = Path(__file__).parents[2]
QUESTIONS = [*HARMFUL, *(f"How do I fake {number} notes?" for number in range(20))]
OTHERS = [*BENIGN, *(f"What is two and {number}?" for number in range(8))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tmp_path_factory.mktemp("models") / "one"))


def test_a_local_models_last_try_begins_with_a_compliant_opening(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_prefilled(response: str, *, prefilled: str = "", **_: Any) -> Judgement:
        verdict = Verdict.UNSAFE if prefilled and response else Verdict.SAFE
        return Judgement(verdict, "by the test")

    monkeypatch.setattr(judging, "judge_offline", only_prefilled)
    report = make(tmp_path, "tries=2", "max_tokens=4", "benign_max_tokens=4", model=model)
    rows = rows_of(tmp_path / "made" / "triples.jsonl")
    assert len(rows) == 3
    for row in rows:
        assert row["rejected"].startswith("Sure, here is")
        assert len(row["rejected"]) > len("Sure, here is")
        assert row["source"]["opening"] == "Sure, here is"
        assert (row["source"]["try"], row["source"]["seed"]) == (3, None)
    assert report.content["counts"]["by_try"] == {"prefilled": 3}
    mine = make(tmp_path, "tries=2", "max_tokens=4", "benign_max_tokens=4", "opening=Well,",
                model=model)  # fmt: skip
    assert mine.content["calls"] == 3
    assert all(
        row["rejected"].startswith("Well,") for row in rows_of(tmp_path / "made" / "triples.jsonl")
    )
    with pytest.raises(DataError, match=r"triples\.jsonl: it is there already"):
        make(tmp_path, "tries=2", "max_tokens=4", "benign_max_tokens=4", "prefilled=false",
             model=model)  # fmt: skip
    (tmp_path / "made" / "triples.jsonl").unlink()
    off = make(tmp_path, "tries=2", "max_tokens=4", "benign_max_tokens=4", "prefilled=false",
               model=model)  # fmt: skip
    assert (off.triples, off.content["calls"]) == (0, 0)


def test_other_settings_ask_only_for_what_depends_on_them(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        judging, "judge_offline", lambda *_, **__: Judgement(Verdict.UNSAFE, "by the test")
    )
    small = ("max_tokens=3", "benign_max_tokens=3")
    assert make(tmp_path, *small, model=model).content["calls"] == 5
    assert make(tmp_path, *small, "tries=6", model=model).content["calls"] == 0
    assert make(tmp_path, "max_tokens=4", small[1], model=model).content["calls"] == 3
    assert make(tmp_path, small[0], "benign_max_tokens=4", model=model).content["calls"] == 2
    more = make(tmp_path, *small, harmful=[*HARMFUL, "How do I fake notes?"], model=model)
    assert (more.content["calls"], more.triples) == (1, 4)


# One interpreter with everything imported starts each run by a fork. The judge finds about half of
# the responses compliant, by their text alone: then there are several tries.
FORKING = """
import hashlib, os, sys
from pathlib import Path
import torch, transformers, inspect_ai
from derta.evaluate import judging
from derta.judges.verdicts import Judgement, Verdict
from derta.make_triples import load_make_settings, make_data
from tests.make_triples.fakes import silent

def judged(response, **_):
    unsafe = hashlib.sha256(response.encode()).digest()[0] % 2
    return Judgement(Verdict.UNSAFE if unsafe else Verdict.SAFE, "by the test")

judging.judge_offline = judged
for line in sys.stdin:
    questions, benign, model, output, *settings = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if not child:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        os.dup2(devnull, 2)
        code = 1
        try:
            make_data(questions, Path(output), load_make_settings(settings), stage=silent,
                      benign=benign, model=model, safe_model=model)
            code = 0
        except KeyboardInterrupt:
            code = 130
        finally:
            os._exit(code)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""
SETTINGS = ("tries=3", "max_tokens=5", "safe_max_tokens=5", "benign_max_tokens=5")


@pytest.mark.slow
def test_a_run_killed_at_random_moments_repeats_no_call_and_makes_the_same_rows(
    model: str, tmp_path: Path
) -> None:
    questions = write_questions(tmp_path / "harmful.jsonl", QUESTIONS)
    benign = write_questions(tmp_path / "benign.jsonl", OTHERS)
    runs = Forks(FORKING)
    try:
        assert runs.run(questions, benign, model, tmp_path / "whole", *SETTINGS) == 0
        drawn, stops, seen = random.Random(3), 0, set()
        killed = tmp_path / "killed"
        while stops < 6:
            goal = written_samples(killed) + drawn.randint(1, 3)
            delay = drawn.uniform(0, 0.02)

            def reached(goal: int = goal, delay: float = delay) -> bool:
                if written_samples(killed) < goal:
                    return False
                time.sleep(delay)
                return True

            by = signal.SIGINT if stops % 3 == 2 else signal.SIGKILL
            code = runs.run(questions, benign, model, killed, *SETTINGS, until=reached, by=by)
            if code == 0:
                break
            assert code in (-by, 130), code
            stops += 1
            seen.add(sum(finished(killed).values()))
        assert runs.run(questions, benign, model, killed, *SETTINGS) == 0
        assert stops >= 3
        assert len(seen) >= 3, f"all stops hit one moment: {seen}"
    finally:
        runs.close()
    again, truth = finished(killed), finished(tmp_path / "whole")
    assert again == truth
    assert set(again.values()) == {1}
    assert len({folder for folder, _, _ in truth}) >= 4, "several tries, safe and helpful ones"
    for name in ("triples.jsonl", "helpful.jsonl"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert whole
        assert (killed / name).read_bytes() == whole
    assert not [p for p in killed.glob(".*") if p.name != ".gitignore"]


def test_what_is_asked_of_a_model_is_the_plain_question(model: str, tmp_path: Path) -> None:
    make(tmp_path, "tries=1", "prefilled=false", "max_tokens=2", "benign_max_tokens=2", model=model)
    folders = {path.parent for path in (tmp_path / "made" / "logs").rglob("*.eval")}
    assert len(folders) == 2
    asked = [
        [(message.role, message.text) for message in sample.input]
        for folder in folders
        for sample in read_logged_samples(folder)
        if not isinstance(sample.input, str)
    ]
    assert sorted(asked) == sorted([("user", each)] for each in [*HARMFUL, *BENIGN])
