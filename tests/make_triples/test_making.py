"""From questions to rows: what is kept, what is left out and why, and what a budget does.

Covered: with a provider whose replies are a function. Not covered: local models and killed
processes (`tests.make_triples.test_resumed`), training (`tests.make_triples.test_trained`).
"""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.model import ChatMessage, GenerateConfig

from derta.cli import main
from derta.data.files import load_helpful, load_triples
from derta.data.sample import sample_helpful, sample_triples
from derta.errors import DataError, DertaError, ModelError, RecipeError
from derta.evaluate import judging
from derta.judges.verdicts import Judgement, Verdict
from derta.make_triples import (
    MakeReport,
    load_make_settings,
    make_data,
    print_make_report,
    row_files,
)
from derta.refusal import judge_refusal
from derta.terminal import console
from tests.evaluate.suites import INSPECT_WARNING
from tests.make_triples.fakes import (
    ANSWERS,
    BENIGN,
    COMPLIES,
    FAKE,
    HARMFUL,
    REFUSES,
    FakeModel,
    complies,
    make,
    rows_of,
    silent,
    write_questions,
)

# ruff: noqa: RUF001  # Chinese punctuation is meant

pytestmark = pytest.mark.filterwarnings(INSPECT_WARNING)


def left_out(report: Any) -> dict[str, tuple[str, str, str]]:
    return {
        each["id"]: (each["stage"], each["status"], each["reason"])
        for each in report.content["left_out"]
    }


def error_of(*arguments: Any, **settings: Any) -> str:
    with pytest.raises(DertaError) as caught:
        make(*arguments, **settings)
    return str(caught.value)


# --- what is made ------------------------------------------------------------------------------


def test_questions_become_triples_and_helpful_rows_that_say_where_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeModel(monkeypatch, complies)
    report = make(tmp_path, "seed=5")
    assert (report.triples, report.helpful, report.complete) == (3, 2, True)
    triples = rows_of(tmp_path / "made" / "triples.jsonl")
    assert {row["prompt"] for row in triples} == set(HARMFUL)
    for row in triples:
        assert row["rejected"] == COMPLIES
        assert row["chosen"].startswith("Sorry")
        assert judge_refusal(row["chosen"], truncated=False).refused
        assert row["language"] == "en"
        source = row["source"]
        assert source.pop("safe").startswith("pattern en-")
        assert source == {
            "name": "derta data make",
            "question": f"harmful.jsonl/{row['id']}",
            "harmful_model": FAKE,
            "judge": "offline",
            "seed": None,
            "try": 1,
        }
    helpful = rows_of(tmp_path / "made" / "helpful.jsonl")
    assert {row["prompt"] for row in helpful} == set(BENIGN)
    for row in helpful:
        assert (row["completion"], row["finished"], row["category"]) == (ANSWERS, True, "ordinary")
        assert row["source"] == {
            "name": "derta data make",
            "question": f"benign.jsonl/{row['id']}",
            "model": FAKE,
        }
    assert len(load_triples(tmp_path / "made" / "triples.jsonl").checked()) == 3
    assert len(load_helpful(tmp_path / "made" / "helpful.jsonl").checked()) == 2


def test_the_folder_is_private_and_says_what_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeModel(monkeypatch, complies)
    make(tmp_path, "tries=2", command="derta data make it")
    made = tmp_path / "made"
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert (made / "NOTICE.txt").exists()
    assert (made / "triples.jsonl").stat().st_mode & 0o077 == 0
    content = json.loads((made / "make.json").read_text("utf-8"))
    assert content["schema"] == "derta/make/1"
    assert content["command"] == "derta data make it"
    assert content["settings"]["tries"] == 2
    assert content["questions"]["harmful"]["rows"] == 3
    assert {role: each["reference"] for role, each in content["models"].items()} == {
        "harmful": FAKE,
        "helpful": FAKE,
    }
    assert content["calls"] == 5
    assert set(content["versions"]) == {"python", "torch", "transformers", "inspect-ai"}
    assert content["counts"]["by_try"] == {"1": 3}
    assert not [path for path in made.iterdir() if path.name.startswith(".triples")]


def test_topic_id_and_category_of_a_question_stay_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeModel(monkeypatch, complies)
    make(
        tmp_path,
        harmful=[{"frage": HARMFUL[0], "id": "q7", "topic": "sick notes"}],
        benign=[{"text": BENIGN[0], "id": "b1", "category": "look-alike", "topic": "bread"}],
        columns={"question": "frage", "benign.question": "text"},
    )
    (triple,) = rows_of(tmp_path / "made" / "triples.jsonl")
    assert (triple["id"], triple["topic"]) == ("q7", "sick notes")
    (helpful,) = rows_of(tmp_path / "made" / "helpful.jsonl")
    assert (helpful["id"], helpful["topic"], helpful["category"]) == ("b1", "bread", "look-alike")


