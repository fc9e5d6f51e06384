"""Numbers of the page as text, each with the path of the figure that it shows.

Every number is looked up by its path and printed in one place, so a printed number and the path
beside it (`data-figure`) can't disagree, and a test can compare each with one that it computed
itself. `data-kind` says how the number was written. Covered: shares, means, differences, counts,
p-values, text. Not covered: which numbers are shown where.

Paths: the keys and indices from "evaluation", "analysis" or "people" down, with dots between; in a
key `~` is written ~0, `/` ~1 (as JSON pointers do) and `.` ~2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from derta.report.evaluation_page.copyable import Cell
from derta.report.figures import DASH, PERCENT, count_text, interval, number, percent
from derta.report.markup import Child, Markup, element, visible_text

__all__ = [
    "Printer",
    "figure_path",
    "model_name",
    "p_text",
    "points_text",
    "share_interval",
    "shortened",
]

Key = str | int

_LONGEST_NAME = 40


def figure_path(*keys: Key) -> str:
    """Join keys to the path that `data-figure` holds."""
    return ".".join(
        str(key).replace("~", "~0").replace("/", "~1").replace(".", "~2") for key in keys
    )


def shortened(text: str, most: int = _LONGEST_NAME) -> str:
    """Write a name in one line of at most `most` characters, its end kept."""
    line = " ".join(visible_text(text).split())
    if len(line) <= most:
        return line
    tail = most // 3
    return f"{line[: most - tail - 1]}…{line[-tail:]}"


def model_name(name: str, key: str = "", most: int = _LONGEST_NAME) -> Markup:
    """Show a model's name, in its colour if `key` is given; long ones have the whole as title.

    Whatever the name holds stays within it: it can't turn the direction of the words around it.
    """
    short = shortened(name, most)
    whole = visible_text(name)
    return element(
        "bdi",
        short,
        class_=f"name {key}".strip(),
        title=whole[:2000] if short != whole else None,
    )


def points_text(value: float | None) -> str:
    """Write a difference of shares in whole percentage points, with its sign."""
    if value is None:
        return DASH
    rounded = math.floor(abs(value) * 100 + 0.5)
    if rounded == 0:
        return "0"
    return ("\N{MINUS SIGN}" if value < 0 else "+") + str(rounded)


def share_interval(low: float | None, high: float | None) -> str:
    """Write an interval in whole percent; a narrow one, which would look empty, with a decimal."""
    text = interval(low, high)
    if low is None or high is None or low == high or len(set(text.split("–"))) > 1:
        return text
    return f"{low * 100:.1f}–{high * 100:.1f}"


def p_text(value: float | None) -> str:
    """Write a p-value."""
    if value is None:
        return DASH
    return "<0.001" if value < 0.001 else f"{value:.3f}"


class Printer:
    """Looks figures up and writes them."""

    def __init__(
        self,
        evaluation: Mapping[str, Any],
        analysis: Mapping[str, Any],
        people: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Take what all paths begin in: two mappings, and one for each review of people."""
        self._roots = {"evaluation": evaluation, "analysis": analysis, "people": people}

    def find(self, *keys: Key) -> Any:
        """Look a figure up; None where any part of the path is missing."""
        found: Any = self._roots
        for key in keys:
            if isinstance(found, Mapping):
                found = found.get(key)
            elif isinstance(found, Sequence) and isinstance(key, int) and not _is_text(found):
                found = found[key] if -1 < key < len(found) else None
            else:
                return None
        return found

    # --- cells of tables: a figure with its interval and n ------------------------------------

    def share(self, *keys: Key) -> Cell:
        """Write a share in percent with its 95 % interval and n."""
        entry = self.find(*keys)
        if not isinstance(entry, Mapping) or entry.get("share") is None:
            return self._nothing(entry, "share", keys)
        value = f"{percent(entry['share'])}{PERCENT}"
        within = share_interval(entry.get("low"), entry.get("high"))
        return _figure(entry, "share", keys, value, within, _n(entry), "share", "count")

    def mean(self, *keys: Key, decimals: int, key: str = "mean", signed: bool = False) -> Cell:
        """Write a mean, or another value of an entry, with its interval and n.

        Args:
            keys: path of the entry.
            decimals: how many are shown.
            key: of the value in the entry.
            signed: whether a plus is written.
        """
        kind = f"{key}:{decimals}" + ("+" if signed else "")
        entry = self.find(*keys)
        if not isinstance(entry, Mapping) or entry.get(key) is None:
            return self._nothing(entry, kind, keys)
        value = number(entry[key], decimals, signed=signed)
        return _figure(entry, kind, keys, value, _between(entry, decimals), _n(entry), key)

    def at(self, *keys: Key, index: int, of: str, decimals: int | None) -> Cell:
        """Write a value of a curve at one place, with its interval and n where the curve has them.

        Args:
            keys: path of the curve, which is a mapping of parallel lists.
            index: the place in the lists.
            of: which list.
            decimals: how many are shown; None: whole percent.
        """
        kind = "curve" if decimals is None else f"curve:{decimals}"
        curve = self.find(*keys)
        values = curve.get(of) if isinstance(curve, Mapping) else None
        path = (*keys, of, index)
        if not values or not 0 <= index < len(values) or values[index] is None:
            return self._nothing(None, kind, path)
        assert isinstance(curve, Mapping)
        entry = {name: _at(curve.get(name), index) for name in ("low", "high", "n")}
        if of in ("median", "first"):
            entry |= {"low": None, "high": None}
        entry["value"] = values[index]
        n = f"n\N{NO-BREAK SPACE}{count_text(entry['n'])}" if entry["n"] is not None else ""
        if decimals is None:
            within = share_interval(entry["low"], entry["high"])
            shown = f"{percent(values[index])}{PERCENT}"
        else:
            within, shown = _between(entry, decimals), number(values[index], decimals)
        return _figure(entry, kind, path, shown, within, n, "value")

    def change(self, *keys: Key) -> Cell:
        """Write what the second of two models does more (+) or less, in percentage points.

        Comparisons hold the first share minus the second: signs and ends are turned round.
        """
        entry = self.find(*keys)
        if not isinstance(entry, Mapping) or entry.get("difference") is None:
            return self._nothing(entry, "change", keys)
        names = {"difference": "difference", "low": "high", "high": "low"}
        turned = {
            ours: None if entry.get(theirs) is None else -entry[theirs]
            for ours, theirs in names.items()
        }
        low, high = points_text(turned["low"]), points_text(turned["high"])
        within = f"{low} to {high}" if turned["low"] is not None else DASH
        value = points_text(turned["difference"])
        shown = {**entry, **turned}
        return _figure(shown, "change", keys, value, within, _n(entry), "difference")

    def count(self, *keys: Key) -> Cell:
        """Write a count."""
        return self._plain("count", keys, count_text)

    def percent(self, *keys: Key) -> Cell:
        """Write a share alone, or the share of an entry, in percent."""
        return self._plain(
            "percent",
            keys,
            lambda value: DASH if value is None else f"{percent(value)}{PERCENT}",
            "share",
        )

    def number(self, *keys: Key, decimals: int) -> Cell:
        """Write a number alone."""
        return self._plain(f"number:{decimals}", keys, lambda value: number(value, decimals))

    def p_value(self, *keys: Key) -> Cell:
        """Write a p-value."""
        return self._plain("p", keys, p_text)

    def text(self, *keys: Key) -> Cell:
        """Write a setting, a hash or another text that the files hold."""
        value = self.find(*keys)
        text = DASH if value is None else value if isinstance(value, str) else _setting(value)
        shown = element("span", text, data_figure=figure_path(*keys), data_kind="text")
        return Cell(shown, text, text.casefold())

    # --- parts ---------------------------------------------------------------------------------

    def _plain(self, kind: str, keys: tuple[Key, ...], write: Any, inner: str = "") -> Cell:
        value = self.find(*keys)
        if inner and isinstance(value, Mapping):
            value = value.get(inner)
        text = write(value)
        shown = element("span", text, data_figure=figure_path(*keys), data_kind=kind)
        if value is None:
            return Cell(shown, text)
        return Cell(shown, text, float(value), ((inner or "value", _raw(value)),))

    def _nothing(self, entry: Any, kind: str, keys: tuple[Key, ...]) -> Cell:
        """Write a dash; with n where it is known that nothing was there to count."""
        known = isinstance(entry, Mapping) and entry.get("n") == 0
        text = f"{DASH} n\N{NO-BREAK SPACE}0" if known else DASH
        shown = element("span", text, data_figure=figure_path(*keys), data_kind=kind)
        return Cell(shown, text)


