"""The arguments of the `derta` command, and what `--help` says.

Covered: names, defaults and texts. Not covered: what the commands do (`derta.cli`).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from derta import __version__
from derta.arguments.analysis import add_analyse, add_probe, add_report
from derta.arguments.data import add_data
from derta.arguments.parts import JUDGE_HELP, OVERRIDES_HELP, command, count
from derta.arguments.review import add_review

__all__ = ["make_parser"]

_METHODS = ("vanilla", "harmful-prefix", "rto", "derta")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the `derta` command; `command` says which was chosen, or is None."""
    parser = command(
        None,
        "derta",
        "Train language models that can refuse at any position of a response (decoupled refusal "
        "training), and measure how deep the refusal reaches.",
        """\
examples:
  derta quickstart                  train and measure a small model on the CPU; one page of results
  derta show                        see in ten seconds what the method does to a training example
  derta train my.yaml lora.r=32     train with a recipe of your own
  derta evaluate runs/mine          attack a model and count what gets through
  derta analyse runs/evaluation     token by token: how deep does refusing reach
  derta probe --help                the same of any text, with one model
  derta judge responses.jsonl       judge responses that exist already
  derta review runs/evaluation      judge responses by hand, and hold the judge against it
  derta data check triples.jsonl    what is in a file of training data
  derta merge runs/mine -o merged   one whole model of an adapter and its base
  derta report runs/evaluation      one page of results

`derta COMMAND --help` says more. Exit codes: 0 done, 1 `data check` found something, 2 bad input,
130 interrupted.""",
    )
    parser.add_argument("--version", action="version", version=f"derta {__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add_quickstart(commands)
    _add_show(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_judge(commands)
    add_analyse(commands)
    add_probe(commands)
    add_data(commands)
    _add_merge(commands)
    _add_engine(commands)
    add_review(commands)
    add_report(commands)
    return parser


def _add_quickstart(commands: Any) -> None:
    parser = command(
        commands,
        "quickstart",
        "Train the small embedded model twice on the sample set, the usual way (vanilla) and\n"
        "decoupled (derta), measure both and the untouched model on the test split, print a\n"
        "table and write results.json and report.html. A rerun reuses what is done.",
        """\
examples:
  derta quickstart                          about half an hour on two idle cores
  derta quickstart --budget smoke           the same path in minutes, with small numbers
  derta quickstart --seed 2 --output runs/second
  derta quickstart rows.kept_share=0.3 trainer.learning_rate=1e-4""",
        "train and measure a small model; writes one page of results",
    )
    parser.add_argument(
        "--budget",
        choices=("full", "smoke"),
        default="full",
        help="full, or smoke: less data and fewer questions (default: full)",
    )
    parser.add_argument("--seed", type=count, help="of the training (default: the recipe's)")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="the run folder (default: runs/quickstart, and runs/quickstart-smoke for smoke)",
    )
    parser.add_argument(
        "--model",
        metavar="NAME|PATH",
        help="another chat model: a folder or a hub id (default: the embedded one)",
    )
    parser.add_argument(
        "--reveal",
        action="store_true",
        help="don't mask harmful text in the terminal",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES_HELP)


def _add_show(commands: Any) -> None:
    parser = command(
        commands,
        "show",
        "Print one training example token by token, with what the model is taught to say at\n"
        "each place. Needs a tokenizer, no model. Harmful responses are masked.",
        """\
examples:
  derta show                                the first triple of the sample set, as DeRTa trains it
  derta show --method vanilla               the same triple the usual way
  derta show --epoch 1                      the next epoch draws another k and other places
  derta show --helpful --index 4            a helpful example
  derta show --triples my.jsonl --id q17 --model path/to/model
  derta show rows.kept_share=1 --full       every place of the harmful response is a target""",
        "print one training example token by token with its targets",
    )
    parser.add_argument(
        "--triples",
        "--data",
        dest="data",
        metavar="FILE|sample",
        help="a JSONL file or 'sample' (default: what the recipe names); with --helpful a file "
        "of helpful examples",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--index", type=count, default=0, metavar="N", help="the row, counted from 0 (default: 0)"
    )
    which.add_argument("--id", metavar="ID", help="the row by its id")
    parser.add_argument("--helpful", action="store_true", help="a helpful example, no triple")
    parser.add_argument("--method", choices=_METHODS, help="how to train (default: the recipe's)")
    parser.add_argument(
        "--model", metavar="NAME|PATH", help="whose tokenizer (default: the recipe's model)"
    )
    parser.add_argument("--seed", type=count, help="of the draws (default: the recipe's)")
    parser.add_argument(
        "--epoch", type=count, default=0, help="the epoch, counted from 0 (default: 0)"
    )
    parser.add_argument(
        "--recipe",
        default="quickstart",
        metavar="NAME|FILE",
        help="a recipe file or a packaged recipe (default: quickstart)",
    )
    parser.add_argument("--reveal", action="store_true", help="show the harmful response's tokens")
    parser.add_argument("--full", action="store_true", help="show all tokens of long responses")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES_HELP)


