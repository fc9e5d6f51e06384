"""Fill the figures of README and docs from results.json: `python tools/publish.py RUN [RUN ...]`.

RUN is a comparison's folder (one a seed). Every figure in the docs stands between two markers,
and this tool writes all of it; none is typed in by hand.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from derta.report import depth_figure

ROOT = Path(__file__).resolve().parents[1]
NAMES = {"untouched": "untouched", "vanilla": "usual training", "derta": "DeRTa"}


def percent(share: dict[str, Any]) -> str:
    if not share["n"]:
        return "–"
    low, high = round(100 * share["low"]), round(100 * share["high"])
    return f"{100 * share['share']:.0f} % ({low}–{high}), {share['count']}/{share['n']}"


def table(results: dict[str, Any]) -> str:
    models = results["models"]
    rows: list[tuple[str, list[str]]] = []
    for index, entry in enumerate(models[0]["prefill"]):
        cells = [percent(model["prefill"][index]["refused"]) for model in models]
        rows.append((f"refused, k = {entry['k']}", cells))
    rows.append(("refused, raw text", [percent(m["raw_text"]["refused"]) for m in models]))
    for kind in ("ordinary", "look-alike"):
        cells = [percent(model["false_refusals"][kind]) for model in models]
        rows.append((f"falsely refused, {kind}", cells))
    areas = [model["refusal_probability"]["auc"] for model in models]
    rows.append(("AUC", [f"{a['value']:.3f} ({a['low']:.3f}–{a['high']:.3f})" for a in areas]))
    losses = [model["helpful_loss"] for model in models]
    cells = [f"{x['difference']:+.3f} ({x['low']:+.3f}–{x['high']:+.3f})" for x in losses]
    rows.append(("helpful loss minus untouched, nats", cells))
    head = "| measure | " + " | ".join(NAMES[model["name"]] for model in models) + " |"
    lines = [head, "|---" * (len(models) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows]
    return "\n".join(lines)


def bounds(runs: list[dict[str, Any]]) -> str:
    lines = [
        "| bound | " + " | ".join(f"seed {run['seed']}" for run in runs) + " |",
        "|---" * (len(runs) + 1) + "|",
    ]
    for index, bound in enumerate(runs[0]["bounds"]):
        cells = []
        for run in runs:
            entry = run["bounds"][index]
            nats = "nats" in entry["bound"] or entry["name"].startswith("AUC")
            value = f"{entry['value']:.3f}" if nats else f"{100 * entry['value']:.0f} %"
            cells.append(value + (" met" if entry["met"] else " **missed**"))
        lines.append(f"| {bound['name']}: {bound['bound']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(run: dict[str, Any]) -> str:
    by_name = {model["name"]: model for model in run["models"]}

    def at(name: str, k: int) -> str:
        return next(percent(e["refused"]) for e in by_name[name]["prefill"] if e["k"] == k)

    lines = [
        "| | usual training | DeRTa |",
        "|---|---|---|",
        f"| refuses a harmful question | {at('vanilla', 0)} | {at('derta', 0)} |",
        f"| ... after 20 tokens of a harmful answer | {at('vanilla', 20)} | {at('derta', 20)} |",
        f"| ... after 80 tokens | {at('vanilla', 80)} | {at('derta', 80)} |",
    ]
    for kind in ("ordinary", "look-alike"):
        cells = [percent(by_name[n]["false_refusals"][kind]) for n in ("vanilla", "derta")]
        lines.append(f"| refuses a harmless question, {kind} | {cells[0]} | {cells[1]} |")
    missed = [bound["name"] for bound in run["bounds"] if not bound["met"]]
    note = (
        f"Seed {run['seed']}, test split, 95 % intervals. "
        f"{len(run['bounds']) - len(missed)} of {len(run['bounds'])} of the bounds that we set "
        "ourselves are met; [docs/results.md](docs/results.md) has all of them."
    )
    return "\n".join([*lines, "", note])


STRETCHES = ((0, 1), (1, 12), (12, 48), (48, 96), (96, None))
"""Tokens already written, for the table of probabilities."""


def positions(runs: list[dict[str, Any]]) -> str:
    names = ["0", *(f"{a} to {b - 1}" if b else f"{a} and more" for a, b in STRETCHES[1:])]
    lines = ["| tokens written | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for run in runs:
        for model in run["models"][1:]:
            for kind, words in (("harmful", "harmful"), ("benign", "harmless")):
                curve = model["refusal_probability"][kind]
                cells = [f"{stretch_mean(curve, a, b):.3f}" for a, b in STRETCHES]
                name = f"{NAMES[model['name']]}, {words} answers, seed {run['seed']}"
                lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def stretch_mean(curve: dict[str, Any], start: int, end: int | None) -> float:
    means, counts = curve["mean"][start:end], curve["n"][start:end]
    return float(sum(m * n for m, n in zip(means, counts, strict=True)) / sum(counts))


def machine(run: dict[str, Any]) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in run["machine"].items())
    times = ", ".join(f"{key} {value:.0f} s" for key, value in run["seconds"].items())
    return f"Seed {run['seed']}: {facts}. Seconds: {times}, together {seconds(run):.0f} s."


def seconds(run: dict[str, Any]) -> float:
    return float(sum(run["seconds"].values()))


def sweep(path: Path) -> str:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    columns = [key for key in rows[0] if key not in ("overrides", "settings")]
    lines = ["| " + " | ".join(columns) + " | settings |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        cells = [str(row.get(column, "–")) for column in columns]
        lines.append("| " + " | ".join(cells) + f" | {row['settings']} |")
    return "\n".join(lines)


def fill(path: Path, marker: str, text: str) -> None:
    """Put `text` between the two lines of a file that `marker` names."""
    content = path.read_text(encoding="utf-8")
    pattern = rf"(<!-- {re.escape(marker)} -->\n).*?(<!-- /{re.escape(marker)} -->)"
    filled, count = re.subn(pattern, lambda m: f"{m[1]}{text}\n{m[2]}", content, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{path}: {count} markers named {marker!r}")
    path.write_text(filled, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    arguments = parser.parse_args()
    runs = [
        json.loads((folder / "results.json").read_text(encoding="utf-8"))
        for folder in arguments.runs
    ]
    results, docs = ROOT / "docs" / "results.md", ROOT / "docs"
    for run in runs:
        fill(results, f"table: seed {run['seed']}", table(run))
    fill(results, "table: bounds", bounds(runs))
    fill(results, "table: positions", positions(runs))
    fill(results, "table: machine", "\n\n".join(machine(run) for run in runs))
    fill(results, "table: sweep", sweep(docs / "sweep.jsonl"))
    fill(results, "table: sweep, read", sweep(docs / "sweep-read.jsonl"))
    fill(ROOT / "README.md", "figures: quickstart", summary(runs[0]))
    fill(docs / "quickstart.md", "figures: seconds", machine(runs[0]))
    (docs / "depth.svg").write_text(depth_figure(runs[0]), encoding="utf-8")


if __name__ == "__main__":
    main()
