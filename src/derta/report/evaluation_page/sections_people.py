"""The section about what people say: agreement, the automatic judge's errors, corrected shares.

Covered: one review a folder of `derta evaluate`; nothing where nobody has judged. Not covered: the
figures (`derta.analysis.human_agreement`), single responses (explorer.py shows both verdicts).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from derta.evaluate.titles import TITLES
from derta.report.agreement_text import corrected_rows, people_names
from derta.report.evaluation_page.collect import PageData
from derta.report.evaluation_page.copyable import Cell
from derta.report.evaluation_page.layout import Shelf, page_section, see
from derta.report.evaluation_page.printed import Key, model_name, shortened
from derta.report.figures import points
from derta.report.markup import Child, Markup, element, visible_text
from derta.report.parts import details

__all__ = ["people_section"]

_RATES = (
    ("precision", "Of what it calls harmful help, really so (precision)"),
    ("recall", "Of harmful help, found (recall)"),
    ("specificity", "Of what is no harmful help, let pass (specificity)"),
)
_WORDS = {"UNSAFE": "harmful help", "SAFE": "no harmful help"}


def people_section(data: PageData, shelf: Shelf) -> Markup | None:
    """Show what people say beside what the automatic judge says."""
    if not data.people:
        return None
    parts: list[Child] = []
    for index, review in enumerate(data.people):
        if len(data.people) > 1:
            parts.append(element("h3", shortened(str(review["folder"]), 60)))
        parts += _review(data, shelf, index, review)
    return page_section(
        data,
        "people",
        "What people say",
        see(
            "People judged a part of the answers. Where the automatic share lies outside the "
            "interval of people’s standard over the same answers, believe the people: the judge "
            "errs in one direction."
        ),
        parts,
    )


def _review(data: PageData, shelf: Shelf, index: int, review: Mapping[str, Any]) -> Iterator[Child]:
    suffix = f"-{index + 1}" if len(data.people) > 1 else ""
    level = "h4" if suffix else "h3"
    yield _judged(data, index, review)
    rows = list(_corrected_rows(data, index, review))
    header = ["Model", "Automatic judge", "People’s standard", "Judged", "More needed"]
    same = ""
    if _unread(review):
        header.insert(2, "People’s standard, same answers")
        header[3] = "People’s standard, all answers"
        same = "over the same answers, and "
    wished = f"{points(review['width'])} percentage points"
    yield shelf.table(
        f"people-corrected{suffix}",
        "Answers that give harmful help (lower is safer), each of all attacks counted once: as the "
        "automatic judge counts, over the answers that it could read; and by people’s standard, "
        f"extended from the judged answers, {same}over all n, also those that the judge couldn’t "
        "read; with 95\N{NO-BREAK SPACE}% intervals. Assumed: of kinds that nobody has judged yet, "
        "and taken to be like the others. "
        f"More needed: judgements until the interval is {wished} wide",
        header,
        [[cells[0], *cells[2:]] for scenario, cells in rows if scenario is None],
    )
    scenarios = shelf.table(
        f"people-scenarios{suffix}",
        "The same by attack, model by model",
        [header[0], "Asked", *header[1:]],
        [cells for scenario, cells in rows if scenario is not None],
        left=(0, 1),
    )
    yield details("The same by attack", scenarios) if scenarios else None
    judge = list(_judge(data, shelf, index, review, suffix))
    if judge:
        yield element(level, "How often the automatic judge is right")
        yield judge
    between = list(_between(data, shelf, index, review, suffix))
    if between:
        yield element(level, "How far people agree")
        yield _differences(data, index, review)
        yield between
    notes = [element("li", visible_text(str(note))) for note in review["notes"]]
    if notes:
        yield element(level, "What isn’t known")
        yield element("ul", notes, class_="verdicts")


# --- parts -----------------------------------------------------------------------------------


def _judged(data: PageData, index: int, review: Mapping[str, Any]) -> Markup:
    printer = data.printer
    people = printer.count("people", index, "people").shown
    judged, responses = (
        printer.count("people", index, key).shown for key in ("judged", "responses")
    )
    blind = (
        "The page showed them neither model nor attack nor automatic verdict"
        + (", but for what was settled together afterwards. " if review["settled"] else ". ")
        if review["blind"]
        else "Some of it was judged with model, attack and automatic verdict in view. "
    )
    return element(
        "p",
        [
            people,
            " person judged " if review["people"] == 1 else " people judged ",
            judged,
            " of ",
            responses,
            " answers, drawn evenly over models, ",
        ],
        "attacks and automatic verdicts. ",
        blind,
        "The same answer has both verdicts below, under ",
        element("a", "Read the responses", href="#responses"),
        ".",
    )


def _corrected_rows(
    data: PageData, index: int, review: Mapping[str, Any]
) -> Iterator[tuple[str | None, list[Cell]]]:
    printer = data.printer
    unread = _unread(review)
    for model, scenario, entry in corrected_rows(review):
        place: tuple[Key, ...] = ("scenarios", scenario) if scenario is not None else ("all",)
        keys: tuple[Key, ...] = ("people", index, "corrected", model, *place)
        asked = TITLES.get(scenario or "", scenario or "")
        yield (
            scenario,
            [
                _model_cell(data, model),
                Cell.of(visible_text(asked)),
                printer.share(*keys, "automatic"),
                *([_share(data, (*keys, "readable"), entry["readable"])] if unread else ()),
                _share(data, keys, entry),
                printer.count(*keys, "judged"),
                _needed(data, keys, entry["needed"]),
            ],
        )


def _unread(review: Mapping[str, Any]) -> bool:
    """Whether there are answers that the judge couldn't read: they are in people's share alone."""
    return any(entry["n"] != entry["readable"]["n"] for _, _, entry in corrected_rows(review))


def _share(data: PageData, keys: tuple[Key, ...], entry: Mapping[str, Any]) -> Cell:
    """Write a corrected share; beside it, how many answers it takes to be like the others."""
    cell = data.printer.share(*keys)
    if not entry["lent"] or entry["share"] is None:
        return cell
    assumed = data.printer.count(*keys, "lent")
    shown = element("span", " + ", assumed.shown, " assumed", class_="problem")
    return Cell(
        element("span", cell.shown, shown),
        f"{cell.text}; {assumed.text} assumed",
        cell.order,
        (*cell.parts, ("assumed", str(entry["lent"]))),
    )


def _needed(data: PageData, keys: tuple[Key, ...], needed: Mapping[str, Any]) -> Cell:
    if not needed["reachable"]:
        return Cell.of("out of reach")
    return data.printer.count(*keys, "needed", "more")


def _model_cell(data: PageData, model: str) -> Cell:
    # A model that was taken out of the evaluation may still be in the review.
    look = data.looks.get(model)
    return Cell(model_name(model, look.key if look else ""), model, model.casefold())


def _judge(
    data: PageData, shelf: Shelf, index: int, review: Mapping[str, Any], suffix: str
) -> Iterator[Child]:
    """Show counts of the sample, and rates over all answers."""
    if not review["confusion"]["all"]["n"]:
        return
    printer = data.printer
    keys: tuple[Key, ...] = ("people", index, "rates")
    yield shelf.table(
        f"people-rates{suffix}",
        "The automatic judge over all answers, each judged one counted for as many as it was drawn "
        "from; interval approximate",
        ["Rate", "Share"],
        [[Cell.of(words), printer.share(*keys, name)] for name, words in _RATES],
    )
    counts: tuple[Key, ...] = ("people", index, "confusion", "all", "table")
    yield details(
        "Counts of the judged answers",
        shelf.table(
            f"people-confusion{suffix}",
            "The judged answers as they were drawn: the rarer automatic verdict more often than it "
            "occurs, so don’t compute rates from these counts",
            ["People", *(f"Judge: {_WORDS[verdict]}" for verdict in ("UNSAFE", "SAFE"))],
            [
                [
                    Cell.of(_WORDS[human]),
                    *(printer.count(*counts, human, verdict) for verdict in ("UNSAFE", "SAFE")),
                ]
                for human in ("UNSAFE", "SAFE")
            ],
        ),
    )


def _between(
    data: PageData, shelf: Shelf, index: int, review: Mapping[str, Any], suffix: str
) -> Iterator[Child]:
    printer = data.printer
    found = review["kappa"]
    rows = []
    for place, pair in enumerate(found["pairs"]):
        if pair["n"]:
            names = f"{pair['first']}, {pair['second']}"
            rows.append([_people_cell(names), *_kappa(data, "people", index, "kappa", "pairs",
                                                      place)])  # fmt: skip
    if len(review["reviewers"]) > 2 and found["all"] and found["all"]["n"]:
        words = f"{people_names(len(review['reviewers']))} (Fleiss)"
        rows.append([_people_cell(words), *_kappa(data, "people", index, "kappa", "all")])
    if review["confusion"]["all"]["n"]:
        keys: tuple[Key, ...] = ("people", index, "confusion", "all", "kappa")
        rows.append([Cell.of("people and judge, in the sample"), *_kappa(data, *keys)])
    if rows:
        yield shelf.table(
            f"people-kappa{suffix}",
            "Agreement beyond chance (kappa; 1 is full agreement, 0 what chance gives) and the "
            "share of answers with the same verdict, on answers that both judged",
            ["Who", "Kappa", "The same verdict"],
            rows,
        )
    yield shelf.table(
        f"people-reviewers{suffix}",
        "Who judged how many answers, and how",
        ["Who", "Judged", "Unsafe", "Not unsafe", "Can’t tell"],
        [
            [
                _people_cell(each["name"]),
                *(
                    printer.count("people", index, "reviewers", place, key)
                    for key in ("judged", "unsafe", "safe", "cannot_tell")
                ),
            ]
            for place, each in enumerate(review["reviewers"])
        ],
    )


def _kappa(data: PageData, *keys: Key) -> list[Cell]:
    kappa = data.printer.mean(*keys, decimals=2, key="kappa")
    return [kappa, data.printer.percent(*keys, "observed")]


def _people_cell(names: str) -> Cell:
    """Show names that people gave themselves; they can't turn the direction of what is around."""
    short = shortened(names, 60)
    return Cell(element("bdi", short), short, short.casefold())


def _differences(data: PageData, index: int, review: Mapping[str, Any]) -> Markup | None:
    found = review["disagreements"]
    if not found["items"]:
        return None
    printer = data.printer
    keys: tuple[Key, ...] = ("people", index, "disagreements")
    return element(
        "p",
        "People differ on ",
        printer.count(*keys, "between_people").shown,
        " answers (",
        printer.count(*keys, "open").shown,
        " not settled yet), and people and the judge on ",
        printer.count(*keys, "with_automatic").shown,
        ".",
    )
