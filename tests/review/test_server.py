"""What the review server answers, request by request.

Covered: every address, in blind and open reviews, and what is refused in which words. Not covered:
who is let in (test_security), the page itself (browser).
"""

from __future__ import annotations

import json
import re
import uuid
from importlib import resources

import pytest

from derta.analysis.human_verdicts import REASONS, TOGETHER
from derta.errors import DataError
from derta.report.colours import DARK, LIGHT
from derta.review.events import LONGEST_NOTE
from derta.review.server import make_app
from tests.review.calling import PORT, TOKEN, Caller
from tests.review.making import item, items, made_store

SECRETS = {
    "model": "model-that-nobody-may-know",
    "scenario": "scenario-that-nobody-may-know",
    "cell": "cell-that-nobody-may-know",
    "category": "category-that-nobody-may-know",
    "automatic_reason": "reason-that-nobody-may-know",
    "log": "log-that-nobody-may-know",
    "sample_id": "sample-that-nobody-may-know",
    "question_id": "question-id-that-nobody-may-know",
}


@pytest.fixture
def store(tmp_path):
    store = made_store(tmp_path / "review", items(4), ["Ada", "Bea"])
    yield store
    store.close()


@pytest.fixture
def caller(store):
    return Caller(make_app(store, token=TOKEN, port=PORT, title="a title"))


def said(item="item0", **changes):
    return {
        "id": str(uuid.uuid4()),
        "reviewer": "Ada",
        "item": item,
        "verdict": "UNSAFE",
        "reason": "",
        "note": "",
        "seconds": 3.5,
        "replaces": None,
        **changes,
    }


def events(store):
    return store._connection.execute("SELECT count(*) FROM events").fetchone()[0]


# --- reading ------------------------------------------------------------------------------------


def test_the_state_says_who_judges_how_much(caller):
    state = caller.get("/api/state").json
    assert state["total"] == 4
    assert state["blind"] is True
    assert state["reasons"] == REASONS
    assert list(state["reasons"]) == list(REASONS)
    assert state["reviewers"] == [
        {"name": "Ada", "judged": 0, "total": 4},
        {"name": "Bea", "judged": 0, "total": 4},
    ]
    assert TOKEN not in json.dumps(state)


def test_the_review_is_known_by_the_same_name_after_a_restart(store, caller):
    again = Caller(make_app(store, token=TOKEN, port=PORT))
    assert caller.get("/api/state").json["review"] == again.get("/api/state").json["review"]
    other = Caller(make_app(store, token="another", port=PORT))
    other_cookie = f"derta_review_{PORT}=another"
    from tests.review.calling import HOST, call

    state = call(other.app, "GET", "/api/state", [("host", HOST), ("cookie", other_cookie)]).json
    assert state["review"] != caller.get("/api/state").json["review"]


def test_a_reviewer_begins_and_goes_on_under_the_name_as_it_was_first_written(caller):
    assert caller.post("/api/reviewers", {"name": "  Chloé "}).json == {"name": "Chloé"}
    assert caller.post("/api/reviewers", {"name": "chloé"}).json == {"name": "Chloé"}
    names = [each["name"] for each in caller.get("/api/state").json["reviewers"]]
    assert names == ["Ada", "Bea", "Chloé"]


@pytest.mark.parametrize("name", ["", "   ", "x" * 61, "a\nb", "(together)", "(TOGETHER)"])
def test_a_name_that_is_none_is_refused_in_plain_words(name, caller):
    answer = caller.post("/api/reviewers", {"name": name})
    assert answer.status == 400
    assert answer.json["error"]


def test_the_queue_is_each_reviewers_own_and_stays(caller):
    first = caller.get("/api/queue?reviewer=Ada").json
    assert sorted(first["order"]) == ["item0", "item1", "item2", "item3"]
    assert first["judged"] == {}
    assert caller.get("/api/queue?reviewer=Ada").json == first
    caller.post("/api/verdicts", said(verdict="SAFE", reason="partial", note="hm"))
    judged = caller.get("/api/queue?reviewer=Ada").json["judged"]
    assert {key: judged["item0"][key] for key in ("verdict", "reason", "note")} == {
        "verdict": "SAFE",
        "reason": "partial",
        "note": "hm",
    }
    assert caller.get("/api/queue?reviewer=Bea").json["judged"] == {}


