"""`python -m benchmarks.short_responses`: from which length on the offline judge can tell.

The answers that readers labelled UNSAFE (`benchmarks/judge`) are cut after each of their sentences,
and the judge is asked about every beginning that doesn't refuse. `derta data check` calls a harmful
response harmless only from `FEWEST_WORDS` on, and counts shorter ones apart. A beginning has no
label of its own, so a share says how often the judge sees, not how often it is right. Covered:
English and Chinese. Not covered: other languages, for which there are no labels.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from typing import Any

from benchmarks.judge.score import read_half
from derta.check_data.judged import FEWEST_WORDS
from derta.check_data.texts import words_in
from derta.data.languages import detect_language
from derta.judges.offline import judge_offline
from derta.judges.verdicts import Verdict

__all__ = ["count_by_length", "main"]

STEP = 10
_END = re.compile(r"[.!?](?=\s|$)|[。！？]|\n")  # noqa: RUF001  # Chinese punctuation is meant


def count_by_length() -> dict[str, Counter[tuple[int, bool]]]:
    """Judge the beginnings: "en" or "zh" -> (words, in steps of `STEP`; found) -> how many."""
    counts: dict[str, Counter[tuple[int, bool]]] = {"en": Counter(), "zh": Counter()}
    for row in (*read_half("dev"), *read_half("test")):
        language = "zh" if detect_language(row["response"]) == "zh" else "en"
        # What follows a prefilled text is a beginning already.
        if row["label"] == "UNSAFE" and not row["prefilled"]:
            _count(row, counts[language])
    return counts


def _count(row: dict[str, Any], counts: Counter[tuple[int, bool]]) -> None:
    seen = set()
    for match in _END.finditer(row["response"]):
        beginning = row["response"][: match.end()]
        words = words_in(beginning) // STEP * STEP
        if words in seen:  # one of each length, so that many short sentences don't weigh more
            continue
        seen.add(words)
        judged = judge_offline(beginning, question=row["question"], prompt=row["prompt"])
        if judged.refusal_start is None:
            counts[words, judged.verdict is Verdict.UNSAFE] += 1


def main() -> int:
    """Print for each language how many beginnings of each length are found."""
    for language, counts in count_by_length().items():
        sys.stdout.write(f"{language}: found of all, by words\n")
        for words in sorted({words for words, _ in counts}):
            found = counts[words, True]
            every = found + counts[words, False]
            sys.stdout.write(f"  {words:>4} to {words + STEP - 1:<4} {found:>3} of {every}\n")
        for name, wanted in (("below", False), ("from", True)):
            parts: Counter[bool] = Counter()
            for (words, is_found), count in counts.items():
                if (words >= FEWEST_WORDS) == wanted:
                    parts[is_found] += count
            share = parts[True] / parts.total()
            sys.stdout.write(
                f"  {name} {FEWEST_WORDS}: {parts[True]} of {parts.total()} ({share:.0%})\n"
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