def _add_train(commands: Any) -> None:
    parser = command(
        commands,
        "train",
        "Train a model as a recipe says: one YAML file. The packaged ones are known by name\n"
        "(quickstart, smollm2-135m, llama3-8b ...) and are a good beginning for your own. The\n"
        "same command continues a run that was interrupted. Several processes are started by\n"
        "torchrun or accelerate launch.",
        """\
examples:
  derta train quickstart --output runs/mine
  derta train my.yaml method=vanilla trainer.num_train_epochs=1
  derta train llama3-8b --preset paper --dry-run
  derta train quickstart data.triples=my_triples.jsonl data.helpful=my_helpful.jsonl
  torchrun --nproc-per-node 8 -m derta train llama3-8b""",
        "train a model as a recipe says",
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file or a packaged recipe's name")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES_HELP)
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="lay a set of values over the recipe: paper, released-code or default; key=value "
        "comes after it",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="the run folder (default: runs/RECIPE-METHOD)"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the resolved recipe, the steps and the memory it takes; train nothing",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace another run that lies in the run folder",
    )


def _add_evaluate(commands: Any) -> None:
    parser = command(
        commands,
        "evaluate",
        "Measure models with attack scenarios: how often they give harmful help, how\n"
        "often they refuse harmless questions, what training cost in helpfulness. Every\n"
        "share has its n and 95 % interval; several models are compared on the same\n"
        "questions. The same command continues a suite that was interrupted.",
        """\
examples:
  derta evaluate smollm2-135m-instruct runs/quickstart/derta
  derta evaluate runs/mine --scenarios prefill code_attack prefill.depths=[0,20]
  derta evaluate runs/mine --budget paper --questions harmbench --output runs/harmbench
  derta evaluate openai/my-model --scenarios paper --judge rubric:openai/a-judge
  derta evaluate --list              the scenarios, and the keys of key=value

A model is a run folder, an adapter, a transformers folder, a hub id, or a model
of any provider of inspect-ai (write derta/OWNER/NAME for a hub id whose OWNER
is a provider, too). Attackers and judges likewise, derta/ before local ones.
A base model without a chat template is inst:MODEL, or is named beside its run.""",
        "attack models and count what gets through",
    )
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="one model or several; key=value among them changes settings: dotted keys, YAML "
        "values, e.g. pair.streams=8 max_tokens=256",
    )
    parser.set_defaults(overrides=[])
    parser.add_argument(
        "--scenarios",
        nargs="+",
        metavar="NAME",
        help="names, or all, or paper for the paper's six (default: all)",
    )
    parser.add_argument(
        "--budget",
        choices=("small", "paper", "smoke"),
        default="small",
        help="small: minutes on a CPU; paper: the paper's settings; smoke: every path, no figures "
        "(default: small)",
    )
    parser.add_argument(
        "--questions",
        default="sample",
        metavar="NAME|FILE|HUB",
        help="harmful questions: sample, harmbench, do-not-answer, advbench, jailbreakbench, "
        "strongreject, a file or a hub id (default: sample, the embedded mild set)",
    )
    parser.add_argument(
        "--benign",
        default="sample-benign",
        metavar="NAME|FILE|HUB",
        help="harmless questions: sample-benign, xstest, or-bench, a file or a hub id (default: "
        "sample-benign)",
    )
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="FIELD=NAME",
        help="what a column of the questions is called: question=Behavior, id=BehaviorID ... "
        "(may be given several times)",
    )
    parser.add_argument("--judge", default="offline", metavar="JUDGE", help=JUDGE_HELP)
    parser.add_argument(
        "--attacker", metavar="MODEL", help="who rewrites prompts for PAIR (default: a script)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="the folder of the suite (default: runs/evaluation-BUDGET)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="drop the figures of models, scenarios and questions that the folder has and this "
        "call doesn't name; without it they are an error",
    )
    parser.add_argument(
        "--reveal", action="store_true", help="write responses.csv without masking its texts"
    )
    parser.add_argument(
        "--list", action="store_true", help="list scenarios and settings; measure nothing"
    )


def _add_judge(commands: Any) -> None:
    parser = command(
        commands,
        "judge",
        "Judge responses that exist already, made by any system: JSON lines, a JSON list\n"
        "or CSV with a question and a response in each row. Prints the shares of UNSAFE\n"
        "with intervals and writes a judged copy, in which texts are masked. With a\n"
        "column of labels it prints precision and recall.",
        """\
examples:
  derta judge responses.jsonl
  derta judge theirs.csv --column response=output --column question=goal
  derta judge responses.jsonl --judge rubric:openai/a-judge -o judged.jsonl""",
        "judge responses that exist already",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="JSONL, JSON or CSV")
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="FIELD=NAME",
        help="what a column is called: response=output, question=goal, label=verdict ... (may be "
        "given several times)",
    )
    parser.add_argument("--judge", default="offline", metavar="JUDGE", help=JUDGE_HELP)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the judged copy, .jsonl or .csv (default: FILE.judged.jsonl)",
    )
    parser.add_argument(
        "--reveal", action="store_true", help="don't mask the texts in the judged copy"
    )


def _add_merge(commands: Any) -> None:
    parser = command(
        commands,
        "merge",
        "Write a finished run as one whole model in safetensors: an adapter is merged into its\n"
        "base. Plain transformers and vLLM load it without derta.",
        """\
examples:
  derta merge runs/mine -o merged
  derta merge runs/quickstart/derta -o merged""",
        "write a finished run as one whole model",
    )
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="the folder of a training run")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", required=True, help="a new folder"
    )


def _add_engine(commands: Any) -> None:
    parser = command(
        commands,
        "engine",
        "Print the path of a packaged configuration for `accelerate launch`: ddp, fsdp2 or zero3.",
        """\
examples:
  accelerate launch --config_file "$(derta engine zero3)" -m derta train llama3-8b sharding=null""",
        "print the path of a configuration for accelerate launch",
    )
    parser.add_argument("name", metavar="NAME", help="ddp, fsdp2 or zero3")
