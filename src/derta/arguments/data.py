"""The arguments of `derta data`: check, import, make, export and mix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from derta.arguments.parts import COLUMN_HELP, JUDGE_HELP, OVERRIDES_HELP, command, count

__all__ = ["add_data"]

_HELD_OUT_HELP = "questions that must not be trained on"


def add_data(commands: Any) -> None:
    """Add `data` and what it does."""
    parser = command(
        commands,
        "data",
        "Bring data: look at what is in it, read other formats, make triples from\n"
        "questions alone, mix files, and write token ids for other trainers.",
        """\
examples:
  derta data import PKU-Alignment/PKU-SafeRLHF -o data/pku
  derta data check data/pku/triples.jsonl --recipe smollm2-135m
  derta data make questions.txt --benign harmless.txt -o data/mine
  derta data mix --triples data/pku/triples.jsonl --helpful alpaca/helpful.jsonl -o data/mix
  derta data export llama3-8b -o rows.parquet

`derta data COMMAND --help` says more.""",
        "check, import, make, mix and export training data",
    )
    parts = parser.add_subparsers(
        dest="data_command", metavar="COMMAND", title="commands", required=True
    )
    _add_check(parts)
    _add_import(parts)
    _add_make(parts)
    _add_mix(parts)
    _add_export(parts)


def _add_check(parts: Any) -> None:
    parser = command(
        parts,
        "check",
        "Say what is in training data: counts, lengths, duplicates, leaks, responses on\n"
        "the wrong side, and where the refusals stand.",
        """\
examples:
  derta data check triples.jsonl helpful.jsonl
  derta data check triples.jsonl --held-out questions.csv --json report.json
  derta data check triples.jsonl --held-out q.csv --column held-out.question=Frage
  derta data check triples.jsonl --recipe llama3-8b --full

Exit codes: 0 nothing of the level --fail-on was found, 1 something was, 2 bad input.""",
        "what is in a file of training data",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="FILE|HUB",
        help="files, folders, data sets of the hub, or sample",
    )
    parser.add_argument("--held-out", metavar="FILE|HUB|SET", help=_HELD_OUT_HELP)
    parser.add_argument(
        "--recipe", metavar="NAME|FILE", help="whose limits of length and tokenizer are used"
    )
    parser.add_argument("--model", metavar="NAME|PATH", help="whose tokenizer counts the tokens")
    parser.add_argument(
        "--full",
        action="store_true",
        help="read all rows where a sample of 50,000 of each kind would do",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there, too")
    parser.add_argument(
        "--fail-on",
        choices=("error", "warning", "never"),
        default="error",
        help="the level of a finding that makes the exit code 1 (default: error)",
    )
    parser.add_argument("--format", metavar="NAME", help="(default: told by the columns)")
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="FIELD=NAME",
        help=f"{COLUMN_HELP}; of the held-out questions: held-out.question=NAME",
    )
    parser.add_argument("--split", metavar="NAME", help="of a data set")
    parser.add_argument("--processes", type=count, help="(default: as many as there are cores)")
    parser.add_argument("--reveal", action="store_true", help="don't mask texts")


def _add_import(parts: Any) -> None:
    parser = command(
        parts,
        "import",
        "Read data in a published format and write it in ours: triples.jsonl,\n"
        "helpful.jsonl, or both, and import.json, which says what was left out and why.",
        """\
examples:
  derta data import PKU-Alignment/PKU-SafeRLHF --split train -o data/pku
  derta data import alpaca.json -o data/alpaca
  derta data import mine.csv --column prompt=Question --column chosen=Good \\
      --column rejected=Bad -o data/mine
  derta data import export.json --column prompt=data.text \\
      --column completion=answers.0.text -o data/mine

formats:
  preference  hh-rlhf  pku-saferlhf  beavertails  derta-lines  prompt-completion
  prompt-response  question-answer  alpaca  dolly  messages  sharegpt""",
        "read a published format",
    )
    parser.add_argument("sources", nargs="+", metavar="FILE|HUB", help="files, folders, hub ids")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", required=True, help="where the files go"
    )
    parser.add_argument("--format", metavar="NAME", help="(default: told by the columns)")
    parser.add_argument(
        "--column", action="append", default=[], metavar="FIELD=NAME", help=COLUMN_HELP
    )
    parser.add_argument(
        "--split",
        metavar="NAME",
        help="of a data set or of a folder's files (default: train, where there are several), "
        "or the name of a list in a JSON file",
    )
    parser.add_argument("--limit", type=count, metavar="N", help="so many examples at most")
    parser.add_argument(
        "--as",
        dest="kind",
        choices=("triples", "helpful"),
        help="what to make of a format that serves as both",
    )


def _add_make(parts: Any) -> None:
    parser = command(
        parts,
        "make",
        "Make triples and helpful rows from questions alone: harmful responses from a\n"
        "model, as far as the judge finds that they comply; safe ones from patterns or a\n"
        "teacher; helpful ones from the model that will be trained. Nothing leaves this\n"
        "machine unless a model behind a network is named. The same command continues.",
        """\
