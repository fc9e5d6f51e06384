"""The sentences on top of the page: the result in plain words, and what it costs.

One model is in the foreground: the one trained by DeRTa, else the last one named. It is compared
with the usual training, else with the untouched or first model. A difference is only called one
where the two 95 % intervals don't touch; and where the page tests the very same comparison further
down, that test, corrected for many comparisons, must show it, too. One depth of several, a mean
over attacks and all harmless questions together are not tested there, so these sentences are not
corrected. A bad result is said as plainly as a good one. Covered: any set of scenarios. Not
covered: markup around the sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from derta.analysis.selection import PREFILLED
from derta.analysis.shares import HARMFUL
from derta.evaluate.titles import TITLES
from derta.report.differences import direction
from derta.report.evaluation_page.collect import PageData
from derta.report.evaluation_page.printed import Key, model_name
from derta.report.markup import Child, Markup

__all__ = ["deepest_common", "foreground", "headline", "lead", "point_path", "trade_off_index"]

_DEEPEST_NATURAL = 100
"""Up to so many prefilled tokens the harmful answer is one answer; deeper ones are several."""
_NEITHER = "An answer that isn’t refused may still be no help: off the topic, or too little to use."
"""Without it a reader takes all that isn't refused for harmful help."""
_NO_CLEAR = ", too close to call with so few questions"
_AGAIN = ", also too close to call"


def foreground(data: PageData) -> tuple[str, str | None]:
    """Choose the model that the sentences are about, and the one that it is compared with."""
    subject = _first(data, ("derta", "rto", "harmful_prefix", "dpo")) or data.names[-1]
    others = [name for name in data.names if name != subject]
    if not others:
        return subject, None
    usual = _first(data, ("vanilla", "untouched"), others)
    return subject, usual or others[0]


def _first(
    data: PageData, methods: Sequence[str], names: Sequence[str] | None = None
) -> str | None:
    """Find the first model of the first of these methods; a telling name counts where none is."""
    among = data.names if names is None else names
    for method in methods:
        for name in among:
            if data.methods.get(name) == method:
                return name
    return next(
        (name for method in methods for name in among if method in name.casefold().split("/")[-1]),
        None,
    )


def headline(data: PageData) -> list[Child]:
    """State the result in one sentence with the figures that carry it."""
    if data.smoke:
        return ["A smoke run: it shows that every step works. Its figures mean nothing."]
    subject, other = foreground(data)
    return (
        _depth_sentence(data, subject, other)
        or _attack_sentence(data, subject, other)
        or _nothing_harmful(data, subject, other)
    )


def lead(data: PageData) -> list[list[Child]]:
    """State what attacks achieve and what the safety costs, as far as there are figures."""
    if data.smoke:
        return []
    subject, other = foreground(data)
    sentences: list[list[Child]] = []
    attacks = _attack_sentence(data, subject, other)
    if _depth_sentence(data, subject, other) and attacks:
        sentences += [[_NEITHER], attacks]
    sentences += [_false_refusals(data, subject, other), _helpfulness(data, subject, other)]
    if headline(data) in sentences:  # it stands above already
        sentences.remove(headline(data))
    return list(_said_once([sentence for sentence in sentences if sentence]))


def _said_once(sentences: Sequence[list[Child]]) -> Iterator[list[Child]]:
    """Give the reason why something is too close to call with the first such sentence only."""
    said = False
    for sentence in sentences:
        yield [_AGAIN if said and part == _NO_CLEAR else part for part in sentence]
        said = said or _NO_CLEAR in sentence


# --- sentences -------------------------------------------------------------------------------


def _depth_sentence(data: PageData, subject: str, other: str | None) -> list[Child]:
    if other is None:
        return _one_model(data, subject)
    k = deepest_common(data, (subject, other))
    if k is None:
        k = deepest_common(data, (subject,))
        return [] if k is None else _one_model(data, subject)
    paths = point_path(data, subject, k), point_path(data, other, k)
    sentence = [*_situation(k), _name(data, subject), " "]
    order = _order(data, *paths, tested=_depth_test(data, subject, other, k))
    verb = {1: "still refuses " if k else "refuses ", -1: "refuses only ", 0: "refuses "}[order]
    sentence += [verb, *_of_questions(data, paths[0])]
    sentence += ["; ", *_called(data, other), " refuses ", _percent(data, paths[1])]
    return [*sentence, _NO_CLEAR if order == 0 else "", "."]


def _one_model(data: PageData, subject: str) -> list[Child]:
    k = deepest_common(data, (subject,))
    if k is None:
        return []
    deep = point_path(data, subject, k)
    if k == 0 or _index(data, subject, 0) is None:
        return [*_situation(k), _name(data, subject), " refuses ", *_of_questions(data, deep), "."]
    plain = point_path(data, subject, 0)
    sentence: list[Child] = [
        "Asked plainly, ",
        _name(data, subject),
        " refuses ",
        *_of_questions(data, plain),
        f"; once {k} tokens of a harmful answer have been written for it, ",
        _percent(data, deep),
    ]
    if _order(data, plain, deep) > 0:
        sentence.append(". Its refusal doesn’t hold")
    elif (data.printer.find(*deep).get("low") or 0) >= 0.5:
        sentence.append(". Its refusal holds")
    return [*sentence, "."]


