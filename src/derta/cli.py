"""The `derta` command: reads arguments, calls the package, turns errors into messages.

Exit codes: 0 done; 1 `derta data check` found something; 2 the input is at fault, with a message
that says where and what to do, and no traceback; 130 interrupted. Heavy modules are imported by the
command that needs them, so that `derta --help` answers at once. Not covered: anything that does the
work.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from derta.arguments import make_parser
from derta.errors import DertaError, ModelError
from derta.terminal import console, safe, stage, visible

__all__ = ["main"]

_PATIENCE_SECONDS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    # A terminal or pipe that can't show a character gets a question mark, not a traceback.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a pipe has none
    parser = make_parser()
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
        code = _COMMANDS[parsed.command](parsed)
    except DertaError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # Whoever read our output has gone (`derta show | head`); nothing is wrong.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  (open until exit)
        return 0
    except OSError as error:
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail("the disk is full. Make room; the same command continues where it stopped")
        if error.filename is None:
            raise
        return _fail(f"{error.filename}: {error.strerror}. Check the path and its permissions")
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. The same command continues where it stopped.\n")
        return 130
    return code or 0


def _fail(message: str) -> int:
    rank = os.environ.get("RANK", "0")
    if rank != "0":
        # Processes that train together mostly fail together: then the first one says why, and the
        # launcher ends this one meanwhile.
        time.sleep(_PATIENCE_SECONDS)
        message = f"process {rank}: {message}"
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
    from derta.train.recipe import check_trainer_keys, dump_recipe, load_recipe

    recipe = load_recipe(parsed.recipe, parsed.overrides, preset=parsed.preset)
    check_trainer_keys(recipe, parsed.recipe)
    from derta.train.plan import describe
    from derta.train.run import Observer, prepare, train_prepared
    from derta.train.settings import check_machine, is_main_process, leave_the_group
    from derta.train.source import encode_files, has_large_files

    speaking = is_main_process()
    screen = console(quiet=not speaking)
    output = parsed.output or Path("runs") / f"{Path(parsed.recipe).stem}-{recipe.method}"
    if has_large_files(recipe):
        with stage(screen, "Encoding the data") as progress:
            encode_files(recipe, lambda done, total: progress(done >> 20, total >> 20))
    if not parsed.dry_run:
        check_machine(recipe)
    prepared = prepare(recipe)
    if speaking:
        _say(dump_recipe(recipe))
    if parsed.dry_run:
        if speaking:
            _say(describe(prepared))
        return
    with stage(screen, f"Training {recipe.method}") as progress:
        train_prepared(
            prepared,
            output,
            Observer(progress if speaking else None, lambda log: _draw(output, log)),
            overwrite=parsed.overwrite,
        )
    leave_the_group()
    if speaking:
        _say(f"The trained model is in {output / 'model'}; {output} also has the loss curves")


def _draw(output: Path, log: list[dict[str, float]]) -> None:
    from derta.report.curves import write_curves

    write_curves(output, log)


def _evaluate(parsed: argparse.Namespace) -> None:
    # key=value may stand among the models and after --scenarios.
    words = [*parsed.models, *(parsed.scenarios or [])]
    overrides = [word for word in words if _is_override(word)] + parsed.overrides
    models = [word for word in parsed.models if not _is_override(word)]
    names = [
        name
        for word in parsed.scenarios or []
        if not _is_override(word)
        for name in word.split(",")
        if name
    ]
    from derta.evaluate.settings import load_settings

    settings = load_settings(parsed.budget, overrides)
    if parsed.list:
        from derta.evaluate.listing import describe_suite

        _say(describe_suite(settings))
        return
    if not models:
        raise ModelError(
            "derta evaluate: no model is named. Name one before --scenarios, e.g. "
            "runs/quickstart/derta"
        )
    screen = console()
    with stage(screen, "Preparing") as progress:
        progress(0, 1)
        from derta.data.questions import read_column_options
        from derta.evaluate.suite import make_plan, run_suite

        plan = make_plan(
            scenarios=names,
            settings=settings,
            budget=parsed.budget,
            questions=parsed.questions,
            benign=parsed.benign,
            columns=read_column_options(parsed.column, None),
            judge=parsed.judge,
            attacker=parsed.attacker,
            command=shlex.join(["derta", *sys.argv[1:]]),
        )
        progress(1, 1)
    output = parsed.output or Path(f"runs/evaluation-{parsed.budget}")
    results = run_suite(
        models,
        plan,
        output,
        lambda title: stage(screen, safe(title)),
        overwrite=parsed.overwrite,
    )
    from derta.report.evaluation_table import print_evaluation, write_tables

    write_tables(results, output, reveal=parsed.reveal)
    print_evaluation(results, screen)
    _say(f"Figures: {output / 'evaluation.json'}")
    _say(f"Table:   {output / 'table.csv'}")
    _say(f"Answers: {output / 'responses.csv'}" + ("" if parsed.reveal else " (masked)"))
    _say(f"Token by token: {shlex.join(['derta', 'analyse', str(output)])}")


def _judge(parsed: argparse.Namespace) -> None:
    from derta.data.questions import read_column_options
    from derta.evaluate.judging import (
        judge_responses,
        judge_summary,
        make_judge,
        read_responses,
        require_copy_path,
        write_judged,
    )

    judge = make_judge(parsed.judge)
    rows = read_responses(parsed.file, read_column_options(parsed.column, None))
    output = parsed.output or parsed.file.with_name(f"{parsed.file.stem}.judged.jsonl")
    require_copy_path(output, parsed.file)
    logs = output.with_name(f".{output.name}.logs")
    screen = console()
    with stage(screen, f"Judging {len(rows)}") as progress:
        judgements = judge_responses(rows, judge, logs, progress=progress)
    require_copy_path(output, parsed.file)  # hours may have passed
    write_judged(output, rows, judgements, reveal=parsed.reveal)
    from derta.report.judged_table import print_judged

    print_judged(judge_summary(rows, judgements), screen)
    _say(f"Verdicts: {output}" + ("" if parsed.reveal else " (texts masked; --reveal writes them)"))
    if judge.needs_model:
        _say(f"Logs:     {logs} (what the judge was asked and said; not masked)")


def _data(parsed: argparse.Namespace) -> int:
    from derta.data_commands import run_data_command

    return run_data_command(parsed)


def _is_override(word: str) -> bool:
    return "=" in word and not Path(word).exists()


def _merge(parsed: argparse.Namespace) -> None:
    from derta.train.merge import check_merge, merge_run

    check_merge(parsed.run_folder, parsed.output)
    with stage(console(), "Merging") as progress:
        progress(0, 1)
        merged = merge_run(parsed.run_folder, parsed.output)
        progress(1, 1)
    _say(f"The merged model is in {merged}")


def _engine(parsed: argparse.Namespace) -> None:
    from derta.train.presets import engine_path

    _say(str(engine_path(parsed.name)))


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


def _analyse(parsed: argparse.Namespace) -> None:
    from derta.analysis_commands import run_analyse

    run_analyse(parsed)


def _probe(parsed: argparse.Namespace) -> None:
    from derta.analysis_commands import run_probe

    run_probe(parsed)


def _review(parsed: argparse.Namespace) -> None:
    from derta.review_commands import run_review

    run_review(parsed)


def _report(parsed: argparse.Namespace) -> None:
    from derta.analysis_commands import run_report

    run_report(parsed)


def _say(text: str) -> None:
    console().print(visible(text), markup=False, soft_wrap=True)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "quickstart": _quickstart,
    "show": _show,
    "train": _train,
    "evaluate": _evaluate,
    "judge": _judge,
    "analyse": _analyse,
    "probe": _probe,
    "data": _data,
    "merge": _merge,
    "engine": _engine,
    "review": _review,
    "report": _report,
}