def test_the_sample_set_gives_its_train_split_and_never_the_one_that_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeModel(monkeypatch, lambda _, __: COMPLIES)
    report = make_data(
        "sample", tmp_path / "made", load_make_settings(), stage=silent, model=FAKE, limit=12
    )
    prompts = {row["prompt"] for row in rows_of(tmp_path / "made" / "triples.jsonl")}
    train = {row.triple.prompt.last_text for row in sample_triples("train")}
    assert len(prompts) == 12
    assert prompts <= train
    benign = {row["prompt"] for row in rows_of(tmp_path / "made" / "helpful.jsonl")}
    assert benign <= {row.example.prompt.last_text for row in sample_helpful("train")}
    assert report.content["counts"]["benign_questions"] == 12


def test_without_benign_questions_there_are_triples_alone_and_no_other_model_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeModel(monkeypatch, complies)
    report = make(tmp_path, benign=None, model="no/such/model/here", harmful_model=FAKE)
    assert (report.triples, report.helpful) == (3, 0)
    assert not (tmp_path / "made" / "helpful.jsonl").exists()


# --- harmful responses -------------------------------------------------------------------------


def test_only_compliant_responses_are_kept_and_every_try_is_drawn_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(messages: list[ChatMessage], config: GenerateConfig) -> str:
        question = messages[-1].text
        if question in BENIGN:
            return ANSWERS
        if question == HARMFUL[0] and config.temperature:
            return COMPLIES
        if question == HARMFUL[1] and not config.temperature:
            return COMPLIES
        return REFUSES

    fake = FakeModel(monkeypatch, answer)
    report = make(tmp_path, "tries=3", "temperature=0.7", "top_p=0.9")
    tries = {row["prompt"]: row["source"] for row in rows_of(tmp_path / "made" / "triples.jsonl")}
    assert set(tries) == {HARMFUL[0], HARMFUL[1]}
    assert (tries[HARMFUL[0]]["try"], tries[HARMFUL[1]]["try"]) == (2, 1)
    assert tries[HARMFUL[0]]["seed"] is not None
    drawn = [config for messages, config in fake.calls if messages[-1].text == HARMFUL[2]]
    assert [config.temperature for config in drawn] == [0, 0.7, 0.7]
    assert [config.top_p for config in drawn[1:]] == [0.9, 0.9]
    assert len({config.seed for config in drawn[1:]}) == 2
    (reason,) = left_out(report).values()
    assert reason == (
        "harmful",
        "nothing serves",
        "no compliant response in 3 tries; the last one: refuses",
    )
    assert report.complete


def test_a_response_that_a_provider_withheld_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeModel(monkeypatch, lambda _, __: (COMPLIES, "content_filter"))
    report = make(tmp_path, "tries=1")
    assert (report.triples, report.helpful) == (0, 0)
    assert not (tmp_path / "made" / "triples.jsonl").exists()
    said = [reason for _, _, reason in left_out(report).values()]
    assert all("withheld" in reason for reason in said)


def test_the_named_judge_decides_and_its_errors_are_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeModel(monkeypatch, lambda _, __: REFUSES)
    verdicts = {HARMFUL[0]: Verdict.UNSAFE, HARMFUL[1]: Verdict.SAFE}
    asked = []

    def judged(rows: Any, judge: Any, *_: Any, **__: Any) -> list[Judgement | str]:
        asked.append(judge.name)
        return [
            Judgement(verdicts[row.question], "because") if row.question in verdicts else "it broke"
            for row in rows
        ]

    monkeypatch.setattr("derta.make_triples.stages.judge_responses", judged)
    report = make(tmp_path, "tries=2", benign=None, judge="rubric:mockllm/judge")
    (row,) = rows_of(tmp_path / "made" / "triples.jsonl")
    assert (row["prompt"], row["rejected"]) == (HARMFUL[0], REFUSES)
    assert row["source"]["judge"] == "rubric:mockllm/judge"
    assert set(asked) == {"rubric:mockllm/judge"}
    statuses = {status: reason for _, status, reason in left_out(report).values()}
    assert statuses["failed"] == "judge: it broke"
    assert "because" in statuses["nothing serves"]
    assert fake.asked.count(HARMFUL[2]) == 1


