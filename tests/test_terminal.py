"""What terminal output promises: hostile text drives nothing, masked text shows nothing."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from derta.terminal import console, mask, print_hanging, safe, visible

HOSTILE = "\x1b[31mred\x1b[0m \x07\r\x9b2J \u202eright\u2066 [bold]b[/bold] [/] \ud800 \u200b"


def test_control_characters_become_visible_escapes() -> None:
    shown = visible(HOSTILE)
    assert r"\x1b[31mred" in shown
    assert r"\u202e" in shown
    assert r"\ud800" in shown
    assert shown.isprintable()
    assert visible("a line\n\tand é 漢 🙂") == "a line\n\tand é 漢 🙂"


def test_safe_text_is_printed_by_rich_as_it_is() -> None:
    output = io.StringIO()
    Console(file=output, width=200, force_terminal=True).print(safe(HOSTILE), highlight=False)
    assert "[bold]b[/bold] [/]" in output.getvalue()
    assert "\x1b" not in output.getvalue()


def test_a_masked_text_keeps_its_shape_and_nothing_else() -> None:
    assert mask("Mix 2 [a]\nnow\x1b") == "▒▒▒ ▒ ▒▒▒\n▒▒▒▒"


def test_no_colour_is_printed_when_the_user_asks_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert console().no_color
    assert not console().is_terminal or console().color_system is None
    assert Text("x").plain == "x"


def test_a_wrapped_line_goes_on_below_its_text_and_long_words_stay_whole() -> None:
    output = io.StringIO()
    path = "/a/" + "long/" * 10 + "path.jsonl:3"
    print_hanging(
        Console(file=output, width=30), "    12  ", f"it is [b]odd[/b] \x1b in {path} 漢漢漢漢 x"
    )
    assert output.getvalue().splitlines() == [
        r"    12  it is [b]odd[/b] \x1b",
        "        in",
        f"        {path}",
        "        漢漢漢漢 x",
    ]
    output = io.StringIO()
    print_hanging(Console(file=output, width=8), "  1  ", "")
    assert output.getvalue() == "  1  \n"


def test_wide_characters_count_twice_when_a_line_is_wrapped() -> None:
    output = io.StringIO()
    print_hanging(Console(file=output, width=12), "  ", "漢漢 漢漢 漢漢")
    assert output.getvalue().splitlines() == ["  漢漢 漢漢", "  漢漢"]
