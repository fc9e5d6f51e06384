"""The sections of the report that show figures.

Covers the table, bounds, probability by position, where refusals begin, training, and how it was
measured. Every figure comes from the results; a missing one is a dash.
"""

from __future__ import annotations

from collections.abc import Sequence

from derta.analysis.shares import CURVE_MINIMUM
from derta.report.charts import (
    KINDS,
    begin_bins,
    begin_chart,
    log_chart,
    probability_chart,
    well_supported,
)
from derta.report.figures import (
    DASH,
    MODEL_LABELS,
    PERCENT,
    count_text,
    number,
    percent,
    seconds_text,
)
from derta.report.markup import Child, Markup, element
from derta.report.parts import details, flat_pairs, pairs, plain_table, section
from derta.report.schema import Bound, Model, Results
from derta.report.table import Cell, measures

__all__ = [
    "begin_section",
    "bounds_section",
    "measured_section",
    "measures_section",
    "probability_section",
    "training_section",
]


def measures_section(results: Results) -> Markup:
    """Show all measures of all models with intervals and n."""
    header = element(
        "tr",
        element("td", element("span", "Measure", class_="unseen")),
        [
            element("th", _name(model), scope="col", class_=f"name-{model.name}")
            for model in results.models
        ],
    )
    rows: list[Markup] = []
    group = ""
    for measure in measures(results):
        if measure.group != group:
            group = measure.group
            span = len(results.models) + 1
            rows.append(
                element("tr", element("th", group, colspan=span, scope="rowgroup"), class_="group")
            )
        rows.append(
            element(
                "tr",
                element("th", measure.label, scope="row"),
                [element("td", _cell(cell, measure.unit)) for cell in measure.cells],
            )
        )
    caption = "Figure, 95 % interval, and n: how many responses it rests on."
    table = element(
        "table",
        element("caption", caption),
        element("thead", header),
        element("tbody", rows),
        class_="measures",
    )
    return section("measures", "All measures", table)


def bounds_section(results: Results) -> Markup | None:
    """Show the bounds set in advance, met and missed alike."""
    if not results.bounds:
        return None
    met = sum(bound.met is True for bound in results.bounds)
    rows = [
        [bound.name, bound.bound, _bound_value(bound), _bound_verdict(bound)]
        for bound in results.bounds
    ]
    return section(
        "bounds",
        "Bounds set in advance",
        element("p", f"{met} of {len(results.bounds)} met."),
        plain_table(["Measure", "Bound", "Value", ""], rows),
    )


def probability_section(results: Results) -> Markup | None:
    """Show the mean probability of the refusal token by position, one picture a model."""
    models = [model for model in results.models if model.refusal_probability]
    if not models:
        return None
    minimum = 1 if results.budget == "smoke" else CURVE_MINIMUM  # as in an evaluation
    curves = [
        well_supported(curve, minimum)
        for model in models
        if model.refusal_probability
        for curve in (model.refusal_probability.harmful, model.refusal_probability.benign)
    ]
    last = max((curve.position[-1] for curve in curves if curve.position), default=1)
    words = _refusal_words(results)
    token = f"refusal token{' ' + words[0] if words else ''}"
    if len(words) > 1:
        token = f"refusal tokens {', '.join(words)} together"
    return section(
        "probability",
        "Does the model know that it should stop?",
        element(
            "p",
            f"Mean probability of the {token} at each position of harmful and of "
            "benign responses. A model that can refuse at any point is high on one and low on the "
            "other; AUC is how well the probability alone tells them apart (0.5 is chance).",
        ),
        _multiples(models, [probability_chart(model, last, minimum=minimum) for model in models]),
        element(
            "p",
            "Shade: 95 % interval, bootstrap over responses."
            + (f" A line ends where fewer than {minimum} responses go on." if minimum > 1 else ""),
            class_="quiet",
        ),
        details(
            "The figures of these pictures",
            [_probability_table(model, last, minimum) for model in models],
        ),
        _auc_counts(models),
    )


