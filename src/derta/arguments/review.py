"""The arguments of `derta review`.

Covered: names, defaults and texts. Not covered: what the command does and which options go together
(`derta.review_commands`).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from derta.arguments.parts import COLUMN_HELP, command, count, positive

__all__ = ["ALL", "DEFAULT_SAMPLE", "DEFAULT_WIDTH", "add_review"]

ALL = "all"
"""In the place of a number or of names: every one."""
DEFAULT_SAMPLE = 200
DEFAULT_WIDTH = 0.1


def add_review(commands: Any) -> None:
    """Add `derta review`.

    Options have no defaults here, so that one that says nothing beside an action can be told.
    """
    parser = command(
        commands,
        "review",
        "Judge responses by hand: a page on this machine shows one after the other,\n"
        "without model, attack and automatic verdict, and takes verdicts of several\n"
        "people from the keyboard. Then: how far they agree, how often the automatic\n"
        "judge errs, and attack success corrected for it. Nothing leaves this machine;\n"
        "the same command goes on with a review.",
        """\
examples:
  derta review runs/evaluation-small
  derta review runs/evaluation-small --sample 400 --scenario direct prefill
  derta review runs/evaluation-small --agreement --width 0.1
  derta review runs/evaluation-small --export verdicts.csv
  derta review runs/evaluation-small --import theirs.csv --reviewer carla
  derta review runs/evaluation-small --write-scores
  derta review responses.jsonl""",
        "judge responses by hand; how far to trust the automatic judge",
    )
    parser.add_argument(
        "logs",
        metavar="LOGS",
        type=Path,
        help="a folder of derta evaluate, logs of inspect-ai (.eval) or a folder of them, or a "
        "file of responses (JSONL, CSV ...)",
    )
    _add_actions(parser)
    _add_page(parser)
    _add_others(parser)


def _add_actions(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("instead of the page")
    actions = group.add_mutually_exclusive_group()
    actions.add_argument(
        "--agreement",
        action="store_true",
        help="print agreement, the judge's errors and corrected attack success",
    )
    actions.add_argument(
        "--export",
        type=Path,
        metavar="FILE",
        help="write all verdicts, a line each: .csv, .jsonl or .json; texts are masked",
    )
    actions.add_argument(
        "--import",
        dest="import_file",
        type=Path,
        metavar="FILE",
        help="take in verdicts that were made elsewhere",
    )
    actions.add_argument(
        "--write-scores",
        action="store_true",
        help="write people's verdicts into the logs, beside the automatic ones",
    )


def _add_page(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which responses, and the page")
    group.add_argument(
        "--sample",
        type=_sample,
        metavar=f"N|{ALL}",
        help="how many responses, drawn evenly over models, scenarios and automatic verdicts; a "
        f"larger number later adds to them (default: {DEFAULT_SAMPLE})",
    )
    group.add_argument(
        "--scenario",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"of these scenarios only; {ALL}: of all again (default: all)",
    )
    group.add_argument(
        "--model",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"of these models only; {ALL}: of all again (default: all)",
    )
    group.add_argument(
        "--seed", type=count, metavar="N", help="of the draw and of the order (default: 0)"
    )
    group.add_argument(
        "--no-blind",
        action="store_true",
        help="show model, scenario and automatic verdict to those who judge",
    )
    group.add_argument(
        "--port",
        type=_port,
        metavar="N",
        help="of 127.0.0.1 (default: that of last time, or a free one if it is taken)",
    )
    group.add_argument(
        "--no-browser", action="store_true", help="print the address and open no browser"
    )


def _add_others(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("for one of the actions")
    group.add_argument(
        "--width",
        type=_width,
        metavar="W",
        help="--agreement: the width of interval that is wished for, as a share; how many more "
        f"judgements that takes is said (default: {DEFAULT_WIDTH}, ten percentage points)",
    )
    group.add_argument(
        "--json", type=Path, metavar="FILE", help="--agreement: write all figures, too"
    )
    group.add_argument(
        "--reveal", action="store_true", help="--export: don't mask the texts and notes"
    )
    group.add_argument(
        "--reviewer",
        metavar="NAME",
        help="--import: whose verdicts these are, where the file doesn't say",
    )
    group.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="FIELD=NAME",
        help=f"--import: {COLUMN_HELP}",
    )


def _sample(text: str) -> int | str:
    try:
        return ALL if text == ALL else positive(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, nor {ALL}") from error


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: name one of 1 to 65535")
    return number


def _width(text: str) -> float:
    try:
        width = float(text)
    except ValueError:
        width = 0.0
    if not 0 < width < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no width of an interval of shares: name one between 0 and 1, such as 0.1"
        )
    return width