examples:
  derta data make questions.txt --benign harmless.txt -o data/mine
  derta data make questions.jsonl -o data/mine --safe-model openai/a-teacher
  derta data make sample --benign sample-benign --limit 40 -o data/tried

Exit codes: 0 there are triples, 1 none could be made (the output says why), 2 bad input,
130 interrupted.""",
        "make triples from questions alone",
    )
    parser.add_argument(
        "questions", metavar="FILE|sample", help="harmful questions: one a line, or a table"
    )
    parser.add_argument("--benign", metavar="FILE|sample-benign", help="harmless questions")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="change settings")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", required=True, help="where the files go"
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="the model that will be trained (default: the embedded one; inst:MODEL for a base "
        "model without a chat template)",
    )
    parser.add_argument(
        "--harmful-model",
        metavar="MODEL",
        help="whose harmful responses are kept (default: --model)",
    )
    parser.add_argument(
        "--safe-model", metavar="MODEL", help="a teacher that refuses (default: patterns)"
    )
    parser.add_argument("--judge", default="offline", metavar="JUDGE", help=JUDGE_HELP)
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="FIELD=NAME",
        help=f"{COLUMN_HELP}; of the harmless questions: benign.question=NAME",
    )
    parser.add_argument("--limit", type=count, metavar="N", help="questions of each kind at most")
    parser.add_argument("--reveal", action="store_true", help="don't mask texts")


def _add_mix(parts: Any) -> None:
    parser = command(
        parts,
        "mix",
        "Mix files of triples and helpful rows in the shares that are asked for.",
        """\
examples:
  derta data mix --triples triples.jsonl --helpful helpful.jsonl --ratio 10 -o data/mix
  derta data mix --triples a.jsonl b.jsonl --helpful c.jsonl --language en=0.7 \\
      --language zh=0.3 -o data/mix
  derta data mix --triples a.jsonl --helpful c.jsonl --held-out test.csv -o data/mix""",
        "mix files in wanted shares",
    )
    parser.add_argument("--triples", nargs="+", default=[], metavar="FILE", help="of triples")
    parser.add_argument("--helpful", nargs="+", default=[], metavar="FILE", help="of helpful rows")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", required=True, help="where the files go"
    )
    parser.add_argument(
        "--ratio",
        metavar="H:S",
        help="helpful rows for each safety row, a triple being two: 10:1, 2.5 (default: all)",
    )
    parser.add_argument(
        "--triple-rows", type=count, metavar="N", help="so many triples (default: all)"
    )
    parser.add_argument(
        "--look-alike-share", type=float, metavar="SHARE", help="of the helpful rows"
    )
    parser.add_argument(
        "--language",
        action="append",
        default=[],
        metavar="CODE=SHARE",
        help="a language's share (may be given several times)",
    )
    parser.add_argument(
        "--limit-per-source", type=count, metavar="N", help="rows of one source at most"
    )
    parser.add_argument("--seed", type=count, default=0, help="of the draw (default: 0)")
    parser.add_argument("--held-out", metavar="FILE|HUB|SET", help=_HELD_OUT_HELP)
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="FIELD=NAME",
        help="what a column is called: held-out.question=NAME",
    )
    parser.add_argument(
        "--refusal-word",
        choices=("keep", "table"),
        default="keep",
        help="table: let refusals begin with their language's word (default: keep)",
    )


def _add_export(parts: Any) -> None:
    parser = command(
        parts,
        "export",
        "Write the rows that a recipe trains on for other trainers: token ids and\n"
        "labels, preference pairs, messages or text.",
        """\
examples:
  derta data export llama3-8b -o rows.parquet data.triples=my_triples.jsonl
  derta data export my.yaml --to dpo -o pairs.jsonl
  derta data export my.yaml --epochs 3 -o rows.jsonl""",
        "write rows for other trainers",
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file or a packaged recipe's name")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES_HELP)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", required=True, help=".jsonl or .parquet"
    )
    parser.add_argument(
        "--to",
        choices=("tokens", "dpo", "dpo-text", "messages", "text"),
        default="tokens",
        help="what is written (default: tokens)",
    )
    parser.add_argument(
        "--epochs", type=count, default=1, metavar="N", help="draws of each row (default: 1)"
    )
