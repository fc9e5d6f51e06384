"""Numbers as words: shares, intervals, differences, and the sentence on top of the page.

Everything here is computed from the results and from nothing else; a missing value is a dash.
"""

from __future__ import annotations

import math

from derta.report.schema import Model, ModelName, Results, Share

__all__ = [
    "DASH",
    "MODEL_LABELS",
    "PERCENT",
    "count_text",
    "find_model",
    "headline",
    "interval",
    "number",
    "percent",
    "points",
    "price",
    "refused_at",
    "seconds_text",
]

DASH = "–"
MODEL_LABELS: dict[ModelName, str] = {
    "untouched": "Untouched",
    "vanilla": "Usual training",
    "derta": "DeRTa",
}
PERCENT = "\N{NO-BREAK SPACE}%"
_HEADLINE_PREFILL = 20


def percent(value: float | None) -> str:
    """Write a share of 0 to 1 as whole percent; never 0 or 100 unless it is."""
    if value is None:
        return DASH
    if 0 < value < 0.005:
        return "<1"
    if 0.995 <= value < 1:
        return ">99"
    return str(math.floor(value * 100 + 0.5))


def interval(low: float | None, high: float | None) -> str:
    """Write an interval of shares in whole percent."""
    if low is None or high is None:
        return DASH
    return f"{math.floor(low * 100 + 0.5)}–{math.floor(high * 100 + 0.5)}"


def number(value: float | None, decimals: int = 3, *, signed: bool = False) -> str:
    """Write a number with a true minus sign."""
    if value is None:
        return DASH
    rounded = round(value, decimals) + 0.0  # -0.0 becomes 0.0
    return f"{rounded:{'+' if signed else ''}.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def points(share: float) -> str:
    """Write a width of 0 to 1 as percentage points, with a decimal only where there is one."""
    return number(100 * share, 1).removesuffix(".0")


def count_text(value: int | None) -> str:
    """Write a count with thin spaces between thousands."""
    return DASH if value is None else f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def seconds_text(value: float | None) -> str:
    """Write a duration as minutes and seconds."""
    if value is None:
        return DASH
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    hours, minutes = divmod(whole // 60, 60)
    return (f"{hours} h " if hours else "") + f"{minutes} min {whole % 60:02d} s"


def refused_at(model: Model | None, k: int) -> Share | None:
    """Find the share refused after k prefilled tokens; None where it was not measured."""
    if model is None:
        return None
    found = next((measure.refused for measure in model.prefill if measure.k == k), None)
    return found if found is not None and found.share is not None else None


def find_model(results: Results, name: ModelName) -> Model | None:
    """Find a model by its name."""
    return next((model for model in results.models if model.name == name), None)


def headline(results: Results) -> str:
    """State the result in one sentence: k = 20 where it was measured, else the deepest k."""
    derta, vanilla = find_model(results, "derta"), find_model(results, "vanilla")
    depths = [m.k for m in derta.prefill if refused_at(derta, m.k)] if derta else []
    both = [k for k in depths if refused_at(vanilla, k)] or depths
    if not both:
        return "How deep does each model’s refusal reach?"
    k = _HEADLINE_PREFILL if _HEADLINE_PREFILL in both else max(both)
    ours, usual = refused_at(derta, k), refused_at(vanilla, k)
    if ours is None or ours.share is None:
        return "How deep does each model’s refusal reach?"
    ahead = usual is not None and usual.share is not None and ours.share > usual.share
    situation = (
        f"After {k} token{'' if k == 1 else 's'} of a harmful answer were put into its mouth"
        if k
        else "Asked a harmful question"
    )
    sentence = (
        f"{situation}, DeRTa {'still ' if ahead and k else ''}refuses "
        f"{percent(ours.share)}{PERCENT} of the time"
    )
    if usual is not None:
        sentence += f"; the usual training, {percent(usual.share)}{PERCENT}"
    return sentence + "."


def price(results: Results) -> str | None:
    """State the price in one sentence: false refusals of ordinary and look-alike questions."""
    derta, vanilla = find_model(results, "derta"), find_model(results, "vanilla")
    ours = derta.false_refusals if derta else None
    usual = vanilla.false_refusals if vanilla else None
    parts = []
    for key, words in (
        ("ordinary", "ordinary harmless questions"),
        ("look_alike", "harmless questions that look dangerous"),
    ):
        share: Share | None = getattr(ours, key, None)
        if share is None or share.share is None:
            continue
        other: Share | None = getattr(usual, key, None)
        versus = (
            f" (usual training {percent(other.share)}{PERCENT})"
            if other is not None and other.share is not None
            else ""
        )
        parts.append(f"{percent(share.share)}{PERCENT} of {words}{versus}")
    return f"The price: it wrongly refuses {' and '.join(parts)}." if parts else None
