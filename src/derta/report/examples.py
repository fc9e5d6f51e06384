"""Responses of all models side by side.

Covers highlighting the refusal and blurring everything else where the request is harmful. Text of
a harmful answer is blurred even after a refusal has been found in it: the verdict is automatic.
Not covered: judging. Blurred text is also hidden from screen readers until it is shown.
"""

from __future__ import annotations

from derta.report.figures import DASH, MODEL_LABELS
from derta.report.markup import Child, Markup, element
from derta.report.schema import Example, Response, Results

__all__ = ["examples_section"]

_SCENARIOS = {
    "raw_text": "Harmful, raw text to continue",
    "benign": "Harmless question",
}


def examples_section(results: Results) -> Markup | None:
    """Show each example: the question, what was put into the mouth, and every response."""
    if not results.examples:
        return None
    return element(
        "section",
        element("h2", "The same requests, side by side", id="examples-title"),
        element(
            "p",
            "The refusal is highlighted. Everything else that a model wrote to a harmful request "
            "is blurred until you ask for it.",
        ),
        element(
            "button",
            "Show all harmful text",
            type="button",
            id="reveal-all",
            aria_pressed="false",
            hidden=True,
        ),
        element("noscript", element("p", "Without JavaScript it stays blurred.", class_="quiet")),
        [_example(results, example, index) for index, example in enumerate(results.examples)],
        aria_labelledby="examples-title",
    )


def _example(results: Results, example: Example, index: int) -> Markup:
    if example.scenario == "prefill":
        k = DASH if example.k is None else str(example.k)
        heading = f"Harmful, {k} tokens of the harmful answer put into its mouth"
        if example.k == 0:
            heading = "Harmful, asked plainly"
    else:
        heading = _SCENARIOS[example.scenario]
    names = [model.name for model in results.models] or list(example.responses)
    names += [name for name in example.responses if name not in names]
    return element(
        "article",
        element("h3", heading),
        element("p", example.prompt, class_="prompt"),
        _prefilled(example, index) if example.prefilled else None,
        element(
            "div",
            [_response(example, example.responses.get(name), name, index) for name in names],
            class_="grid",
        ),
        class_="example",
    )


def _prefilled(example: Example, index: int) -> Markup:
    identifier = f"prefilled-{index}"
    text = example.prefilled or ""
    words = [element("span", "Put into its mouth: ", class_="quiet")]
    if example.scenario == "benign":
        return element("p", words, text, class_="mouth text")
    return element(
        "div",
        element("p", words, _veiled(text), class_="mouth text", id=identifier),
        _button("text put into its mouth", "the text put into its mouth", identifier),
        class_="mouth-part",
        data_hides=True,
    )


def _response(example: Example, response: Response | None, name: str, index: int) -> Markup:
    label = MODEL_LABELS[name]  # type: ignore[index]  # a ModelName
    identifier = f"response-{index}-{name}"
    if response is None:
        content: list[Child] = [element("p", DASH, class_="text")]
        return _card(label, name, "not measured", content, hides=False)
    harmful = example.scenario != "benign"
    parts = _marked(response, veil=harmful)
    hides = any('class="veiled"' in part for part in parts if isinstance(part, Markup))
    empty = element("span", "(no text)", class_="quiet")
    content = [element("p", parts or empty, class_="text", id=identifier)]
    if hides:
        content.append(_button("harmful text", f"the harmful text of {label}", identifier))
    if response.refused is None:
        verdict = DASH
    elif harmful:
        verdict = "refused" if response.refused else "did not refuse"
    else:
        verdict = "refused wrongly" if response.refused else "answered"
    return _card(label, name, verdict, content, hides=hides)


def _card(label: str, name: str, verdict: str, content: list[Child], *, hides: bool) -> Markup:
    heading = element(
        "h4",
        element("span", label, class_=f"name-{name}"),
        element("span", verdict, class_="verdict"),
    )
    return element("div", heading, content, class_=f"response {name}", data_hides=hides)


def _marked(response: Response, *, veil: bool) -> list[Child]:
    text = response.text
    start, end = response.refusal_span or (len(text), len(text))
    before, refusal, after = text[:start], text[start:end], text[end:]
    parts: list[Child] = []
    for part in (before, refusal, after):
        if not part:
            continue
        if part is refusal:
            parts.append(element("mark", part))
        elif veil and part.strip():
            parts.append(_veiled(part))
        else:
            parts.append(part)
    return parts


def _veiled(text: str) -> Markup:
    return element("span", text, class_="veiled", aria_hidden="true")


def _button(words: str, described: str, controls: str) -> Markup:
    return element(
        "button",
        element("span", "Show", class_="verb"),
        " ",
        element("span", words, aria_hidden="true"),
        element("span", described, class_="unseen"),
        type="button",
        aria_expanded="false",
        aria_controls=controls,
        hidden=True,
    )
