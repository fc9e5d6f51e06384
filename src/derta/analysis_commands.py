"""`derta analyse`, `derta probe`, `derta report`: call the package and say what came of it.

Covered: from parsed arguments to files and the terminal. Heavy modules are imported by the handler
that needs them; `derta report` never imports torch. Not covered: anything that does the work.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from derta.errors import DataError, ModelError
from derta.terminal import console, safe, stage, visible

__all__ = ["run_analyse", "run_probe", "run_report"]

_PICTURES = (".svg", ".png")


def run_analyse(parsed: argparse.Namespace) -> None:
    """Run `derta analyse`.

    Raises:
        DertaError: what was given can't be used.
    """
    # What is wrong with the folder is said before anything heavy is imported.
    from derta.analysis.evaluation_folder import read_evaluation

    evaluation = read_evaluation(parsed.folder)
    screen = console()
    from derta.analyse_run import AnalysisOptions, run_analysis
    from derta.report.analysis_table import print_analysis

    results = run_analysis(
        parsed.folder,
        AnalysisOptions(
            responses=parsed.responses,
            batch_size=parsed.batch_size,
            models=tuple(parsed.model),
            divergence=not parsed.no_divergence,
            refusal_words=tuple(parsed.refusal_word),
        ),
        lambda title: stage(screen, safe(title)),
    )
    print_analysis(results, screen, smoke=evaluation.get("budget") == "smoke")
    _say(f"Figures: {parsed.folder / 'analysis' / 'analysis.json'}")
    _say(f"The page: {shlex.join(['derta', 'report', str(parsed.folder)])}")


def run_probe(parsed: argparse.Namespace) -> None:
    """Run `derta probe`.

    Raises:
        DertaError: what was given can't be used.
    """
    output: Path | None = parsed.output
    if output is not None and output.suffix.lower() not in (*_PICTURES, ".json"):
        raise DataError.of(
            output, "no kind of file that derta probe writes", "End its name in .svg, .png or .json"
        )
    prompt, response = (_text(each) for each in (parsed.prompt, parsed.response))
    if not prompt.strip():
        raise ModelError("--prompt is empty. Give the question that the response answers")
    screen = console()
    with stage(screen, "Reading") as progress:
        progress(0, 1)
        from derta.analyse_run import probe

        found = probe(
            parsed.model,
            prompt,
            response,
            reference=parsed.reference,
            refusal_words=parsed.refusal_word,
        )
        progress(1, 1)
    from derta.report.probe_text import print_probe

    print_probe(
        found.reading,
        screen,
        refusal_words=found.refusal_words,
        reference=found.reference,
        notes=found.notes,
    )
    if output is None:
        return
    if output.suffix.lower() == ".json":
        from derta.files import write_atomically

        write_atomically(output, json.dumps(found.as_json(), indent=1) + "\n")
    else:
        from derta.report.probe_chart import write_probe_chart

        write_probe_chart(found.reading, output)
    _say(f"Written: {output}")


def run_report(parsed: argparse.Namespace) -> None:
    """Run `derta report`.

    Raises:
        DertaError: what was given can't be used.
    """
    from derta.analysis.evaluation_folder import is_evaluation

    runs: Sequence[Path] = parsed.runs
    evaluations = [run for run in runs if is_evaluation(run)]
    if len(evaluations) == len(runs):
        from derta.report.evaluation_page.page import write_evaluation_page

        name = "report.html" if len(runs) == 1 else "report-together.html"
        output = parsed.output or runs[0] / name
        write_evaluation_page(
            runs, output, command=shlex.join(["derta", *sys.argv[1:]]), plots=parsed.plots
        )
        _say(str(output))
        if parsed.plots is not None:
            _say(str(parsed.plots))
        return
    _report_quickstart(parsed, next(run for run in runs if run not in evaluations))


def _report_quickstart(parsed: argparse.Namespace, run: Path) -> None:
    if len(parsed.runs) > 1:
        raise DataError.of(
            run,
            "is no folder of derta evaluate (evaluation.json), and only those go on one page",
            "Leave it out, or give it alone if it is a quickstart's",
        )
    if parsed.plots is not None:
        raise DataError.of(
            run,
            "is no folder of derta evaluate, and --plots writes the pictures of its page only",
            "Leave --plots out: the pictures of a quickstart are on its page",
        )
    if run.is_dir() and (run / "evaluation.json").exists() and not (run / "results.json").exists():
        from derta.analysis.evaluation_folder import read_evaluation

        read_evaluation(run)  # says what is wrong with it
    from derta.report import load_results, write_report

    path = run / "results.json" if run.is_dir() else run
    output = parsed.output or path.with_name("report.html")
    write_report(load_results(path), output)
    _say(str(output))


def _text(given: str) -> str:
    """Read an argument that is a text, or @ and the file that holds it.

    Raises:
        DataError: the file can't be read.
    """
    if given.startswith("@@"):
        return given[1:]
    if not given.startswith("@"):
        return given
    path = Path(given[1:]).expanduser()
    try:
        # Editors end a file with a line end that is not a part of the text.
        return path.read_text(encoding="utf-8-sig").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise DataError.of(path, "is not UTF-8 text", "Save the file as UTF-8") from error
    except OSError as error:
        problem = f"can't be read ({error.strerror})"
        raise DataError.of(
            path, problem, "Check the path; a text that begins with @ is written with @@"
        ) from error


def _say(text: str) -> None:
    console().print(visible(text), markup=False, soft_wrap=True)
