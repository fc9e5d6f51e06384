"""`derta review`: the page on which people judge, and what is done with their verdicts.

Covered: from parsed arguments to the page, the terminal and files; which options go together. The
page's libraries and inspect-ai are imported by the handler that needs them; `--agreement` and
`--export` read the review's file alone. Not covered: anything that does the work (`derta.review`,
`derta.analysis.human_agreement`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from derta.arguments.review import ALL, DEFAULT_SAMPLE, DEFAULT_WIDTH
from derta.errors import DataError
from derta.terminal import console, stage, visible

if TYPE_CHECKING:
    from derta.analysis.human_verdicts import Review
    from derta.review.store import ReviewStore

__all__ = ["run_review"]

_PAGE, _AGREEMENT, _EXPORT, _IMPORT = "the page", "--agreement", "--export", "--import"
_SCORES = "--write-scores"
_BELONGS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("sample", "--sample", (_PAGE, _IMPORT)),
    ("scenario", "--scenario", (_PAGE, _IMPORT)),
    ("model", "--model", (_PAGE, _IMPORT)),
    ("seed", "--seed", (_PAGE, _IMPORT)),
    ("no_blind", "--no-blind", (_PAGE,)),
    ("port", "--port", (_PAGE,)),
    ("no_browser", "--no-browser", (_PAGE,)),
    ("width", "--width", (_AGREEMENT,)),
    ("json", "--json", (_AGREEMENT,)),
    ("reveal", "--reveal", (_EXPORT,)),
    ("reviewer", "--reviewer", (_IMPORT,)),
    ("column", "--column", (_IMPORT,)),
)
"""(argument, option, the actions in which it says something)."""
_EXPORTS = (".csv", ".jsonl", ".json")
_EVALUATION = ("evaluation.json", "outcomes.jsonl", "responses.csv", "table.csv")
"""Files of `derta evaluate` that no export may replace."""


def run_review(parsed: argparse.Namespace) -> None:
    """Run `derta review`.

    Raises:
        DertaError: what was given can't be used, or doesn't go together.
    """
    action, run = _PAGE, _serve
    if parsed.agreement:
        action, run = _AGREEMENT, _agreement
    elif parsed.export is not None:
        action, run = _EXPORT, _export
    elif parsed.import_file is not None:
        action, run = _IMPORT, _import
    elif parsed.write_scores:
        action, run = _SCORES, _write_scores
    for name, option, actions in _BELONGS:
        if getattr(parsed, name) not in (None, False, []) and action not in actions:
            belongs = " and ".join(actions)
            raise DataError.of(
                option, f"says nothing beside {action}: it belongs to {belongs}", "Leave it out"
            )
    run(parsed)


# --- the page --------------------------------------------------------------------------------


def _serve(parsed: argparse.Namespace) -> None:
    from derta.review.serving import HOST, serve

    store = _set_up(parsed)
    try:
        blind = not parsed.no_blind
        _say(f"What is judged lies in {_folder(parsed.logs)}")
        if not blind:
            _say("Model, scenario and automatic verdict are shown to those who judge.")

        def announce(url: str) -> None:
            _say(f"\nOpen this address in a browser on this machine:\n  {url}")
            _tell(
                "The address holds a key: whoever on this machine knows it can judge. Ctrl-C ends "
                "the page; every verdict is on disk when the page says so."
            )
            if not _has_screen():
                port = urlsplit(url).port
                _say(f"From another machine first: ssh -L {port}:{HOST}:{port} THIS-MACHINE")
            elif not parsed.no_browser:
                _open_browser(url)

        def moved(before: int) -> None:
            taken = ", is taken: perhaps the same command still runs elsewhere"
            _tell(
                f"\nPort {before}, where this page was last time"
                f"{taken if parsed.port is None else ', is not the one that you named'}. Verdicts "
                "that a browser could not hand over there (the page said “not saved yet”) wait in "
                "that browser for the old address; this page doesn't see them. To save them, end "
                "this with Ctrl-C, see that the old port is free, and open the page there again:"
            )
            _say(f"  {shlex.join(['derta', 'review', str(parsed.logs), '--port', str(before)])}")

        serve(
            store,
            port=parsed.port,
            blind=blind,
            # A run's name may be that of its model.
            title="" if blind else parsed.logs.resolve().name,
            announce=announce,
            moved=moved,
        )
        for each in store.reviewers():
            _say(f"{each['name']}: {each['judged']} of {each['total']} judged")
        _say(f"Go on:   {shlex.join(['derta', 'review', str(parsed.logs)])}")
        _say(f"Figures: {shlex.join(['derta', 'review', str(parsed.logs), '--agreement'])}")
    finally:
        store.close()


def _set_up(parsed: argparse.Namespace) -> ReviewStore:
    """Draw responses and put them into the review; what is in it stays, with its verdicts.

    What isn't named is as it was when the review was last opened.
    """
    from derta.analysis.review_database import database_path, has_review, read_review
    from derta.review.items import choose_items, load_items
    from derta.review.sampling import stratified_sample
    from derta.review.store import ReviewStore

    folder = _folder(parsed.logs)
    database = database_path(folder)
    kept = read_review(database).settings if has_review(database) else {}
    scenarios, models = (
        _chosen(given, kept.get(key, []))
        for given, key in ((parsed.scenario, "scenarios"), (parsed.model, "models"))
    )
    _check_log(parsed.logs, kept, folder)
    seed = _seed(parsed.seed, kept, folder)
    size = parsed.sample or kept.get("sample") or DEFAULT_SAMPLE
    with stage(console(), "Reading responses") as progress:
        progress(0, 1)
        # All of it is read before a folder is made: a name that is misspelt leaves nothing behind.
        population = load_items(parsed.logs)
        chosen = choose_items(population, parsed.logs, scenarios=scenarios, models=models)
        drawn = stratified_sample(chosen, None if size == ALL else int(size), seed=seed)
        store = ReviewStore.open(folder)
        try:
            settings = {
                **kept,
                "log": _log_name(parsed.logs),
                "seed": seed,
                "sample": size,
                "scenarios": scenarios,
                "models": models,
                # Once it was not, the verdicts can't be told apart any more.
                "blind": bool(kept.get("blind", True)) and not parsed.no_blind,
            }
            store.set_up(population, drawn, settings)
        except BaseException:
            store.close()
            raise
        progress(1, 1)
    _say(f"Drawn: {len(drawn)} of {len(chosen)} responses")
    return store


def _chosen(given: list[str], kept: list[str]) -> list[str]:
    if not given:
        return list(kept)
    return [] if ALL in given else list(dict.fromkeys(given))


def _log_name(logs: Path) -> str:
    """Tell files apart that share a review's folder; a folder of logs has no name of its own."""
    return logs.name if logs.is_file() else ""