def test_a_judge_models_calls_count_and_an_unasked_response_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeModel(monkeypatch, complies)
    judge = FakeModel(monkeypatch, lambda _, __: "It helps.\nVERDICT: UNSAFE")
    monkeypatch.setattr(judging, "get_model", judge._open)
    FakeModel(monkeypatch, complies)
    arguments = {"benign": None, "judge": "rubric:mockllm/judge"}
    report = make(tmp_path, "tries=1", "calls=5", **arguments)
    assert report.content["calls"] == 5
    assert len(judge.calls) == 2
    assert not report.complete
    again = make(tmp_path, "tries=1", "calls=5", **arguments)
    assert again.content["calls"] == 1
    assert len(judge.calls) == 3
    assert again.complete
    assert report.triples + 1 == again.triples == 3


# --- safe responses ----------------------------------------------------------------------------


def test_a_teachers_refusal_is_used_where_it_is_one_and_a_pattern_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = "Sorry, I won't help you fake a note, because it is a lie. I can help you call in sick."

    def answer(messages: list[ChatMessage], _: GenerateConfig) -> str | tuple[str, str]:
        if messages[0].role != "system":
            return COMPLIES
        if messages[-1].text == HARMFUL[0]:
            return f" {good}\n"
        if messages[-1].text == HARMFUL[1]:
            return "I can't help with that."
        return ("Sorry, I can't help you because", "max_tokens")

    fake = FakeModel(monkeypatch, answer)
    report = make(tmp_path, benign=None, safe_model="mockllm/teacher")
    chosen = {row["prompt"]: row for row in rows_of(tmp_path / "made" / "triples.jsonl")}
    assert len(chosen) == 3
    assert chosen[HARMFUL[0]]["chosen"] == good
    assert chosen[HARMFUL[0]]["source"]["safe"] == "mockllm/teacher"
    for question in HARMFUL[1:]:
        assert chosen[question]["source"]["safe"].startswith("pattern en-")
        assert chosen[question]["chosen"].startswith("Sorry")
    assert report.content["counts"]["safe_by_teacher"] == 1
    assert report.content["teacher_not_used"] == {
        "it doesn't begin with 'Sorry'": 1,
        "it was cut by the token limit": 1,
    }
    orders = [messages[0].text for messages, _ in fake.calls if messages[0].role == "system"]
    assert all("Sorry" in order and "English" in order for order in orders)


def test_the_refusal_word_is_the_languages_own_or_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeModel(monkeypatch, lambda _, __: COMPLIES)
    questions = [
        "如何伪造一张病假条？",
        "Wie kann ich in der Prüfung abschreiben, ohne dass es jemand merkt?",
        "한국어로 시험에서 부정행위를 하는 방법은 무엇입니까?",
        HARMFUL[0],
    ]
    report = make(tmp_path, "refusal_words.en=Apologies", harmful=questions, benign=None)
    rows = {row["language"]: row["chosen"] for row in rows_of(tmp_path / "made" / "triples.jsonl")}
    assert set(rows) == {"zh", "de", "en"}
    assert rows["zh"].startswith("抱歉")
    assert "伪造一张病假条" in rows["zh"]
    assert rows["de"].startswith("Entschuldigung")
    assert rows["en"].startswith("Apologies")
    (reason,) = left_out(report).values()
    assert reason == (
        "question",
        "nothing serves",
        "no refusal word is known for the language 'ko'",
    )
    assert "zh (Chinese)" in error_of(tmp_path, "language=klingon", benign=None)


# --- helpful responses -------------------------------------------------------------------------


def test_helpful_responses_say_whether_they_were_cut_and_refusals_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies: dict[str, Any] = {
        BENIGN[0]: (ANSWERS, "max_tokens"),
        BENIGN[1]: "I'm sorry, I can't assist with that.",
        "Is it warm?": "  \n",
    }
    FakeModel(monkeypatch, lambda messages, _: replies.get(messages[-1].text, COMPLIES))
    report = make(tmp_path, benign=[*BENIGN, "Is it warm?"])
    (row,) = rows_of(tmp_path / "made" / "helpful.jsonl")
    assert (row["prompt"], row["finished"]) == (BENIGN[0], False)
    reasons = {reason for stage, _, reason in left_out(report).values() if stage == "helpful"}
    assert reasons == {"the model refused", "the response is empty"}


# --- budgets and errors ------------------------------------------------------------------------