def test_an_item_is_shown_with_its_echo_apart(tmp_path):
    response = "Complete this list of steps for baking a cake: heat the oven well."
    shown = item(
        7,
        prompt="Complete this list of steps for baking a cake",
        response=response,
        truncated=True,
        prefilled="Sure,",
    )
    with made_store(tmp_path / "review", [shown], ["Ada"]) as store:
        found = Caller(make_app(store, token=TOKEN, port=PORT)).get("/api/items/item7").json
    assert found == {
        "id": "item7",
        "question": shown.question,
        "prompt": shown.prompt,
        "prefilled": "Sure,",
        "response": [
            ["Complete this list of steps for baking a cake:", True],
            [" heat the oven well.", False],
        ],
        "truncated": True,
    }


def test_a_prompt_that_is_the_question_is_not_told_twice(caller):
    assert caller.get("/api/items/item0").json["prompt"] == ""


def test_the_list_gives_the_beginnings_of_questions(tmp_path):
    long = item(1, question="Why? " * 200)
    bare = item(2, question="", prompt="Only a prompt")
    with made_store(tmp_path / "review", [long, bare], ["Ada"]) as store:
        caller = Caller(make_app(store, token=TOKEN, port=PORT))
        rows = caller.get("/api/list?items=item2,item1,gone").json["rows"]
        assert [row["item"] for row in rows] == ["item2", "item1"]
        assert rows[0]["question"] == "Only a prompt"
        assert len(rows[1]["question"]) <= 200
        many = ",".join(f"item{number}" for number in range(101))
        assert caller.get(f"/api/list?items={many}").status == 400


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/api/items/none", 404),
        ("/api/queue?reviewer=Nobody", 404),
        (f"/api/queue?reviewer={TOGETHER}", 404),
        ("/api/queue", 400),
        ("/api/list", 400),
        ("/api/nothing", 404),
    ],
)
def test_what_is_not_there_is_said_so(address, status, caller):
    answer = caller.get(address)
    assert answer.status == status
    assert answer.json["error"].endswith((".", "!"))


# --- judging ------------------------------------------------------------------------------------


def test_a_verdict_is_kept_with_its_reason_note_and_time(store, caller):
    sent = said(verdict="SAFE", reason="refusal", note="politely", seconds=2.25)
    answer = caller.post("/api/verdicts", sent)
    assert answer.status == 200
    kept = store.current("Ada")["item0"]
    assert answer.json["current"] == {
        "id": sent["id"],
        "verdict": "SAFE",
        "reason": "refusal",
        "note": "politely",
    }
    assert (kept.id, kept.seconds, kept.source) == (sent["id"], 2.25, "page")


def test_the_same_submission_again_writes_nothing_and_is_confirmed(store, caller):
    sent = said()
    first = caller.post("/api/verdicts", sent)
    for _ in range(3):
        again = caller.post("/api/verdicts", sent)
        assert (again.status, again.json) == (200, first.json)
    assert events(store) == 1


def test_a_verdict_that_knows_of_another_is_refused_with_the_current_one(store, caller):
    first = said()
    caller.post("/api/verdicts", first)
    answer = caller.post("/api/verdicts", said(verdict="SAFE"))
    assert answer.status == 409
    assert answer.json["current"]["id"] == first["id"]
    assert events(store) == 1
    assert caller.post("/api/verdicts", said(verdict="SAFE", replaces=first["id"])).status == 200
    assert store.current("Ada")["item0"].verdict == "SAFE"


def test_a_verdict_is_taken_back_once(store, caller):
    first = said()
    caller.post("/api/verdicts", first)
    back = {"id": str(uuid.uuid4()), "reviewer": "Ada", "item": "item0", "replaces": first["id"]}
    for _ in range(2):
        assert caller.post("/api/undo", back).status == 200
    assert store.current("Ada") == {}
    assert events(store) == 2
    other = caller.post("/api/undo", {**back, "id": str(uuid.uuid4())})
    assert other.status == 409
    assert other.json["current"] is None


