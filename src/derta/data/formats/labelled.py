"""Responses with safety labels: PKU-SafeRLHF, two in a row, and BeaverTails, one in a row.

Covered: triples of a safe and an unsafe response to the same prompt, by the labels of the data.
Not covered: which response people preferred (that is not the same as which one is safe), and
whether a safe response is a refusal (`derta data check` looks).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from derta.data.formats.base import (
    Format,
    Group,
    Kind,
    Made,
    Part,
    Skip,
    Unusable,
    kept_columns,
    named_harms,
    read_truth,
)
from derta.data.formats.messages import read_text
from derta.data.streams import RawRow

__all__ = ["BEAVERTAILS", "PKU_SAFERLHF"]

# --- PKU-SafeRLHF ----------------------------------------------------------------------------

_PKU_COLUMNS = ("prompt", "response_0", "response_1", "is_response_0_safe", "is_response_1_safe")


def _is_pku(record: Mapping[str, Any]) -> bool:
    return all(name in record for name in _PKU_COLUMNS)


def _read_pku(row: RawRow, kind: Kind | None) -> Made:  # noqa: ARG001  (it makes one kind only)
    """Read a pair of responses of which exactly one is labelled safe.

    Relied on: the data card of PKU-Alignment/PKU-SafeRLHF on the hub (Ji et al. 2024, arXiv
    2406.15513) and public code that reads it: prompt, prompt_source, response_k,
    response_k_source, is_response_k_safe, response_k_harm_category (names with true or false),
    response_k_severity_level, better_response_id, safer_response_id, response_k_sha256; earlier
    versions have only the five columns that are needed here, and the two ids.
    """
    record = row.record
    labels = [read_truth(record.get(f"is_response_{k}_safe")) for k in (0, 1)]
    if None in labels:
        raise Unusable("a safety label is missing")
    if labels[0] == labels[1]:
        raise Unusable(f"both responses are labelled {'safe' if labels[0] else 'unsafe'}")
    safe, harmful = (0, 1) if labels[0] else (1, 0)
    others = {
        name: value
        for name, value in record.items()
        if not any(word in name for word in ("response_", "_response"))
    }
    columns = {
        "prompt": read_text(record.get("prompt"), "prompt"),
        "chosen": read_text(record.get(f"response_{safe}"), "the safe response"),
        "rejected": read_text(record.get(f"response_{harmful}"), "the unsafe response"),
        **kept_columns(others),
    }
    harms = named_harms(record.get(f"response_{harmful}_harm_category"))
    if harms:
        columns["harm_categories"] = harms
    further = {
        "severity": record.get(f"response_{harmful}_severity_level"),
        "chosen_source": record.get(f"response_{safe}_source"),
        "rejected_source": record.get(f"response_{harmful}_source"),
    }
    better = record.get("better_response_id")
    if str(better) in ("0", "1"):
        further["more_helpful"] = "chosen" if str(better) == str(safe) else "rejected"
    columns.update(kept_columns(further))
    return Made("triple", columns, row)


PKU_SAFERLHF = Format(
    name="pku-saferlhf",
    description="triples where exactly one response is labelled safe",
    columns=_PKU_COLUMNS,
    makes=frozenset(("triple",)),
    matches=_is_pku,
    read=_read_pku,
    reads_system=False,
)

# --- BeaverTails -----------------------------------------------------------------------------

_BEAVERTAILS_COLUMNS = ("prompt", "response", "is_safe")


def _is_beavertails(record: Mapping[str, Any]) -> bool:
    return all(name in record for name in _BEAVERTAILS_COLUMNS)


def _read_beavertails(row: RawRow, kind: Kind | None) -> Part:  # noqa: ARG001  (one kind only)
    """Read one labelled response; those to one prompt are paired when all are read.

    Relied on: the data card of PKU-Alignment/BeaverTails on the hub (Ji et al. 2023, arXiv
    2307.04657): prompt, response, category (14 names with true or false), is_safe. The same pair
    of prompt and response is there once for each annotator. PKU-SafeRLHF-QA has the same
    columns.
    """
    record = row.record
    safe = read_truth(record.get("is_safe"))
    if safe is None:
        raise Unusable("a safety label is missing")
    prompt = read_text(record.get("prompt"), "prompt")
    response = read_text(record.get("response"), "response")
    return Part(
        prompt,
        "safe" if safe else "unsafe",
        response,
        {"prompt": prompt, **kept_columns(record, ("response", "is_safe"))},
        row,
    )


def _pair_beavertails(group: Group) -> Iterator[Made | Skip]:
    """Pair the first safe response with the first unsafe one, the second with the second ..."""
    for label, other in (("safe", "unsafe"), ("unsafe", "safe")):
        for part in group.parts(label, also_in=other):
            yield Skip("the same response is labelled safe and unsafe", part.place)
    safe_parts = group.parts("safe", not_in="unsafe")
    unsafe_parts = group.parts("unsafe", not_in="safe")
    for safe, unsafe in zip_longest(safe_parts, unsafe_parts):
        if unsafe is None:
            yield Skip("no unsafe response is left to pair the safe one with", safe.place)
        elif safe is None:
            yield Skip("no safe response is left to pair the unsafe one with", unsafe.place)
        else:
            # Harms and other labels are those of the unsafe response.
            columns = {**safe.record, **unsafe.record}
            prompt = columns.pop("prompt")
            pair = {"prompt": prompt, "chosen": safe.text, "rejected": unsafe.text}
            number = unsafe.place.line or unsafe.place.number
            yield Made("triple", {**pair, **columns}, safe.place, number)


BEAVERTAILS = Format(
    name="beavertails",
    description="triples of a safe and an unsafe response to the same prompt",
    columns=_BEAVERTAILS_COLUMNS,
    makes=frozenset(("triple",)),
    matches=_is_beavertails,
    read=_read_beavertails,
    finish=_pair_beavertails,
    over=frozenset(("prompt-response",)),
    reads_system=False,
)