def test_a_budget_of_calls_is_kept_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeModel(monkeypatch, complies)
    triples = []
    for calls, complete in ((2, False), (4, False), (5, True)):
        report = make(tmp_path, "calls=2")
        assert report.complete is complete
        assert len(fake.calls) == calls
        triples.append(report.triples)
        waiting = [each for each in left_out(report).values() if each[1] == "waiting"]
        assert bool(waiting) is not complete
    assert triples == [2, 3, 3]
    whole = (tmp_path / "made" / "triples.jsonl").read_bytes()
    make(tmp_path)
    assert len(fake.calls) == 5
    assert (tmp_path / "made" / "triples.jsonl").read_bytes() == whole


def test_a_budget_of_seconds_ends_between_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeModel(monkeypatch, lambda _, __: COMPLIES)
    now = [0.0]
    monkeypatch.setattr("derta.make_triples.asking.time.monotonic", lambda: now[0])
    run = "derta.make_triples.asking.run_tasks"
    from derta.make_triples.asking import run_tasks

    def timed(*arguments: Any, **settings: Any) -> None:
        run_tasks(*arguments, **settings)
        now[0] += 10

    monkeypatch.setattr(run, timed)
    questions = [f"How do I fake {number} notes?" for number in range(40)]
    report = make(tmp_path, "seconds=15", "tries=1", harmful=questions, benign=None)
    assert len(fake.calls) == 32
    assert report.triples == 32
    assert not report.complete
    now[0] = 0
    assert make(tmp_path, "seconds=15", "tries=1", harmful=questions, benign=None).complete
    assert len(fake.calls) == 40


def test_a_failed_call_is_told_with_its_reason_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [True]

    def answer(messages: list[ChatMessage], config: GenerateConfig) -> str:
        if broken[0] and messages[-1].text == HARMFUL[1]:
            raise ValueError("no quota is left")
        return complies(messages, config)

    FakeModel(monkeypatch, answer)
    report = make(tmp_path)
    assert report.triples == 2
    ((stage, status, reason),) = left_out(report).values()
    assert (stage, status) == ("harmful", "failed")
    assert "no quota is left" in reason
    broken[0] = False
    again = make(tmp_path)
    assert (again.triples, again.content["calls"]) == (3, 1)


def test_when_all_fails_it_is_an_error_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(*_: Any) -> str:
        raise ValueError("no quota is left")

    FakeModel(monkeypatch, answer)
    with pytest.raises(ModelError, match="no quota is left"):
        make(tmp_path)
    assert (tmp_path / "made" / "make.json").exists()


def test_a_repeated_question_is_asked_once_and_a_limit_counts_different_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeModel(monkeypatch, complies)
    report = make(tmp_path, harmful=[*HARMFUL, f" {HARMFUL[0]} "], benign=None)
    assert (report.triples, len(fake.calls)) == (3, 3)
    ((stage, _, reason),) = left_out(report).values()
    assert stage == "question"
    assert reason.startswith("the same question as 0000")
    assert make(tmp_path, benign=None, limit=2).triples == 2


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("tries=0",), "tries"),
        (("trys=3",), "Did you mean tries?"),
        (("calls=none",), "calls"),
        (("seconds=-1",), "a number above 0"),
        (("refusal_words=Sorry",), "words by language"),
        (("refusal_words.en=I can't",), "is followed by a comma in the patterns"),
        (("temperature=0",), "temperature"),
    ],
)
def test_a_wrong_setting_is_named(
    overrides: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeModel(monkeypatch, complies)
    with pytest.raises(RecipeError) as caught:
        make(tmp_path, *overrides)
    assert words in str(caught.value)


def test_bad_files_of_both_kinds_are_named_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeModel(monkeypatch, complies)
    said = error_of(tmp_path, harmful=[{"question": ""}], benign=[{"nothing": "x"}])
    assert "harmful.jsonl" in said
    assert "benign.jsonl" in said
    assert not fake.calls
    assert not (tmp_path / "made").exists()


def test_rows_that_somebody_else_made_are_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeModel(monkeypatch, complies)
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "helpful.jsonl").write_text("mine\n")
    assert "derta data make didn't make this" in error_of(tmp_path)
    assert (tmp_path / "made" / "helpful.jsonl").read_text() == "mine\n"
    (tmp_path / "file").write_text("")
    questions = write_questions(tmp_path / "harmful.jsonl", HARMFUL)
    with pytest.raises(DataError, match="this is a file"):
        make_data(questions, tmp_path / "file", load_make_settings(), stage=silent, model=FAKE)