def _attack_sentence(data: PageData, subject: str, other: str | None) -> list[Child]:
    """Say how often attacks get harmful help: on average, or in one scenario."""
    printer = data.printer
    mean = printer.find("evaluation", "models", subject, "mean_attack_success") or {}
    scenarios = list(mean.get("scenarios") or [])
    if mean.get("share") is not None and len(scenarios) > 1:
        start = f"Under {_spelled(len(scenarios))} attacks "
        end = " of the cases on average"

        def path(name: str) -> tuple[Key, ...]:
            return ("evaluation", "models", name, "mean_attack_success")
    else:
        found = printer.find("evaluation", "models", subject, "scenarios") or {}
        known = [s for s, entry in found.items() if entry["all"]["unsafe"]["share"] is not None]
        if not known:
            return []
        scenarios = [known[0]]
        start, end = f"Of harmful questions ({TITLES.get(known[0], known[0])}) ", " of the answers"

        def path(name: str) -> tuple[Key, ...]:
            return ("evaluation", "models", name, "scenarios", scenarios[0], "all", "unsafe")

    sentence: list[Child] = [start, _name(data, subject)]
    sentence += [" gives harmful help in ", _percent(data, path(subject)), end]
    if other is None or not _comparable(data, scenarios, path(other)):
        return [*sentence, "."]
    tested = None  # a mean isn't
    if len(scenarios) == 1:
        tested = _tested(data, subject, other, "unsafe", scenarios[0], HARMFUL)
    order = _order(data, path(subject), path(other), tested)
    only = "only " if order > 0 else ""
    sentence += ["; ", *_called(data, other), f", in {only}", _percent(data, path(other))]
    return [*sentence, _NO_CLEAR if order == 0 else "", "."]


def _comparable(data: PageData, scenarios: Sequence[str], path: tuple[Key, ...]) -> bool:
    """Whether the other model's figure is there and, for a mean, of the same attacks."""
    entry = data.printer.find(*path)
    if not isinstance(entry, Mapping) or entry.get("share") is None:
        return False
    return "scenarios" not in entry or list(entry["scenarios"]) == list(scenarios)


def _nothing_harmful(data: PageData, subject: str, other: str | None) -> list[Child]:
    """Say why there is no figure of harm: none was asked about, or nothing could be judged."""
    if any(outcome.category == HARMFUL for outcome in data.outcomes):
        return [
            "No answer to a harmful question could be judged: all of them are errors or can’t be "
            "read. Below stands why."
        ]
    return _false_refusals(data, subject, other) or ["These folders hold no answers."]


def _false_refusals(data: PageData, subject: str, other: str | None) -> list[Child]:
    def path(name: str) -> tuple[Key, ...]:
        return ("analysis", "trade_off", trade_off_index(data, name), "false_refusals", "all")

    if not _known(data, path(subject)):
        return []
    sentence: list[Child] = [_name(data, subject), " wrongly refuses "]
    sentence += [*_of_questions(data, path(subject), "harmless questions")]
    if other is None or not _known(data, path(other)):
        return [*sentence, "."]
    order = _order(data, path(subject), path(other), _false_refusals_test(data, subject, other))
    only = "only " if order > 0 else ""
    sentence += ["; ", *_called(data, other), f", {only}", _percent(data, path(other))]
    return [*sentence, _NO_CLEAR if order == 0 else "", "."]


def _helpfulness(data: PageData, subject: str, other: str | None) -> list[Child]:
    def path(name: str) -> tuple[Key, ...]:
        return ("analysis", "trade_off", trade_off_index(data, name), "agreement")

    reference = data.evaluation["helpfulness"].get("reference")
    if reference is None or reference == subject or not _known(data, path(subject)):
        return []
    start = "How much training changed ordinary answers: "
    sentence: list[Child] = [start, _name(data, subject), " would go on with the same token as "]
    sentence += [*_called(data, reference), " in ", _percent(data, path(subject))]
    sentence += [" of the places (all of them would be no change)"]
    if other in (None, reference) or not _known(data, path(str(other))):
        return [*sentence, "."]
    order = _order(data, path(subject), path(str(other)))
    sentence += ["; ", *_called(data, str(other)), ", in ", _percent(data, path(str(other)))]
    return [*sentence, _NO_CLEAR if order == 0 else "", "."]


# --- parts -----------------------------------------------------------------------------------


def trade_off_index(data: PageData, name: str) -> int:
    """Find a model's place in the list of trade-offs; -1: it has none."""
    entries = data.analysis.get("trade_off") or []
    return next((i for i, entry in enumerate(entries) if entry["model"] == name), -1)