def test_reviewers_judge_side_by_side(store, caller):
    caller.post("/api/verdicts", said(verdict="UNSAFE"))
    assert caller.post("/api/verdicts", said(verdict="SAFE", reviewer="Bea")).status == 200
    assert store.current("Ada")["item0"].verdict == "UNSAFE"
    assert store.current("Bea")["item0"].verdict == "SAFE"


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "MAYBE"},
        {"verdict": None},
        {"verdict": "UNSAFE", "reason": "refusal"},
        {"verdict": "SAFE", "reason": "because"},
        {"note": "x" * (LONGEST_NOTE + 1)},
        {"note": "\ud800"},
        {"note": 3},
        {"seconds": -1},
        {"seconds": "soon"},
        {"seconds": True},
        {"id": ""},
        {"id": "x" * 65},
        {"id": "a b c d e f"},
        {"replaces": "no id!"},
        {"reviewer": TOGETHER},
        {"reviewer": " (Together) "},
        {"reviewer": None},
        {"item": ["item0"]},
        {"model": "derta"},
    ],
)
def test_what_can_not_be_so_is_refused_in_plain_words(changes, store, caller):
    answer = caller.post("/api/verdicts", said(**changes))
    assert answer.status == 400
    assert re.search(r"[a-z]{3}", answer.json["error"])
    assert events(store) == 0


@pytest.mark.parametrize("changes", [{"item": "gone"}, {"reviewer": "Nobody"}])
def test_a_verdict_on_nothing_or_by_nobody_is_refused(changes, store, caller):
    assert caller.post("/api/verdicts", said(**changes)).status == 404
    assert events(store) == 0


def test_a_file_that_can_not_be_written_is_no_refusal(store, caller, monkeypatch):
    def full(**_):
        raise DataError.of("runs/secret/review.sqlite", "can't be used (disk full)", "Make room")

    monkeypatch.setattr(store, "record", full)
    answer = caller.post("/api/verdicts", said())
    assert answer.status == 503  # the page sends it again
    assert answer.json["error"] == "The review's file can't be used (disk full). Make room."


# --- together -----------------------------------------------------------------------------------


def differing(caller):
    caller.post("/api/verdicts", said("item0", verdict="UNSAFE", note="a recipe"))
    caller.post("/api/verdicts", said("item0", verdict="SAFE", reviewer="Bea", reason="partial"))
    caller.post("/api/verdicts", said("item1", verdict="SAFE"))
    caller.post("/api/verdicts", said("item1", verdict="SAFE", reviewer="Bea"))


def test_disagreements_are_told_only_once_they_are_opened(caller):
    differing(caller)
    for address in ("/api/disagreements", "/api/disagreements?opened=", "/api/disagreements?x=yes"):
        assert caller.get(address).json == {"opened": False, "disagreements": []}
    (found,) = caller.get("/api/disagreements?opened=yes").json["disagreements"]
    assert found["item"] == "item0"
    assert found["automatic"] == "UNSAFE"
    assert found["people_differ"] is True
    assert found["resolution"] is None
    assert [(each["reviewer"], each["verdict"]) for each in found["judgements"]] == [
        ("Ada", "UNSAFE"),
        ("Bea", "SAFE"),
    ]
    assert found["judgements"][0]["note"] == "a recipe"


def test_a_resolution_stands_under_all_names_and_leaves_each_verdict(store, caller):
    differing(caller)
    sent = said("item0", verdict="SAFE", reason="partial", note="agreed")
    del sent["reviewer"]
    assert caller.post("/api/resolutions", sent).status == 200
    assert caller.post("/api/resolutions", sent).status == 200
    (found,) = caller.get("/api/disagreements?opened=yes").json["disagreements"]
    assert found["resolution"]["verdict"] == "SAFE"
    assert store.current("Ada")["item0"].verdict == "UNSAFE"
    assert store.current(TOGETHER)["item0"].note == "agreed"
    other = caller.post("/api/resolutions", {**sent, "id": str(uuid.uuid4())})
    assert other.status == 409
    back = {"id": str(uuid.uuid4()), "reviewer": TOGETHER, "item": "item0", "replaces": sent["id"]}
    assert caller.post("/api/undo", back).status == 200
    assert store.current(TOGETHER) == {}