def test_rows_that_were_changed_after_a_run_are_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeModel(monkeypatch, complies)
    make(tmp_path)
    triples = tmp_path / "made" / "triples.jsonl"
    whole = triples.read_bytes()
    kept = whole.split(b"\n", 1)[1]  # somebody has read the rows and taken one out
    triples.write_bytes(kept)
    calls = len(fake.calls)
    said = error_of(tmp_path, "tries=2")
    assert "it was changed since derta data make wrote it" in said
    assert "Move the file away first" in said
    assert (triples.read_bytes(), len(fake.calls)) == (kept, calls)
    triples.unlink()
    make(tmp_path)
    assert triples.read_bytes() == whole
    # Folders of earlier versions say no hashes: nobody can know.
    report = tmp_path / "made" / "make.json"
    content = json.loads(report.read_text("utf-8"))
    del content["files"]
    report.write_text(json.dumps(content), "utf-8")
    assert make(tmp_path, "tries=2").triples == 3


@pytest.mark.parametrize("place", ["triples.jsonl", "helpful.jsonl"])
def test_a_run_that_died_while_it_wrote_goes_on(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeModel(monkeypatch, complies)
    make(tmp_path)
    write = row_files.write_atomically

    def die(path: Path, text: str) -> None:
        if path.name == place:
            raise KeyboardInterrupt
        write(path, text)

    monkeypatch.setattr(row_files, "write_atomically", die)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, "seed=1", harmful=HARMFUL[:2], benign=BENIGN[:1])
    monkeypatch.setattr(row_files, "write_atomically", write)
    report = make(tmp_path, "seed=1", harmful=HARMFUL[:2], benign=BENIGN[:1])
    assert (report.triples, report.helpful) == (2, 1)


def test_rows_that_a_later_call_has_none_of_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeModel(monkeypatch, complies)
    make(tmp_path)
    made = tmp_path / "made"
    before = {path.name: path.read_bytes() for path in made.iterdir() if path.is_file()}
    calls = len(fake.calls)
    said = error_of(tmp_path, benign=None)
    assert "helpful.jsonl" in said
    assert "no benign questions" in said
    assert "another folder with -o" in said
    assert len(fake.calls) == calls, "it is said before anything is asked"
    FakeModel(monkeypatch, lambda _, __: REFUSES)
    said = error_of(tmp_path, "max_tokens=300")  # the helpful rows are there, no triple is
    assert "triples.jsonl" in said
    assert "left out 3 questions, the first because: no compliant response" in said
    assert {path.name: path.read_bytes() for path in made.iterdir() if path.is_file()} == before
    # Moved away, it is in nobody's way.
    (made / "helpful.jsonl").rename(tmp_path / "elsewhere.jsonl")
    assert make(tmp_path, benign=None).triples == 3
    assert not (made / "helpful.jsonl").exists()


def test_a_limit_of_none_is_an_error_and_takes_no_rows_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeModel(monkeypatch, complies)
    make(tmp_path)
    assert "--limit 0: the limit is below 1" in error_of(tmp_path, limit=0)
    assert len(rows_of(tmp_path / "made" / "triples.jsonl")) == 3


def test_where_every_call_fails_the_rows_of_an_earlier_run_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeModel(monkeypatch, complies)
    make(tmp_path)
    before = (tmp_path / "made" / "make.json").read_bytes()

    def answer(*_: Any) -> str:
        raise ValueError("no quota is left")

    FakeModel(monkeypatch, answer)
    assert "no quota is left" in error_of(tmp_path, "max_tokens=300", "benign_max_tokens=300")
    assert len(rows_of(tmp_path / "made" / "triples.jsonl")) == 3
    assert len(rows_of(tmp_path / "made" / "helpful.jsonl")) == 2
    assert (tmp_path / "made" / "make.json").read_bytes() == before


def test_a_question_that_is_put_before_the_others_is_all_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeModel(monkeypatch, complies)
    make(tmp_path)
    fake.calls.clear()
    first = "How do I skip the queue at the bakery?"
    report = make(tmp_path, harmful=[first, *HARMFUL])
    assert fake.asked == [first]
    assert (report.triples, report.helpful) == (4, 2)
    rows = rows_of(tmp_path / "made" / "triples.jsonl")
    assert {row["prompt"]: row["id"] for row in rows}[first] == "00001"


def test_a_column_of_benign_questions_that_nobody_named_is_an_error(tmp_path: Path) -> None:
    said = error_of(tmp_path, benign=None, columns={"benign.question": "Frage"})
    assert "--column benign.question=Frage: no benign questions are named" in said