def _check_log(logs: Path, kept: Mapping[str, Any], folder: Path) -> None:
    """Refuse to judge one file in the review of another: its responses would leave the review."""
    begun = kept.get("log", _log_name(logs))
    if begun != _log_name(logs):
        raise DataError.of(
            folder,
            f"this is the review of {begun or 'the whole folder'}",
            "Name that, or put this log into a folder of its own",
        )


def _seed(given: int | None, kept: Mapping[str, Any], folder: Path) -> int:
    """Take the review's own seed: another one would draw other responses and turn the order."""
    known = kept.get("seed")
    if known is None:
        return given or 0
    if given is not None and given != known:
        raise DataError.of(
            folder,
            f"this review was drawn with the seed {known}",
            "Leave --seed out, or move the folder away to begin anew",
        )
    return int(known)


def _has_screen() -> bool:
    """Whether a browser would have a window; one in the terminal would hide us."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    return not sys.platform.startswith("linux") or any(os.environ.get(each) for each in screens)


def _open_browser(url: str) -> None:
    """Open the machine's browser.

    It starts in a thread: some take their time, and the page's server must not wait.
    """
    import webbrowser

    def open_it() -> None:
        with contextlib.suppress(webbrowser.Error, OSError):
            webbrowser.open(url)

    threading.Thread(target=open_it, daemon=True).start()


# --- what is done with verdicts --------------------------------------------------------------


def _agreement(parsed: argparse.Namespace) -> None:
    if parsed.json is not None and parsed.json.suffix.lower() != ".json":
        raise DataError.of(parsed.json, "is no JSON file by its name", "End its name in .json")
    _spare(parsed.logs, parsed.json)
    review = _read(parsed.logs)
    from derta.analysis.human_agreement import summarise_review
    from derta.report.agreement_text import print_agreement

    width = DEFAULT_WIDTH if parsed.width is None else parsed.width
    summary = summarise_review(review, width=width)
    print_agreement(summary, console())
    if summary["disagreements"]["open"]:
        _say(f"Settle them: {shlex.join(['derta', 'review', str(parsed.logs)])}")
    if parsed.json is not None:
        from derta.files import write_atomically

        write_atomically(parsed.json, json.dumps(summary, indent=1, allow_nan=False) + "\n")
        _say(f"Figures: {parsed.json}")


def _export(parsed: argparse.Namespace) -> None:
    if parsed.export.suffix.lower() not in _EXPORTS:
        raise DataError.of(
            parsed.export,
            "no kind of file that verdicts are written to",
            f"End its name in one of {', '.join(_EXPORTS)}",
        )
    _spare(parsed.logs, parsed.export)
    review = _read(parsed.logs)
    from derta.review.exports import write_verdicts

    count = write_verdicts(parsed.export, review, reveal=parsed.reveal)
    masked = "" if parsed.reveal else " (texts masked; --reveal writes them)"
    _say(f"{_several(count, 'verdict')}: {parsed.export}{masked}")


def _import(parsed: argparse.Namespace) -> None:
    from derta.data.questions import read_column_options
    from derta.review.exports import read_verdicts

    columns = read_column_options(parsed.column, None)
    if not parsed.import_file.is_file():
        raise DataError.of(parsed.import_file, "there is no such file", "Check the path")
    store = _set_up(parsed)
    try:
        found = read_verdicts(parsed.import_file, store, reviewer=parsed.reviewer, columns=columns)
    except ValueError as error:
        raise DataError.of("--reviewer", str(error), "Give another name") from error
    finally:
        store.close()
    _say(f"Taken in: {_several(found['added'], 'verdict')}; {found['same']} were there already")
    if found.get("older"):
        _say(f"{found['older']} left out: the same person said something else later")
    if found["unmatched"]:
        _tell(
            f"{_several(found['unmatched'], 'row')} left out: no such response is in the review. "
            f"A larger --sample (or --sample {ALL}) puts more into it."
        )


def _write_scores(parsed: argparse.Namespace) -> None:
    folder = _folder(parsed.logs)
    if folder.name != "review":
        raise DataError.of(
            parsed.logs,
            "is a file of responses and no log: there is nothing to write scores into",
            "Take --export FILE instead",
        )
    review = _read(parsed.logs)
    run = folder.parent
    with stage(console(), "Writing scores") as progress:
        progress(0, 1)
        from derta.review.log_scores import write_scores

        names: list[str] = []
        found = write_scores(run, review, tell=names.append)
        progress(1, 1)
    _say(
        f"Written: {_several(found['scores'], 'score')} into {_several(found['logs'], 'log')}; "
        f"{found['same']} were there already"
    )
    if found["missing"]:
        _say(f"{_several(found['missing'], 'judged response')} left out: not found in the logs")
    for sentence in names:
        _tell(sentence)
    view = ["python", "-m", "inspect_ai", "view", "--log-dir", str(run)]
    _say(f"Side by side: {shlex.join(view)}")


# --- places ----------------------------------------------------------------------------------


def _read(logs: Path) -> Review:
    """Read a review that is there.

    Raises:
        DataError: there is none, or it can't be read.
    """
    from derta.analysis.review_database import database_path, has_review, read_review

    database = database_path(_folder(logs))
    if not has_review(database):
        command = shlex.join(["derta", "review", str(logs)])
        raise DataError.of(logs, "nobody has judged it yet", f"Judge first: {command}")
    return read_review(database)


def _folder(logs: Path) -> Path:
    if not logs.exists():
        raise DataError.of(
            logs,
            "there is no such file or folder",
            "Name what `derta evaluate` wrote, inspect-ai's logs, or a file of responses",
        )
    from derta.review.items import review_folder

    return review_folder(logs)


def _spare(logs: Path, file: Path | None) -> None:
    """Refuse to write over what is reviewed."""
    reviewed = (logs, *(logs / name for name in _EVALUATION))
    if file is not None and any(
        each.exists() and file.exists() and file.samefile(each) for each in reviewed
    ):
        raise DataError.of(file, "belongs to what is reviewed", "Name another file")


def _several(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _tell(text: str) -> None:
    """Print a sentence; a long one goes on in the next line."""
    console().print(visible(text), markup=False)


def _say(text: str) -> None:
    """Print a line that can be copied as a whole."""
    console().print(visible(text), markup=False, soft_wrap=True)
