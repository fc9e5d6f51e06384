"""`derta probe` on a terminal: bars under the tokens, the likeliest places, hostile text tamed."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from derta.analysis.readings import Reading
from derta.report.probe_text import BARS, bar_of, print_probe
from tests.analysis.making import reading


def text_reading(tokens: tuple[str, ...], *probabilities: float, **changes: Any) -> Reading:
    count = len(tokens) + 1
    shares = list(probabilities) or [0.0] * count
    values = {
        "tokens": tokens,
        "response": "".join(tokens),
        "top_tokens": tuple(f"top{n}" for n in range(count)),
        **changes,
    }
    return reading(0, shares, **values)


def printed(found: Reading, *, width: int = 80, color: bool = False, **options: Any) -> str:
    stream = io.StringIO()
    settings = {"force_terminal": True, "color_system": "standard"} if color else {}
    console = Console(file=stream, width=width, **settings)  # type: ignore[arg-type]
    print_probe(found, console, **{"refusal_words": ["Sorry"], **options})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("probability", "bar"),
    [
        (0, " "),
        (0.009, " "),
        (0.01, "▁"),
        (0.124, "▁"),
        (0.126, "▂"),
        (0.5, "▅"),
        (0.9, "█"),
        (1, "█"),
    ],
)
def test_a_bar_grows_with_the_probability(probability: float, bar: str) -> None:
    assert bar_of(probability) == bar


def test_the_bar_of_a_token_stands_under_it_and_says_what_would_be_in_its_place() -> None:
    found = text_reading(("Sure", ", mix", " flour"), 0.02, 0.95, 0.3, 0.6)
    lines = printed(found).splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("Sure, mix flour"))
    assert lines[place] == "Sure, mix flour∎"
    assert lines[place + 1] == "▁" * 4 + "█" * 5 + "▃" * 6 + "▅"


def test_without_colour_all_is_said_and_with_colour_the_same_again() -> None:
    found = text_reading(("Sure", ", mix"), 0.02, 0.95, 0.3)
    plain, coloured = printed(found), printed(found, color=True)
    assert "\x1b" not in plain
    assert "\x1b[1;31m, mix" in coloured
    assert "\x1b[36mSure" in coloured


def test_the_likeliest_places_are_listed_with_rank_and_the_models_own_choice() -> None:
    found = text_reading(
        tuple(f" w{n}" for n in range(12)),
        *[0.001 * n for n in range(12)],
        0.5,
        refusal_rank=np.array([50 - n for n in range(13)], np.int32),
    )
    text = printed(found)
    table = [line.split() for line in text.splitlines() if "top" in line]
    assert [line[0] for line in table] == ["5", "6", "7", "8", "9", "10", "11", "12"]
    assert table[0][:4] == ["5", "w5", "0.5", "45"]
    assert table[-1][:4] == ["12", "∎", "50.0", "38"]


def test_it_says_where_greedy_decoding_would_refuse() -> None:
    tokens = ("a", "b", "c")
    ranks = {"refusal_rank": np.array([9, 1, 2, 1], np.int32)}
    assert "refuse after 1 of 3 tokens" in printed(text_reading(tokens, **ranks))
    at_once = {"refusal_rank": np.array([1, 1, 1, 1], np.int32)}
    assert "refuse before the first token" in printed(text_reading(tokens, **at_once))
    never = {"refusal_rank": np.array([9, 4, 7, 8], np.int32)}
    text = " ".join(printed(text_reading(tokens, **never)).split())
    assert "nowhere begin to refuse. The best rank of Sorry is 4, after 1 of 3 tokens." in text


def test_the_divergence_has_a_column_and_a_sentence() -> None:
    tokens = tuple("abcdefg")
    values = np.array([3, 3, 1, 1, 1, 0.5, 0.25, 0.25], np.float32)
    found = text_reading(tokens, divergence=values)
    text = " ".join(printed(found, reference="untouched").split())
    assert "KL, nats" in text
    assert "KL from untouched: 1.250 nats a token on average; 90 % of it at the first 5." in text
    assert "KL" not in printed(text_reading(tokens), notes=["No divergence: other words"]).replace(
        "No divergence", ""
    )


def test_hostile_tokens_are_made_visible_and_lines_fit() -> None:
    tokens = ("\x1b[2J", "\u202e", "[red]", "\n", "漢字" * 60, "", "\N{PILE OF POO}", "x" * 300)
    found = text_reading(tokens, *[0.4] * 9)
    for width in (80, 40):
        text = printed(found, width=width)
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "[red]" in text
        body = text.split("\n\n")[1]
        assert all(cell_len(line) <= width for line in body.splitlines())
    assert all(cell_len(line) <= 80 for line in printed(found).splitlines())
    assert "(part of a character)" in printed(found)


def test_a_text_of_nothing_shows_the_one_place_there_is() -> None:
    found = text_reading((), 0.7)
    assert f"∎\n{BARS[6]}\n" in printed(found)
