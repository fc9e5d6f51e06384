"""The `derta` command: reads arguments, calls the package, turns errors into messages.

Exit codes: 0 done; 2 the input is at fault, with a message that says where and what to do, and
no traceback; 130 interrupted. Heavy modules are imported by the command that needs them, so that
`derta --help` answers at once. Not covered: anything that does the work.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from derta import __version__
from derta.errors import DertaError
from derta.terminal import console, stage, visible

__all__ = ["main"]

_METHODS = ("vanilla", "harmful-prefix", "rto", "derta")

_OVERRIDES_HELP = (
    "change keys of the recipe: dotted keys, YAML values, e.g. rows.kept_share=0.2 lora=null"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    # A terminal or pipe that can't show a character gets a question mark, not a traceback.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a pipe has none
    parser = _parser()
    parsed, rest = parser.parse_known_args(arguments)
    # argparse gives up on positional arguments after an option; key=value may stand anywhere.
    if any(word.startswith("-") or "=" not in word for word in rest) or (
        rest and not hasattr(parsed, "overrides")
    ):
        parser.error(f"unrecognized arguments: {visible(' '.join(rest))}")
    if rest:
        parsed.overrides = [*parsed.overrides, *rest]
    if parsed.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        parsed.run(parsed)
    except DertaError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # Whoever read our output has gone (`derta show | head`); nothing is wrong.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  (open until exit)
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        return _fail(f"{error.filename}: {error.strerror}. Check the path and its permissions")
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. The same command continues where it stopped.\n")
        return 130
    return 0


def _fail(message: str) -> int:
    for line in message.splitlines():
        sys.stderr.write(f"derta: {visible(line)}\n")
    return 2


# --- commands --------------------------------------------------------------------------------


def _quickstart(parsed: argparse.Namespace) -> None:
    from derta.quickstart import run_quickstart

    output = parsed.output
    if output is None:
        # A small run must not be taken for a part of the full one, nor the other way round.
        suffix = "" if parsed.budget == "full" else f"-{parsed.budget}"
        output = Path(f"runs/quickstart{suffix}")
    run_quickstart(
        budget=parsed.budget,
        seed=parsed.seed,
        output=output,
        model=parsed.model,
        overrides=parsed.overrides,
        reveal=parsed.reveal,
        console=console(),
    )


def _train(parsed: argparse.Namespace) -> None:
    from derta.train.recipe import check_trainer_keys, load_recipe

    recipe = load_recipe(parsed.recipe, parsed.overrides)
    check_trainer_keys(recipe, parsed.recipe)
    from derta.train.run import train_recipe
    from derta.train.source import encode_files, has_large_files

    output = parsed.output or Path("runs") / f"{Path(parsed.recipe).stem}-{recipe.method}"
    if has_large_files(recipe):
        with stage(console(), "Encoding the data") as progress:
            encode_files(recipe, lambda done, total: progress(done >> 20, total >> 20))
    with stage(console(), f"Training {recipe.method}") as progress:
        train_recipe(recipe, output, progress=progress)
    _say(f"The trained model is in {output}")


def _show(parsed: argparse.Namespace) -> None:
    from derta.show import show
    from derta.train.recipe import load_recipe

    options = {
        "data.helpful" if parsed.helpful else "data.triples": parsed.data,
        "model": parsed.model,
        "method": parsed.method,
        "seed": parsed.seed,
    }
    # JSON is YAML: the values arrive as they were typed, whatever characters are in them.
    overrides = [
        f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None
    ]
    if parsed.helpful and parsed.data not in (None, "sample"):
        overrides += ["data.ordinary_rows=null", "data.look_alike_rows=null"]
    show(
        console(),
        load_recipe(parsed.recipe, [*parsed.overrides, *overrides]),
        index=parsed.index,
        example_id=parsed.id,
        helpful=parsed.helpful,
        epoch=parsed.epoch,
        reveal=parsed.reveal,
        full=parsed.full,
    )


def _report(parsed: argparse.Namespace) -> None:
    from derta.report import load_results, write_report

    path = parsed.run_folder / "results.json" if parsed.run_folder.is_dir() else parsed.run_folder
    output = parsed.output or path.with_name("report.html")
    write_report(load_results(path), output)
    _say(str(output))


def _say(text: str) -> None:
    console().print(visible(text), markup=False, soft_wrap=True)


# --- arguments -------------------------------------------------------------------------------


def _count(text: str) -> int:
    number = int(text) if text.isdecimal() else -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = _command(
        None,
        "derta",
        "Train language models that can refuse at any position of a response (decoupled refusal "
        "training), and measure how deep the refusal reaches.",
        """\
