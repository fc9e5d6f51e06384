"""Train DeRTa with other settings and measure it on the tune split, never on the test split.

    python tools/sweep.py NAME key=value ...       e.g. kept-30 rows.kept_share=0.3

Starts from the quickstart's recipe. A line a run is appended to runs/sweep/frontier.jsonl: the
settings that differ, and the figures of the quickstart's bounds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from derta.analysis.summary import summarise_model
from derta.data.models import load_model
from derta.evaluate.measure import TestSet, measure
from derta.files import prepare_run_folder
from derta.train.recipe import load_recipe
from derta.train.run import load_trained_model, train_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--output", type=Path, default=Path("runs/sweep"))
    arguments = parser.parse_args()
    recipe = load_recipe("quickstart", arguments.overrides)
    test = TestSet.sample("tune")
    prepare_run_folder(arguments.output)
    untouched_folder = arguments.output / "untouched"
    folder = arguments.output / arguments.name
    for each in (untouched_folder, folder):
        prepare_run_folder(each)
    console = Console()
    untouched = measure(
        lambda: load_model(recipe.model),
        recipe.model,
        recipe.refusal_word,
        test,
        untouched_folder,
        fingerprint=recipe.model,
    )
    summary = train_recipe(recipe, folder)
    fingerprint = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["fingerprint"]
    measured = measure(
        lambda: load_trained_model(recipe, folder),
        recipe.model,
        recipe.refusal_word,
        test,
        folder,
        fingerprint=fingerprint,
    )
    figures = summarise_model(
        measured.records,
        measured.harmful_probabilities,
        measured.benign_probabilities,
        measured.helpful_losses,
        untouched.helpful_losses,
    )
    shares = {f"k={entry['k']}": entry["refused"] for entry in figures["prefill"]}
    shares["raw text"] = figures["raw_text"]["refused"]
    shares |= {f"false, {name}": share for name, share in figures["false_refusals"].items()}
    line = {
        "name": arguments.name,
        "overrides": arguments.overrides,
        "seed": recipe.seed,
        **{name: f"{share['count']}/{share['n']}" for name, share in shares.items()},
        "auc": round(figures["refusal_probability"]["auc"]["value"], 4),
        "helpful_loss_difference": round(figures["helpful_loss"]["difference"], 4),
        "train_seconds": round(summary.seconds),
        "measure_seconds": round(measured.seconds),
    }
    with (arguments.output / "frontier.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    console.print(line)


if __name__ == "__main__":
    main()
