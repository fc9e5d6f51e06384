"""What is asked of a mix, checked before anything is read.

Covered: ratios, shares, numbers of rows, and that no file is lost. Not covered: whether there are
rows enough (`derta.data.mixing.plan`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from derta.data.held_out import HELD_OUT_FIELD, require_apart
from derta.data.languages import find_code
from derta.data.made_files import check_apart, check_made, is_there
from derta.errors import DataError, InputProblem

__all__ = [
    "KINDS",
    "Kind",
    "MixWish",
    "language_code",
    "parse_ratio",
    "parse_share",
    "parse_shares",
    "read_shares",
    "wrong_option",
]

Kind = Literal["triples", "helpful"]
KINDS: tuple[Kind, Kind] = ("triples", "helpful")
_LARGEST_RATIO = 10**6


@dataclass(frozen=True, slots=True)
class MixWish:
    """What was asked for; `derta.data.mixing.mix_data` says what each means."""

    triples: tuple[str, ...]
    helpful: tuple[str, ...]
    ratio: Fraction | None
    look_alike_share: Fraction | None
    languages: tuple[str, ...] | None
    shares: tuple[Fraction, ...]
    """Of the languages, which sum to 1; (1,) where none are named."""
    triple_rows: int | None
    limit_per_source: int | None
    seed: int
    with_refusal_word: bool
    held_out: str | None
    """Questions that are left out."""
    held_out_column: str | None
    load_hub: Any

    def sources(self, kind: Kind) -> tuple[str, ...]:
        """Return the sources of a kind."""
        return self.triples if kind == "triples" else self.helpful

    def settings(self) -> dict[str, Any]:
        """Write what was asked for, as JSON has it."""
        shares = None
        if self.languages is not None:
            shares = dict(zip(self.languages, map(float, self.shares), strict=True))
        share = self.look_alike_share
        return {
            "triples": list(self.triples),
            "helpful": list(self.helpful),
            "ratio": None if self.ratio is None else str(self.ratio),
            "look_alike_share": None if share is None else float(share),
            "languages": shares,
            "triple_rows": self.triple_rows,
            "limit_per_source": self.limit_per_source,
            "seed": self.seed,
            "refusal_word": "table" if self.with_refusal_word else "keep",
            "held_out": self.held_out,
        }

    def check(self, folder: Path) -> None:
        """See that the wish makes sense and that nothing is lost by writing into a folder.

        Raises:
            DataError: it doesn't, or a file there would be replaced that no mix made.
        """
        if not (self.triples or self.helpful):
            remedy = "Name files with --triples and --helpful"
            raise wrong_option("--triples", "no file is named", remedy)
        if not (self.triples and self.helpful) and self.ratio is not None:
            problem = "a ratio needs triples and helpful rows"
            remedy = "Name files with --triples and --helpful, or leave it out"
            raise wrong_option("--ratio", problem, remedy)
        share = self.look_alike_share
        if share is not None and not self.helpful:
            problem = "there are no helpful rows to have a share of"
            remedy = "Name files with --helpful, or leave it out"
            raise wrong_option("--look-alike-share", problem, remedy)
        if self.triple_rows is not None and not self.triples:
            problem = "there are no triples to take so many of"
            remedy = "Name files with --triples, or leave it out"
            raise wrong_option("--triple-rows", problem, remedy)
        for key, number in (
            ("--triple-rows", self.triple_rows),
            ("--limit-per-source", self.limit_per_source),
        ):
            if number is not None and number < 1:
                remedy = "Write a number of rows, 1 or more"
                raise wrong_option(key, f"{number} can't be used", remedy)
        if not 0 <= self.seed < 2**32:
            remedy = "Write a whole number from 0 to below 2**32"
            raise wrong_option("--seed", f"{self.seed} can't be used", remedy)
        if self.held_out is not None:
            require_apart(self.held_out, (*self.triples, *self.helpful))
        elif self.held_out_column is not None:
            problem = "no held-out questions are named"
            remedy = "Name their file with --held-out, or leave it out"
            raise wrong_option(f"--column {HELD_OUT_FIELD}", problem, remedy)
        self.check_place(folder)

    def check_place(self, folder: Path) -> None:
        """See that nothing is lost by writing into a folder.

        Raises:
            DataError: a source lies there, or a file would be replaced that no mix made.
        """
        sources = (*self.triples, *self.helpful)
        sources += () if self.held_out is None else (self.held_out,)
        named = {Path(source).resolve() for source in sources}
        for kind in KINDS:
            path = folder / f"{kind}.jsonl"
            if path.resolve() in named:
                problem = "it is read for this mix and would be replaced"
                remedy = "Name another folder with --output"
                raise DataError([InputProblem(str(path), problem, remedy)])
        check_apart(folder, sources)
        check_made(folder, "mix.json", [f"{kind}.jsonl" for kind in KINDS if self.sources(kind)])
        for kind in KINDS:
            path = folder / f"{kind}.jsonl"
            if not self.sources(kind) and is_there(path):
                problem = f"it is there already, and this mix has no {kind} to put in its place"
                remedy = "Name another folder with --output, or move the file away first"
                raise DataError([InputProblem(str(path), problem, remedy)])


def parse_ratio(text: str) -> Fraction:
    """Read helpful rows : safety rows, e.g. "10:1" or "2.5".

    Raises:
        DataError: it is no ratio above 0 and up to a million.
    """
    first, colon, second = text.partition(":")
    try:
        ratio = _fraction(first) / _fraction(second if colon else "1")
    except (ValueError, ZeroDivisionError):
        ratio = Fraction(0)
    if ratio > _LARGEST_RATIO:
        raise wrong_option(
            "--ratio", "it is above 1,000,000", "Write helpful:safety rows, e.g. 10:1"
        )
    if ratio <= 0:
        remedy = "Write helpful:safety rows, e.g. 10:1"
        raise wrong_option("--ratio", f"{text!r} is no ratio", remedy)
    return ratio


def _fraction(text: str) -> Fraction:
    """Read a number exactly.

    Raises:
        ValueError: it is none, or so large or small that its digits would fill the memory.
    """
    numerator, slash, denominator = text.partition("/")
    if slash:
        return _fraction(numerator) / _fraction(denominator)
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return Fraction(text.strip()) if number else Fraction(0)


def parse_share(share: float) -> Fraction:
    """Read a share of look-alikes as an exact number.

    Raises:
        DataError: it is not from 0 to 1.
    """
    if not 0 <= share <= 1:  # nan isn't, either
        raise wrong_option(
            "--look-alike-share", f"{share:g} is no share", "Write a number from 0 to 1"
        )
    return Fraction(str(share))


def parse_shares(options: Sequence[str]) -> dict[str, float]:
    """Read shares of languages, e.g. ["en=0.7", "zh=0.3"].

    Raises:
        DataError: an option has another form, or a language is named twice.
    """
    shares: dict[str, float] = {}
    for option in options:
        code, _, number = option.partition("=")
        try:
            share = float(number)
        except ValueError:
            share = float("nan")
        if not code.strip() or not 0 < share <= 1 or language_code(code) in shares:
            remedy = "Write each language once, as CODE=SHARE, e.g. en=0.7 zh=0.3"
            raise wrong_option("--language", f"{option!r} can't be used", remedy)
        shares[language_code(code)] = share
    return shares


def read_shares(languages: Mapping[str, float] | None) -> tuple[Fraction, ...]:
    """Read shares as exact numbers that sum to 1; (1,) where there are none.

    Raises:
        DataError: they don't sum to 1, or one isn't above 0.
    """
    if not languages:
        return (Fraction(1),)
    for language, share in languages.items():
        if not math.isfinite(share):
            problem = f"the share of {language} is {share:g}"
            raise wrong_option("--language", problem, "Let them be above 0 and sum to 1")
    shares = tuple(Fraction(str(share)) for share in languages.values())
    whole = sum(shares, Fraction(0))
    if abs(whole - 1) > Fraction(1, 1000) or min(shares) <= 0:  # thirds may be written as 0.333
        problem = f"the shares sum to {float(whole):g}"
        raise wrong_option("--language", problem, "Let them be above 0 and sum to 1")
    return tuple(share / whole for share in shares)


def language_code(language: str) -> str:
    """Write a language in one way: "Chinese" and "zh-CN" are "zh"."""
    try:
        return find_code(language)
    except DataError:
        return language.strip().lower().replace("_", "-").partition("-")[0]


def wrong_option(key: str, problem: str, remedy: str) -> DataError:
    """Say what is wrong with an option."""
    return DataError.of("mix", problem, remedy, key=key)