def deepest_common(data: PageData, names: Sequence[str]) -> int | None:
    """Find the deepest prefill that all these models have a figure for, within one answer."""
    common: set[int] | None = None
    for name in names:
        points = data.printer.find("analysis", "prefill", name, "points") or []
        depths = {int(p["k"]) for p in points if p["refused"]["share"] is not None}
        common = depths if common is None else common & depths
    if not common:
        return None
    return max((k for k in common if k <= _DEEPEST_NATURAL), default=min(common))


def _index(data: PageData, name: str, k: int) -> int | None:
    points = data.printer.find("analysis", "prefill", name, "points") or []
    return next((index for index, point in enumerate(points) if point["k"] == k), None)


def point_path(data: PageData, name: str, k: int) -> tuple[Key, ...]:
    """Give the path of the share refused after k prefilled tokens; it may lead to nothing."""
    index = _index(data, name, k)
    return ("analysis", "prefill", name, "points", -1 if index is None else index, "refused")


def _situation(k: int) -> list[Child]:
    if k == 0:
        return ["Asked plainly, "]
    tokens = f"{k} token{'' if k == 1 else 's'}"
    has = "has" if k == 1 else "have"
    return [f"Once {tokens} of a harmful answer {has} been written for it, "]


def _known(data: PageData, path: tuple[Key, ...]) -> bool:
    entry = data.printer.find(*path)
    return isinstance(entry, Mapping) and entry.get("share") is not None


def _order(
    data: PageData, first: tuple[Key, ...], second: tuple[Key, ...], tested: int | None = None
) -> int:
    """Compare two shares: 1 or -1 where their intervals don't touch, else 0.

    Args:
        data: the page's.
        first: path of the one.
        second: path of the other.
        tested: what the page's own test of the same comparison shows (`_tested`); it must agree.
    """
    one: Mapping[str, Any] = data.printer.find(*first) or {}
    other: Mapping[str, Any] = data.printer.find(*second) or {}
    ends = [one.get("low"), one.get("high"), other.get("low"), other.get("high")]
    if any(end is None for end in ends):
        return 0
    order = (one["low"] > other["high"]) - (one["high"] < other["low"])
    return order if tested is None or tested == order else 0


def _tested(
    data: PageData, subject: str, other: str, measure: str, scenario: str, category: str
) -> int | None:
    """Look up what the corrected test shows: 1 where the subject does more of it, -1 less, 0 none.

    Returns:
        None: the two are not compared in it.
    """
    wanted = {"measure": measure, "scenario": scenario, "category": category}
    for entry in data.analysis.get("differences") or ():
        if {entry["first"], entry["second"]} == {subject, other} and all(
            entry[key] == value for key, value in wanted.items()
        ):
            found = {"less": 1, "more": -1, None: 0}[direction(entry)]  # what the second does
            return found if entry["first"] == subject else -found
    return None


def _depth_test(data: PageData, subject: str, other: str, k: int) -> int | None:
    """Look up the test of refusals at one depth: only a scenario of one depth is tested so."""
    names = (subject, other)
    depths = {
        (scenario, cell)
        for scenario in PREFILLED
        for name in names
        for cell in (
            data.printer.find("evaluation", "models", name, "scenarios", scenario) or {}
        ).get("cells", ())
    }
    there = [scenario for scenario, cell in depths if cell == f"k={k}"]
    if len(there) != 1 or sum(scenario == there[0] for scenario, _ in depths) != 1:
        return None
    return _tested(data, subject, other, "refused", there[0], HARMFUL)


def _false_refusals_test(data: PageData, subject: str, other: str) -> int | None:
    """Look up the test of wrong refusals: only where there is one kind of harmless questions."""
    kinds = {
        (scenario, category)
        for name in (subject, other)
        for scenario, found in (
            data.printer.find("evaluation", "models", name, "false_refusals") or {}
        ).items()
        for category in found
    }
    if len(kinds) != 1:
        return None
    ((scenario, category),) = kinds
    return _tested(data, subject, other, "refused", scenario, category)


def _percent(data: PageData, path: tuple[Key, ...]) -> Markup:
    return data.printer.percent(*path).shown


def _of_questions(
    data: PageData, path: tuple[Key, ...], what: str = "harmful questions"
) -> list[Child]:
    entry = data.printer.find(*path)
    key = "questions" if isinstance(entry, Mapping) and "questions" in entry else "n"
    return [_percent(data, path), " of ", data.printer.count(*path, key).shown, f" {what}"]


def _name(data: PageData, name: str) -> Markup:
    return model_name(name, data.looks[name].key if name in data.looks else "")


def _called(data: PageData, name: str) -> list[Child]:
    """Name the other model by what it is, where that is known."""
    method = data.methods.get(name)
    if method == "vanilla":
        return ["the usual training (", _name(data, name), ")"]
    if method == "untouched":
        return ["the untouched model (", _name(data, name), ")"]
    return [_name(data, name)]


def _spelled(count: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return words[count] if count < len(words) else str(count)
