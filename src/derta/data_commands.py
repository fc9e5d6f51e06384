"""`derta data`: each handler calls the package and says what came of it.

Covered: check, import, make, mix and export. Heavy modules are imported by the handler that needs
them. Not covered: anything that does the work.
"""

from __future__ import annotations

import argparse
import shlex
import sys

from derta.terminal import console, safe, stage, visible

__all__ = ["run_data_command"]


def run_data_command(parsed: argparse.Namespace) -> int:
    """Run `derta data COMMAND`; return the exit code.

    Raises:
        DertaError: what was given can't be used.
    """
    return _COMMANDS[parsed.data_command](parsed)


def _check(parsed: argparse.Namespace) -> int:
    from derta.check_data import check_data, render_report, require_report_path
    from derta.files import write_atomically

    if parsed.json is not None:
        require_report_path(parsed.json, parsed.sources, parsed.held_out)
    recipe = None
    if parsed.recipe is not None:
        from derta.train.recipe import load_recipe

        recipe = load_recipe(parsed.recipe)
    screen = console()
    report = check_data(
        parsed.sources,
        held_out=parsed.held_out,
        recipe=recipe,
        model=parsed.model,
        full=parsed.full,
        processes=parsed.processes,
        format=parsed.format,
        columns=_columns(parsed),
        split=parsed.split,
        progress=lambda title: stage(screen, safe(title)),
    )
    render_report(report, screen, reveal=parsed.reveal)
    if parsed.json is not None:
        write_atomically(parsed.json, report.to_json())
        _say(f"Figures: {parsed.json}")
    return report.exit_code(parsed.fail_on)


def _import(parsed: argparse.Namespace) -> int:
    from derta.data.import_report import render_import
    from derta.data.importing import import_data

    screen = console()
    with stage(screen, "Importing") as progress:
        report = import_data(
            parsed.sources,
            parsed.output,
            format=parsed.format,
            columns=_columns(parsed),
            split=parsed.split,
            limit=parsed.limit,
            keep=parsed.kind,
            progress=lambda done, total: progress(done >> 10, total >> 10),
        )
        progress(1, 1)  # data sets of the hub tell no bytes
    render_import(report, screen)
    return 0


def _make(parsed: argparse.Namespace) -> int:
    from derta.data.models import DEFAULT_MODEL
    from derta.make_triples import load_make_settings, make_data, print_make_report

    screen = console()
    report = make_data(
        parsed.questions,
        parsed.output,
        load_make_settings(parsed.overrides),
        stage=lambda title: stage(screen, safe(title)),
        benign=parsed.benign,
        model=parsed.model or DEFAULT_MODEL,
        harmful_model=parsed.harmful_model,
        safe_model=parsed.safe_model,
        judge=parsed.judge,
        columns=_columns(parsed),
        limit=parsed.limit,
        command=shlex.join(["derta", *sys.argv[1:]]),
    )
    print_make_report(report, screen, reveal=parsed.reveal)
    return report.exit_code


def _mix(parsed: argparse.Namespace) -> int:
    from derta.data.mixing import mix_data
    from derta.data.mixing.options import parse_shares
    from derta.data.mixing.report import render_mix

    screen = console()
    with stage(screen, "Mixing") as progress:
        report = mix_data(
            parsed.triples,
            parsed.helpful,
            parsed.output,
            ratio=parsed.ratio,
            look_alike_share=parsed.look_alike_share,
            languages=parse_shares(parsed.language) or None,
            triple_rows=parsed.triple_rows,
            limit_per_source=parsed.limit_per_source,
            seed=parsed.seed,
            refusal_word=parsed.refusal_word,
            held_out=parsed.held_out,
            columns=_columns(parsed),
            progress=progress,
        )
    render_mix(report, screen)
    return 0


def _export(parsed: argparse.Namespace) -> int:
    from derta.train.exporting import export_data, render_export
    from derta.train.recipe import load_recipe
    from derta.train.source import encode_files, has_large_files

    recipe = load_recipe(parsed.recipe, parsed.overrides)
    screen = console()
    if has_large_files(recipe):
        with stage(screen, "Encoding the data") as progress:
            encode_files(recipe, lambda done, total: progress(done >> 20, total >> 20))
    with stage(screen, "Exporting") as progress:
        report = export_data(
            recipe, parsed.output, to=parsed.to, epochs=parsed.epochs, progress=progress
        )
    render_export(report, screen)
    return 0


def _columns(parsed: argparse.Namespace) -> dict[str, str] | None:
    from derta.data.questions import read_column_options

    return read_column_options(parsed.column, None) or None


def _say(text: str) -> None:
    console().print(visible(text), markup=False, soft_wrap=True)


_COMMANDS = {
    "check": _check,
    "import": _import,
    "make": _make,
    "mix": _mix,
    "export": _export,
}