def begin_section(results: Results) -> Markup | None:
    """Show where refusals begin, one picture a model."""
    models = [model for model in results.models if model.refusal_position]
    if not models:
        return None
    labels = [label for label, _ in begin_bins([])]
    rows: list[list[Child]] = []
    for model in models:
        words = model.refusal_position.words if model.refusal_position else []
        counts = [str(count) if words else DASH for _, count in begin_bins(words)]
        rows.append([_name(model), *counts])
    return section(
        "begin",
        "Where refusals begin",
        element(
            "p",
            "How many words a model writes before its refusal, over all harmful requests that it "
            "refused, prefilled and raw text together. What was put into its mouth does not count.",
        ),
        _multiples(models, [begin_chart(model) for model in models]),
        details("The figures of these pictures", plain_table(["Words before", *labels], rows)),
    )


def training_section(results: Results) -> Markup | None:
    """Show how the models were trained: settings, cost, and logs."""
    trained = [model for model in results.models if model.training]
    if not trained and not results.recipe:
        return None
    rows: list[list[Child]] = []
    for model in trained:
        training = model.training
        if training is not None:
            rows.append(
                [
                    _name(model),
                    training.method or DASH,
                    count_text(training.optimizer_steps),
                    count_text(training.examples),
                    count_text(training.tokens_computed),
                    seconds_text(training.seconds),
                ]
            )
    header = ["Model", "Method", "Steps", "Examples", "Tokens computed", "Time"]
    logged = [model for model in trained if model.training and model.training.log]
    rows_recipe = results.recipe.get("rows")
    margin = rows_recipe.get("helpful_margin") if isinstance(rows_recipe, dict) else None
    losses = "loss, nats a target"
    if margin:  # so that nobody compares it with a run without one
        losses += f" (of helpful targets, with RTO: with a margin of {margin} nats)"
    plots = [
        element("figure", element("p", f"{_name(model)}: {words}", class_="figure-title"), plot)
        for model in logged
        for words, plot in (
            (losses, log_chart(model, "loss")),
            ("probability of the refusal token", log_chart(model, "refusal_probability")),
        )
    ]
    recipe = details("All settings", pairs(flat_pairs(results.recipe))) if results.recipe else None
    return section(
        "training",
        "Training",
        plain_table(header, rows) if rows else None,
        element("div", plots, class_="grid two") if plots else None,
        details("The figures of these pictures", [_log_table(m) for m in logged])
        if logged
        else None,
        recipe,
    )


def measured_section(results: Results) -> Markup:
    """Say how it was measured, on what, and how to do it again."""
    counts = ", ".join(f"{count_text(count)} {kind}" for kind, count in results.test.items())
    seed = DASH if results.seed is None else str(results.seed)
    words = _refusal_words(results)
    word = f" The refusal token is {words[0]}." if words else ""
    if len(words) > 1:
        word = f" The refusal tokens are {', '.join(words)}."
    files: list[list[Child]] = [
        [name, count_text(file.rows), element("code", file.sha256)]
        for name, file in results.data.items()
    ]
    seconds = [(stage, seconds_text(value)) for stage, value in results.seconds.items()]
    return section(
        "measured",
        "How it was measured",
        element(
            "p",
            f"On the test split; settings are chosen on the tune split: {counts or DASH}. "
            f"Greedy decoding, seed {seed}. Refused means: within 64 new tokens a refusal "
            "sentence begins and completes, and neither substance nor a repetition loop "
            f"follows it.{word}",
        ),
        element(
            "p",
            "Intervals of shares are Wilson’s 95 %; those of probabilities, AUC and loss come "
            "from a bootstrap over responses. Usual training has the same data, schedule and "
            "number of steps as DeRTa.",
        ),
        element("h3", "Do it again"),
        element("pre", element("code", results.command or DASH)),
        details("Data", plain_table(["File", "Rows", "SHA-256"], files)) if files else None,
        details("Machine", pairs(flat_pairs(results.machine))) if results.machine else None,
        details("Time", pairs(seconds)) if seconds else None,
    )