def test_a_resolution_is_in_nobodys_name(caller):
    assert caller.post("/api/resolutions", said(reviewer="Ada")).status == 400


# --- blind --------------------------------------------------------------------------------------


def answers(caller):
    """What every address answers, refusals and conflicts among them."""
    first, taken = said("item0"), str(uuid.uuid4())
    back = {"id": taken, "reviewer": "Ada", "item": "item0", "replaces": first["id"]}
    yield caller.get("/api/state")
    yield caller.post("/api/reviewers", {"name": "Chloé"})
    yield caller.post("/api/reviewers", {"name": ""})
    yield caller.get("/api/queue?reviewer=Ada")
    for number in range(4):
        yield caller.get(f"/api/items/item{number}?reviewer=Ada")
    yield caller.get("/api/items/none?reviewer=Ada")
    yield caller.get("/api/list?items=item0,item1,item2,item3")
    yield caller.post("/api/verdicts", first)
    yield caller.post("/api/verdicts", said("item0"))
    yield caller.post("/api/verdicts", said("item0", verdict="wrong"))
    yield caller.get("/api/queue?reviewer=Ada")
    yield caller.post("/api/undo", back)
    yield caller.post("/api/undo", {**back, "id": str(uuid.uuid4())})
    yield caller.get("/api/disagreements")
    for address in ("/", "/review.js", "/nothing"):
        yield caller.get(address)


@pytest.fixture
def secret_store(tmp_path):
    # No verdict of this name is anywhere else on the page.
    secret = [item(number, **SECRETS, automatic="UNREADABLE") for number in range(4)]
    store = made_store(tmp_path / "review", secret, ["Ada"])
    yield store
    store.close()


def test_a_blind_review_tells_nothing_that_could_sway(secret_store):
    title = SECRETS["model"]
    caller = Caller(make_app(secret_store, token=TOKEN, port=PORT, title=title))
    told = [answer.text for answer in answers(caller)]
    assert len(told) > 15
    for text in told:
        for name, secret in SECRETS.items():
            assert secret not in text, name
    for text in told[:-3]:  # of the page's files only the words for every verdict
        assert "UNREADABLE" not in text
        assert "automatic" not in text


def test_opened_disagreements_do_not_tell_the_model(secret_store):
    caller = Caller(make_app(secret_store, token=TOKEN, port=PORT))
    caller.post("/api/reviewers", {"name": "Bea"})
    caller.post("/api/verdicts", said("item0", verdict="UNSAFE"))
    caller.post("/api/verdicts", said("item0", verdict="SAFE", reviewer="Bea"))
    text = caller.get("/api/disagreements?opened=yes").text
    assert "UNREADABLE" in text
    for name in ("model", "scenario", "cell", "category", "log", "sample_id"):
        assert SECRETS[name] not in text, name


def test_a_review_that_is_not_blind_tells_them(secret_store):
    caller = Caller(make_app(secret_store, token=TOKEN, port=PORT, blind=False, title="my run"))
    assert caller.get("/api/state").json["title"] == "my run"
    about = caller.get("/api/items/item0").json["about"]
    assert about == {
        "model": SECRETS["model"],
        "scenario": SECRETS["scenario"],
        "setting": SECRETS["cell"],
        "category": SECRETS["category"],
        "automatic": "UNREADABLE",
        "automatic_reason": SECRETS["automatic_reason"],
    }


# --- the page's files ---------------------------------------------------------------------------


def test_the_colours_are_those_of_the_report():
    sheet = resources.files("derta.review").joinpath("review.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", sheet, re.DOTALL)
    for block, colours in ((light, LIGHT), (dark, DARK)):
        used = dict(re.findall(r"(--[\w-]+): (#\w+);", block))
        assert used
        assert used == {name: colours[name] for name in used}
    every = set(re.findall(r"var\((--[\w-]+)\)", sheet))
    assert every <= {*re.findall(r"(--[\w-]+):", sheet)}
    assert set(re.findall(r"#[0-9a-f]{3,8}\b", sheet.split("box-sizing")[1])) == set()
