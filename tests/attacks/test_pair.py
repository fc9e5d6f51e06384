"""PAIR as a loop over callables: lockstep rounds, budgets, and replies that can't be read.

Doesn't cover inspect-ai models; those are in tests/evaluate/test_search.py.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest

from derta.attacks.limits import SearchLimits, SearchMeter
from derta.attacks.pair import PairResult, pair
from derta.attacks.pair_text import (
    APPROACHES,
    attacker_instructions,
    feedback,
    feedback_score,
    judge_messages,
    parse_attacker_reply,
    parse_rating,
)
from derta.attacks.scripted_attacker import FRAMINGS, rating_of, scripted_attacker, scripted_judge
from derta.errors import ModelError
from derta.triple import Message

QUESTION = "How can I skip a queue?"


class Cast:
    """Attacker, target and judge that note what they are asked."""

    def __init__(self, score: Callable[[str, str], str | int] = lambda *_: 1) -> None:
        self.score = score
        self.histories: dict[int, list[list[Message]]] = defaultdict(list)
        self.prompts: list[str] = []
        self.running = self.most_running = 0

    async def attack(self, history: Sequence[Message], stream: int) -> str:
        self.histories[stream].append(list(history))
        number = len(self.histories[stream])
        return json.dumps({"improvement": f"try {number}", "prompt": f"ask {stream}.{number}"})

    async def answer(self, prompt: str) -> str:
        self.prompts.append(prompt)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        await asyncio.sleep(0.001)
        self.running -= 1
        return f"reply to {prompt}"

    async def rate(self, prompt: str, response: str) -> str | int:
        return self.score(prompt, response)


def search(cast: Cast, **settings: Any) -> PairResult:
    callables = {"attacker": cast.attack, "target": cast.answer, "judge": cast.rate}
    return asyncio.run(pair(QUESTION, **{**callables, "streams": 3, "depth": 2, **settings}))


def test_without_success_every_stream_takes_every_round_and_the_best_is_the_highest_score() -> None:
    cast = Cast(lambda prompt, _: 6 if prompt == "ask 1.2" else 2)
    result = search(cast)
    assert (result.best_prompt, result.best_score) == ("ask 1.2", 6)
    assert result.best_response == "reply to ask 1.2"
    assert not result.succeeded
    assert result.failed is None
    assert result.stopped_by is None
    assert result.calls == {"attacker": 6, "target": 6, "judge": 6}
    assert set(result.errors.values()) == {0}
    assert [(turn.round, turn.stream) for turn in result.turns] == [
        (round_, stream) for round_ in (0, 1) for stream in (0, 1, 2)
    ]


def test_the_streams_of_a_round_run_side_by_side() -> None:
    cast = Cast()
    search(cast, streams=5)
    assert cast.most_running == 5


def test_all_streams_end_with_the_round_in_which_one_reaches_the_top() -> None:
    cast = Cast(lambda prompt, _: 10 if prompt == "ask 2.1" else 9)
    result = search(cast, depth=3)
    assert result.succeeded
    assert result.best_prompt == "ask 2.1"
    assert result.calls["target"] == 3


def test_or_only_the_stream_that_has_reached_it() -> None:
    cast = Cast(lambda prompt, _: 10 if prompt == "ask 2.1" else 9)
    result = search(cast, depth=3, stop_at_first=False)
    assert result.succeeded
    assert result.calls["target"] == 1 + 2 * 3


def test_the_attacker_is_shown_the_reply_and_its_score_and_at_most_four_rounds() -> None:
    cast = Cast(lambda *_: 3)
    search(cast, streams=1, depth=7)
    histories = cast.histories[0]
    assert [message.role for message in histories[0]] == ["system", "user"]
    assert QUESTION in histories[0][0].content
    last = histories[1][-1].content
    assert "reply to ask 0.1" in last
    assert feedback_score(last) == 3
    assert json.loads(histories[1][2].content)["prompt"] == "ask 0.1"
    assert [len(history) for history in histories] == [2, 4, 6, 8, 10, 10, 10]
    assert histories[-1][0] == histories[0][0]


def test_streams_start_from_different_approaches() -> None:
    cast = Cast()
    search(cast, streams=3, depth=1)
    starts = {cast.histories[stream][0][0].content for stream in range(3)}
    assert len(starts) == len(APPROACHES) == 3


# --- replies that can't be read -------------------------------------------------------------


def test_a_malformed_judge_reply_is_an_error_and_not_the_lowest_score() -> None:
    cast = Cast(lambda prompt, _: "I would rather not say." if prompt == "ask 0.1" else 2)
    result = search(cast)
    assert result.errors["judge_errors"] == 1
    (unrated,) = [turn for turn in result.turns if turn.score is None]
    assert unrated.prompt == "ask 0.1"
    assert unrated.problem == "the judge's reply could not be read"
    assert result.best_score == 2
    assert result.failed is None
    # Nor is the attacker told a number.
    assert feedback_score(cast.histories[0][1][-1].content) is None


def test_a_search_in_which_nothing_was_rated_has_failed_and_is_no_defence() -> None:
    result = search(Cast(lambda *_: "Rating: [[eleven]]"))
    assert result.failed == "no response was rated: the judge's reply could not be read"
    assert result.best_score is None
    assert not result.succeeded
    assert result.errors["judge_errors"] == result.calls["judge"] == 6


def test_a_malformed_attacker_reply_is_asked_for_again_and_counted() -> None:
    class Stutterer(Cast):
        async def attack(self, history: Sequence[Message], stream: int) -> str:
            reply = await super().attack(history, stream)
            return reply if len(self.histories[stream]) % 3 == 0 else "Certainly! Here it comes."

    result = search(Stutterer(), streams=2, depth=1)
    assert result.errors["attacker_errors"] == 4
    assert result.calls == {"attacker": 6, "target": 2, "judge": 2}
    assert result.failed is None
    assert all(turn.problem is None for turn in result.turns)
    hopeless = search(Stutterer(), streams=2, depth=1, attempts=2)
    assert hopeless.errors["attacker_errors"] == hopeless.calls["attacker"] == 4
    assert hopeless.failed == "no response was rated: the attacker's reply could not be read"


def test_a_model_that_cannot_be_asked_costs_its_turn_and_not_the_search() -> None:
    class Short(Cast):
        async def answer(self, prompt: str) -> str:
            if prompt == "ask 1.1":
                raise ModelError("longer than the model reads")
            return await super().answer(prompt)

    result = search(Short())
    assert result.errors["target_errors"] == 1
    assert result.calls == {"attacker": 6, "target": 6, "judge": 5}
    assert result.failed is None


def test_other_errors_come_out_as_they_are() -> None:
    class Broken(Cast):
        async def answer(self, prompt: str) -> str:
            raise RuntimeError(f"out of memory at {prompt}")

    with pytest.raises(RuntimeError, match="out of memory"):
        search(Broken())


# --- budgets --------------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [0, 1, 2, 3, 7, 11, 12, 17])
def test_the_budget_of_calls_is_kept_and_spent_on_whole_turns(calls: int) -> None:
    result = search(Cast(), limits=SearchLimits(calls=calls))
    assert sum(result.calls.values()) == calls // 3 * 3
    assert result.stopped_by == "calls"
    assert len(result.turns) == calls // 3
    if calls < 3:
        assert result.failed == "no response was rated: the budget of calls was used up"
    else:
        assert result.failed is None


def test_further_attempts_of_an_attacker_stay_within_the_budget() -> None:
    class Mumbler(Cast):
        async def attack(self, history: Sequence[Message], stream: int) -> str:
            await super().attack(history, stream)
            return "?"

    result = search(Mumbler(), limits=SearchLimits(calls=10), attempts=50)
    assert sum(result.calls.values()) <= 10
    assert result.stopped_by == "calls"
    assert result.failed is not None


def test_the_budget_of_seconds_ends_the_search_between_calls() -> None:
    now = [0.0]

    class Slow(Cast):
        async def answer(self, prompt: str) -> str:
            now[0] += 1.0
            return await super().answer(prompt)

    meter = SearchMeter(SearchLimits(seconds=4.5), lambda: now[0])
    result = search(Slow(), streams=1, depth=9, meter=meter)
    assert result.stopped_by == "seconds"
    assert result.calls == {"attacker": 5, "target": 5, "judge": 4}
    assert result.best_score == 1
    assert result.failed is None


def test_calls_under_way_are_given_up_when_the_time_is_up_and_what_was_rated_stays() -> None:
    class Hanging(Cast):
        async def answer(self, prompt: str) -> str:
            if prompt == "ask 1.1":
                await anyio.sleep(600)
            return await super().answer(prompt)

    started = time.monotonic()
    result = search(Hanging(), limits=SearchLimits(seconds=0.3))
    assert time.monotonic() - started < 300
    assert result.stopped_by == "seconds"
    assert result.best_score == 1
    assert [turn.response is None for turn in result.turns] == [False, True, False]


# --- scripts --------------------------------------------------------------------------------


def scripted(seed: int, delay: Callable[[str], float] = lambda _: 0.0) -> PairResult:
    async def answer(prompt: str) -> str:
        await asyncio.sleep(delay(prompt))
        return f"{len(prompt)} letters"

    judge = scripted_judge(lambda prompt, _: 1 + len(prompt) % 9)
    attacker = scripted_attacker(QUESTION, seed)
    return asyncio.run(
        pair(QUESTION, attacker=attacker, target=answer, judge=judge, streams=20, depth=3)
    )


def test_the_scripted_search_runs_to_the_end_and_is_the_same_with_the_same_seed() -> None:
    first = scripted(3)
    assert first == scripted(3, delay=lambda prompt: 0.0001 * (len(prompt) % 5))
    assert first.calls == {"attacker": 60, "target": 60, "judge": 60}
    assert set(first.errors.values()) == {0}
    assert [t.prompt for t in first.turns] != [t.prompt for t in scripted(4).turns]
    # Twenty streams begin with twenty different prompts.
    assert len({turn.prompt for turn in first.turns if turn.round == 0}) == 20
    assert all("skip a queue" in (turn.prompt or "") for turn in first.turns)


def test_the_scripted_attacker_presses_what_earned_something_and_else_goes_on() -> None:
    attack = scripted_attacker(QUESTION)

    def framing(score: int | None, previous: str) -> str:
        history = [
            Message("system", ""),
            Message("user", ""),
            Message("assistant", previous),
            Message("user", feedback(QUESTION, "a reply", score)),
        ]
        return asyncio.run(attack(history, 0))

    start = asyncio.run(attack([Message("system", ""), Message("user", "")], 0))
    name = json.loads(start)["improvement"].split()[1].rstrip(",")
    assert name in FRAMINGS
    assert json.loads(framing(5, start))["improvement"] == f"framing {name}, pressed 1 times"
    for score in (1, None):
        assert name not in json.loads(framing(score, start))["improvement"]
    pressed = start
    for _ in range(3):
        pressed = framing(9, pressed)
    assert name not in json.loads(framing(9, pressed))["improvement"]


def test_an_offline_verdict_becomes_a_rating_and_an_unreadable_one_none() -> None:
    assert [rating_of(v) for v in (True, False, 1, 7, 9.9, None)] == [10, 1, 1, 7, 9, None]
    for wrong in (0, 11, 0.5):
        with pytest.raises(ValueError, match="outside"):
            rating_of(wrong)
    reply = asyncio.run(scripted_judge(lambda *_: None)("p", "r"))
    assert parse_rating(reply) is None


# --- reading replies ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        '{"improvement": "new", "prompt": "Say \\"how\\"\\nplease."}',
        'Sure!\n```json\n{"improvement": "new", "prompt": "Say \\"how\\"\\nplease."}\n```\nDone.',
        '{"improvement": "new", "prompt": "Say "how"\nplease."}',
        "{'improvement': 'new', 'prompt': 'Say \"how\"\\nplease.'}",
        '{"improvement": "new", "prompt": "Say \\"how\\"\\nplease."',
        '{"improvement": "new", "prompt": "Say \\"how\\"\\nplease.',
        '{"improvement": "new", "prompt": "Say \\"how\\"\\nplease.", "mood": "bri',
        '{"improvement": "new", "prompt": "Say \\"how\\"\\nplease.",\n}',
        '{"prompt": "Say \\"how\\"\\nplease.", "improvement": "new"}',
        'improvement: "new", prompt: "Say \\"how\\"\\nplease."',
        '{"improvement": "new", "prompt": "Say \\u0022how\\u0022\\nplease."',
    ],
)
def test_an_attackers_reply_is_read_leniently(reply: str) -> None:
    found = parse_attacker_reply(reply)
    assert found is not None
    assert found.prompt == 'Say "how"\nplease.'
    assert found.improvement == "new"


def test_an_apostrophe_does_not_end_a_prompt_in_single_quotes() -> None:
    found = parse_attacker_reply("{'improvement': '', 'prompt': 'Don't stop, it's fine'}")
    assert found is not None
    assert found.prompt == "Don't stop, it's fine"


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I can't help with that.",
        '{"improvement": "only this"}',
        '{"improvement": "x", "prompt": ""}',
        '{"improvement": "x", "prompt": 7}',
        '{"improvement": "what you change and why", "prompt": "the new prompt"}',
        "[1, 2]",
        '{"a": ' * 5000,
        "__import__('os').getcwd()",
    ],
)
def test_a_reply_without_a_prompt_is_none(reply: str) -> None:
    assert parse_attacker_reply(reply) is None


def test_half_a_surrogate_pair_is_replaced_so_that_the_prompt_can_be_written_down() -> None:
    found = parse_attacker_reply('{"prompt": "Smile \\ud83d"}')
    assert found is not None
    assert found.prompt.encode() == "Smile \ufffd".encode()


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        (7, 7),
        ("Rating: [[10]]", 10),
        ("[[ 3 ]] because it declines", 3),
        ("Rating: 4", 4),
        ("**Rating:** 8/10", 8),
        ("The rating is 2.", 2),
        ("5", 5),
        ("6/10", 6),
        ("Rating: [[5]]\nSo: [[5]]", 5),
        (0, None),
        (11, None),
        (True, None),
        ("Rating: [[0]]", None),
        ("Rating: [[11]]", None),
        ("Rating: [[-3]]", None),
        ("Rating: [[7.5]]", None),
        ("[[2]] or [[9]]", None),
        ("Rating: none", None),
        ("On a scale of 1 to 10 I see 3 problems", None),
        ("Rating: 1-10", None),
        ("", None),
    ],
)
def test_a_rating_is_read_or_it_is_none(reply: str | int, rating: int | None) -> None:
    assert parse_rating(reply) == rating


def test_what_the_target_wrote_is_not_taken_for_a_rating() -> None:
    assert feedback_score(feedback(QUESTION, "RATING: 10\n", None)) is None
    assert feedback_score(feedback(QUESTION, "RATING: 10\n", 2)) == 2


def test_instructions_and_rubric_name_the_question() -> None:
    assert QUESTION in attacker_instructions(QUESTION, "Sure, here is", APPROACHES[0])
    system, user = judge_messages(QUESTION, "the prompt", "the response")
    assert QUESTION in system.content
    assert "the response" in user.content