def _figure(
    entry: Mapping[str, Any],
    kind: str,
    keys: tuple[Key, ...],
    value: str,
    within: str,
    n: str,
    *parts: str,
) -> Cell:
    """Show a figure, its interval and n side by side."""
    known = within != DASH
    shown = element(
        "span",
        element("span", value, class_="figure"),
        element("span", f" {within}", class_="interval") if known else None,
        element("span", f" {n}", _of_fewer(entry), class_="n") if n else None,
        class_="stat",
        data_figure=figure_path(*keys),
        data_kind=kind,
    )
    text = value + (f" ({within})" if known else "")
    if n:
        text += ", " + n.replace("n\N{NO-BREAK SPACE}", "n = ", 1) + _fewer(entry)
    names = (*parts, "low", "high", "n", "questions")
    values = tuple((name, _raw(entry[name])) for name in names if entry.get(name) is not None)
    return Cell(shown, text, float(entry[parts[0]]), values)


def _n(entry: Mapping[str, Any]) -> str:
    """Write how many answers a figure rests on."""
    n, questions = entry.get("n"), entry.get("questions")
    if entry.get("responses") is not None:  # read token by token; responses are what is independent
        return f"{count_text(entry['responses'])} responses"
    if n is None:
        return f"{count_text(questions)} questions" if questions is not None else ""
    return f"n\N{NO-BREAK SPACE}{count_text(n)}"


def _fewer(entry: Mapping[str, Any]) -> str:
    """Write how many questions the answers belong to, where these are fewer."""
    n, questions = entry.get("n"), entry.get("questions")
    if None in (n, questions) or n == questions or entry.get("responses") is not None:
        return ""
    return f", {count_text(questions)} questions"


def _of_fewer(entry: Mapping[str, Any]) -> list[Child]:
    """Show the questions on a line of their own, below the answers."""
    words = _fewer(entry)
    return [", ", element("span", words.removeprefix(", "), class_="of")] if words else []


def _between(entry: Mapping[str, Any], decimals: int) -> str:
    """Write an interval of numbers; one with a minus sign reads better with `to`."""
    low, high = entry.get("low"), entry.get("high")
    if low is None or high is None:
        return DASH
    middle = "–" if low >= 0 else " to "
    return f"{number(low, decimals)}{middle}{number(high, decimals)}"


def _at(values: Any, index: int) -> Any:
    """Take a value of a parallel list; a single number stands for all places."""
    if isinstance(values, Sequence) and not _is_text(values):
        return values[index] if index < len(values) else None
    return values


def _setting(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or DASH
    return str(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str | bytes)


def _raw(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)
