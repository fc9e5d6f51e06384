"""The arguments of `derta analyse`, `derta probe` and `derta report`.

Covered: names, defaults and texts. Not covered: what the commands do (`derta.analysis_commands`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from derta.arguments.parts import command, count, positive

__all__ = ["add_analyse", "add_probe", "add_report"]

_REFUSAL_WORD_HELP = (
    "whose probability is read, one token at the beginning of a response; several words: the sum "
    "(default: those that the models were trained with, else Sorry)"
)


def add_analyse(commands: Any) -> None:
    """Add `derta analyse`."""
    parser = command(
        commands,
        "analyse",
        "Read texts token by token with every model of an evaluation, and compute all\n"
        "figures: where refusals begin, how likely and how highly ranked a refusal is at\n"
        "each position of harmful and benign text, false stops, how much got out before a\n"
        "refusal, how deep training changed the model. Nothing is generated. A model that\n"
        "was read is not read again; the same command continues.",
        """\
examples:
  derta analyse runs/evaluation-small
  derta analyse runs/evaluation-small --responses 10 --model derta
  derta analyse runs/evaluation-small --no-divergence --batch-size 4
  derta report runs/evaluation-small          the page of it""",
        "read texts token by token and compute all figures of an evaluation",
    )
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, help="what derta evaluate wrote, to its end"
    )
    parser.add_argument(
        "--responses",
        type=count,
        default=40,
        metavar="N",
        help="of the models' own answers, read so many a scenario and model (default: 40)",
    )
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=16,
        metavar="N",
        help="texts at a time, at most; fewer take less memory (default: 16)",
    )
    parser.add_argument(
        "--model",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME",
        help="read with these models only, by their names in the evaluation (default: all)",
    )
    parser.add_argument(
        "--no-divergence",
        action="store_true",
        help="don't compare the models with the first one, token by token",
    )
    parser.add_argument(
        "--refusal-word",
        action="extend",
        nargs="+",
        default=[],
        metavar="WORD",
        help=_REFUSAL_WORD_HELP,
    )


def add_probe(commands: Any) -> None:
    """Add `derta probe`."""
    parser = command(
        commands,
        "probe",
        "Read any text token by token with a model: how likely it would refuse in place of\n"
        "each token, how highly the refusal is ranked, what it would write itself. Nothing\n"
        "is generated. The text is printed as it was given.",
        """\
examples:
  derta probe --model runs/quickstart/derta --prompt "How do I cheat in an exam?" \\
      --response "Sure! First, write the answers on your arm."
  derta probe --model runs/mine --reference smollm2-135m-instruct \\
      --prompt @question.txt --response @answer.txt --output probe.svg

@FILE reads a text from a file; a text that begins with @ is written with @@.""",
        "read any text token by token with a model",
    )
    parser.add_argument(
        "--model",
        required=True,
        metavar="MODEL",
        help="a run folder, an adapter, a transformers folder or a hub id (inst:MODEL for a base "
        "model without a chat template)",
    )
    parser.add_argument("--prompt", required=True, metavar="TEXT|@FILE", help="the question")
    parser.add_argument(
        "--response", required=True, metavar="TEXT|@FILE", help="the answer that is read"
    )
    parser.add_argument(
        "--reference",
        metavar="MODEL",
        help="a second model of the same vocabulary: how far the first is from it at each token",
    )
    parser.add_argument(
        "--refusal-word",
        action="extend",
        nargs="+",
        default=[],
        metavar="WORD",
        help=_REFUSAL_WORD_HELP.replace("models were", "model was"),
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="a picture (.svg, .png) or all values (.json)",
    )


def add_report(commands: Any) -> None:
    """Add `derta report`."""
    parser = command(
        commands,
        "report",
        "Write the page of one evaluation, of several on one page, or of a quickstart: one\n"
        "HTML file that needs no network. No model is loaded; what `derta analyse` read is\n"
        "on the page where it is there. Harmful text is hidden until it is asked for.",
        """\
examples:
  derta report runs/evaluation-small
  derta report runs/evaluation-small runs/mine-small -o report.html
  derta report runs/evaluation-small --plots figures
  derta report runs/quickstart -o page.html""",
        "write the page of results",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        type=Path,
        help="folders of derta evaluate; or a quickstart's folder or its results.json",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write the page (default: report.html in the run's folder; of several runs, "
        "report-together.html in the first one's)",
    )
    parser.add_argument(
        "--plots",
        type=Path,
        metavar="DIR",
        help="write the page's pictures as SVG and PNG files, too (evaluations only)",
    )