# --- what is shown -----------------------------------------------------------------------------


def test_the_terminal_masks_the_harmful_response_until_it_is_revealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "How do I [bold]fake[/bold] a \x1b[31mnote?"
    FakeModel(monkeypatch, lambda m, _: REFUSES if m[-1].text == HARMFUL[2] else COMPLIES)
    report = make(tmp_path, "tries=1", harmful=[hostile, HARMFUL[2]], benign=None)
    print_make_report(report, console())
    said = capsys.readouterr().out
    assert "Triples:  1 of 2 questions" in said
    assert "doctor" not in said
    assert "--reveal" in said
    assert "[bold]fake[/bold]" in said
    assert "\x1b[31m" not in said
    assert "no compliant response in 1 tries" in said
    assert "name benign questions with --benign" in said
    assert str(tmp_path / "made" / "triples.jsonl") in said
    print_make_report(report, console(), reveal=True)
    assert "doctor" in capsys.readouterr().out


def said_of(report: MakeReport, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    print_make_report(report, console())
    return " ".join(capsys.readouterr().out.split())


def test_no_triple_is_said_with_the_counts_of_every_reason_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeModel(monkeypatch, lambda m, _: ANSWERS if m[-1].text in BENIGN else REFUSES)
    report = make(tmp_path, "tries=2")
    assert (report.triples, report.helpful, report.exit_code) == (0, 2, 1)
    said = said_of(report, capsys)
    assert "Triples: 0 of 3 questions" in said
    assert "3 harmful: no compliant response in 2 tries; the last one: refuses" in said
    assert "No triple was made: there is nothing to train refusals on." in said
    assert "Name another --harmful-model" in said
    assert "triples.jsonl" not in said
    assert REFUSES not in said


def test_no_triple_because_of_the_language_or_of_failed_calls_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    korean = ["한국어로 시험에서 부정행위를 하는 방법은 무엇입니까?"]
    FakeModel(monkeypatch, complies)
    report = make(tmp_path, harmful=korean)
    assert report.exit_code == 1
    said = said_of(report, capsys)
    assert "no refusal word is known for the language 'ko'" in said
    assert "refusal_words.en=Sorry" in said
    assert "--harmful-model" not in said

    def answer(messages: list[ChatMessage], _: GenerateConfig) -> str:
        if messages[-1].text in HARMFUL:
            raise ValueError("no quota is left")
        return ANSWERS

    FakeModel(monkeypatch, answer)
    report = make(tmp_path)
    assert (report.helpful, report.exit_code) == (2, 1)
    said = said_of(report, capsys)
    assert "no quota is left" in said
    assert "Calls failed. Mend what they say; the same command asks again." in said


def test_no_triple_because_the_budget_is_spent_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeModel(monkeypatch, lambda m, c: complies(m, c) if c.temperature else REFUSES)
    report = make(tmp_path, "calls=3", benign=None)
    assert (report.complete, report.exit_code) == (False, 1)
    said = said_of(report, capsys)
    assert "3 harmful: the budget was spent" in said
    assert "The same command goes on where this one stopped." in said
    assert make(tmp_path, benign=None).exit_code == 0


def test_the_commands_exit_code_says_whether_there_are_triples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = write_questions(tmp_path / "harmful.jsonl", HARMFUL)
    command = ["data", "make", questions, "--model", FAKE, "-o", str(tmp_path / "made"), "tries=1"]
    FakeModel(monkeypatch, lambda _, __: REFUSES)
    assert main(command) == 1
    assert "No triple was made" in capsys.readouterr().out
    FakeModel(monkeypatch, complies)
    assert main([*command, "temperature=0.5", "max_tokens=150"]) == 0
    assert "No triple was made" not in capsys.readouterr().out


def test_every_stage_shows_its_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeModel(monkeypatch, complies)
    seen: dict[str, list[tuple[int, int]]] = {}

    @contextlib.contextmanager
    def stage(title: str) -> Iterator[Callable[[int, int], None]]:
        seen[title] = []
        yield lambda done, total: seen[title].append((done, total))

    make(tmp_path, safe_model="mockllm/teacher", stage=stage)
    assert list(seen) == ["Harmful, try 1", "Safe responses", "Helpful responses"]
    assert seen["Harmful, try 1"][0] == (0, 3)
    assert seen["Harmful, try 1"][-1] == (3, 3)
    assert seen["Helpful responses"][-1] == (2, 2)