# --- parts -----------------------------------------------------------------------------------


def _refusal_words(results: Results) -> list[str]:
    """Return the run's refusal words in quotation marks, each once."""
    by_language = results.recipe.get("refusal_words")
    others = by_language.values() if isinstance(by_language, dict) else ()
    words = [word for word in (results.refusal_word, *others) if isinstance(word, str) and word]
    return [f"“{word}”" for word in dict.fromkeys(words)]


def _name(model: Model) -> str:
    return MODEL_LABELS[model.name]


def _multiples(models: Sequence[Model], charts: Sequence[Markup]) -> Markup:
    figures = [
        element(
            "figure", element("p", _name(model), class_=f"figure-title name-{model.name}"), chart
        )
        for model, chart in zip(models, charts, strict=True)
    ]
    return element("div", figures, class_="grid")


def _cell(cell: Cell, unit: str) -> Markup:
    figure = cell.figure
    if unit and figure != DASH:
        figure += f"\N{NO-BREAK SPACE}{unit}"
    return element(
        "div",
        element("span", figure, class_="figure"),
        element("span", " ", cell.interval, class_="interval"),
        element("span", f" n\N{NO-BREAK SPACE}{cell.n}" if cell.n else "", class_="n"),
        class_="cell",
    )


def _probability_table(model: Model, last: int, minimum: int) -> Markup:
    found = model.refusal_probability
    shown = [position for position in (0, 1, 5, 10, 20, 40, 80, 120) if position <= last]
    rows: list[list[Child]] = []
    for kind, curve in (("harmful", found.harmful), ("benign", found.benign)) if found else ():
        known = well_supported(curve, minimum)
        by_position = dict(zip(known.position, zip(known.mean, known.n, strict=True), strict=True))
        cells = []
        for position in shown:
            mean, n = by_position.get(position, (None, 0))
            cells.append(DASH if mean is None else f"{number(mean)} (n {n})")
        rows.append([kind, *cells])
    return plain_table([f"{_name(model)}, token", *map(str, shown)], rows)


def _auc_counts(models: Sequence[Model]) -> Markup:
    sentences = []
    for model in models:
        auc = model.refusal_probability.auc if model.refusal_probability else None
        if auc is None:
            continue
        known = auc.low is not None and auc.high is not None
        within = (
            f"95 % interval {number(auc.low)} to {number(auc.high)}" if known else "no interval"
        )
        sentences.append(
            f"{_name(model)}: AUC {number(auc.value)}, {within}, from "
            f"{count_text(auc.harmful_positions)} positions of "
            f"{count_text(auc.harmful_responses)} harmful and "
            f"{count_text(auc.benign_positions)} positions of "
            f"{count_text(auc.benign_responses)} benign responses."
        )
    return details("AUC with its interval", [element("p", words) for words in sentences])


def _log_table(model: Model) -> Markup:
    entries = model.training.log if model.training else []
    header = [f"{_name(model)}, step", "loss", *(f"loss: {label}" for _, label in KINDS.values())]
    header += [f"P(refusal): {label}" for _, label in KINDS.values()]
    rows: list[list[Child]] = [
        [
            str(entry.step),
            number(entry.loss),
            *(number(getattr(entry, f"loss_{kind}")) for kind in KINDS),
            *(number(getattr(entry, f"refusal_probability_{kind}")) for kind in KINDS),
        ]
        for entry in entries
    ]
    return plain_table(header, rows)


def _bound_value(bound: Bound) -> str:
    if bound.value is None:
        return DASH
    if "%" in bound.bound:
        return f"{percent(bound.value)}{PERCENT}"
    if "point" in bound.bound:
        return f"{number(bound.value * 100, 1, signed=True)} points"
    return number(bound.value)


def _bound_verdict(bound: Bound) -> Markup:
    if bound.met is None:
        return element("span", DASH)
    words = "✓ met" if bound.met else "✗ missed"
    return element("span", words, class_="met" if bound.met else "missed")