examples:
  derta quickstart                  train and measure a small model on the CPU; one page of results
  derta show                        see in ten seconds what the method does to a training example
  derta train my.yaml lora.r=32     train with a recipe of your own
  derta report runs/quickstart      write the page of results anew

`derta COMMAND --help` says more. Exit codes: 0 done, 2 bad input, 130 interrupted.""",
    )
    parser.add_argument("--version", action="version", version=f"derta {__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add_quickstart(commands)
    _add_show(commands)
    _add_train(commands)
    _add_report(commands)
    return parser


def _command(
    commands: Any, name: str, description: str, epilog: str, summary: str = ""
) -> argparse.ArgumentParser:
    settings: dict[str, Any] = {
        "description": description,
        "epilog": epilog,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "allow_abbrev": False,
    }
    if commands is None:
        return argparse.ArgumentParser(prog=name, **settings)
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, **settings)
    return parser


def _add_quickstart(commands: Any) -> None:
    parser = _command(
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
    parser.add_argument("--seed", type=_count, help="of the training (default: the recipe's)")
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
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=_OVERRIDES_HELP)
    parser.set_defaults(run=_quickstart)


def _add_show(commands: Any) -> None:
    parser = _command(
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
        "--index", type=_count, default=0, metavar="N", help="the row, counted from 0 (default: 0)"
    )
    which.add_argument("--id", metavar="ID", help="the row by its id")
    parser.add_argument("--helpful", action="store_true", help="a helpful example, no triple")
    parser.add_argument("--method", choices=_METHODS, help="how to train (default: the recipe's)")
    parser.add_argument(
        "--model", metavar="NAME|PATH", help="whose tokenizer (default: the recipe's model)"
    )
    parser.add_argument("--seed", type=_count, help="of the draws (default: the recipe's)")
    parser.add_argument(
        "--epoch", type=_count, default=0, help="the epoch, counted from 0 (default: 0)"
    )
    parser.add_argument(
        "--recipe",
        default="quickstart",
        metavar="NAME|FILE",
        help="a recipe file or a packaged recipe (default: quickstart)",
    )
    parser.add_argument("--reveal", action="store_true", help="show the harmful response's tokens")
    parser.add_argument("--full", action="store_true", help="show all tokens of long responses")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=_OVERRIDES_HELP)
    parser.set_defaults(run=_show)


def _add_train(commands: Any) -> None:
    parser = _command(
        commands,
        "train",
        "Train a model as a recipe says. A recipe is one YAML file; the packaged ones are\n"
        "known by name (quickstart) and are a good beginning for your own.",
        """\
examples:
  derta train quickstart --output runs/mine
  derta train my.yaml method=vanilla trainer.num_train_epochs=1
  derta train quickstart data.triples=my_triples.jsonl data.helpful=my_helpful.jsonl""",
        "train a model as a recipe says",
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file or a packaged recipe's name")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=_OVERRIDES_HELP)
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="the run folder (default: runs/RECIPE-METHOD)"
    )
    parser.set_defaults(run=_train)


def _add_report(commands: Any) -> None:
    parser = _command(
        commands,
        "report",
        "Write the page of a run anew from its results.json: one HTML file that needs no network.",
        """\
examples:
  derta report runs/quickstart
  derta report runs/quickstart -o page.html""",
        "write the page of a run anew",
    )
    parser.add_argument(
        "run_folder", metavar="RUN", type=Path, help="a run folder or its results.json"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write the page (default: report.html beside results.json)",
    )
    parser.set_defaults(run=_report)
