"""`python -m benchmarks.publish`: fill the docs from benchmarks/results/*.json.

Every figure there stands between two markers, and this writes all of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.data import STAGES

__all__ = [
    "data_table",
    "evaluation_text",
    "main",
    "paper_table",
    "profile_table",
    "ratio_table",
    "recipe_table",
    "scaling_table",
    "speed_text",
]

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
NOT_RUN = "*Not run yet.*"


def spread_text(value: dict[str, float], form: str = ".2f") -> str:
    """Write e.g. "3.21 (3.10-3.40, n = 5)"."""
    low, high = format(value["low"], form), format(value["high"], form)
    return f"{format(value['median'], form)} ({low}–{high}, n = {value['rounds']})"


def ratio_table(report: dict[str, Any]) -> str:
    """Write the ratios of all workloads."""
    lines = ["| ratio | workload | median (lowest–highest) |", "|---|---|---|"]
    for group, entries in report["ratios"].items():
        for name, value in entries.items():
            lines.append(f"| {group.replace('_', ' ')} | {name} | {spread_text(value)} |")
    return "\n".join(lines)


def speed_text(report: dict[str, Any]) -> str:
    """Write the README's sentence about speed: safety rows, beside TRL."""
    ratios = report["ratios"]
    faster = ratios["triples_per_second_vs_trl"]
    memory = ratios["peak_memory_vs_trl"]
    names = "safety", "safety_best"
    default, best = (f"{faster[name]['median']:.1f}" for name in names)
    share, multiple = (memory[name]["median"] for name in names)
    machine = report["machine"]
    return (
        f"On {machine['cores']} cores of an {machine['cpu']} derta trains {default} times as many "
        f"triples a second as TRL's\nSFTTrainer on the same rows, in {share:.0%} of its memory; "
        f"{best} times as many as SFTTrainer's fastest\nsettings, which hold few rows at once, "
        f"with {multiple:.1f} times their memory:\n[docs/benchmarks.md](docs/benchmarks.md)."
    )


def contestants_text(report: dict[str, Any]) -> str:
    """Write a table for each workload."""
    parts = []
    for workload in report["contestants"]:
        parts += [f"### {workload}", tables.markdown(report, workload)]
    return "\n\n".join(parts)


def scaling_table(report: dict[str, Any]) -> str:
    """Write how the cost of a step grows."""
    lines = [
        "| what varies | value | s a step | tokens a step | tokens a second | share of floor |",
        "|---|---|---|---|---|---|",
    ]
    for run in report["runs"]:
        lines.append(
            f"| {run['group']} | {run['name']} | {run['seconds_a_step']:.2f} "
            f"| {run['tokens_a_step']:.0f} | {run['tokens_per_second']:.0f} "
            f"| {run['share_of_floor']:.0%} |"
        )
    return "\n".join(lines)


def data_table(report: dict[str, Any]) -> str:
    """Write how fast a large file becomes training rows."""
    tokens = report[STAGES[0]]["mean_tokens"]
    lines = [
        f"{report['rows']:,} rows of {tokens:.0f} tokens in the mean, {report['cores']} cores:",
        "",
        "| | seconds | peak GB |",
        "|---|---|---|",
    ]
    for stage in STAGES:
        found = report[stage]
        lines.append(f"| {stage} | {found['seconds']:.1f} | {found['peak_bytes'] / 1e9:.2f} |")
    return "\n".join(lines)


def evaluation_text(report: dict[str, Any]) -> str:
    """Write how much faster the suite runs than a plain loop."""
    lines = []
    for name, found in report.items():
        lines.append(
            f"- {name}, {found['prompts']} prompts, up to {found['new_tokens']} new tokens: "
            f"{spread_text(found['times_as_fast'])} times as fast. "
            f"{found['outputs_that_differ']} outputs differ, "
            f"{found['differ_by_more_than_rounding']} of them where the logits of the two "
            "tokens are 1e-4 or more apart."
        )
    return "\n".join(lines)


def paper_table(report: dict[str, Any]) -> str:
    """Write what a run of the paper's size would take."""
    tokens = report["tokens_an_epoch"]
    shares = list(next(iter(report["models"].values()))["hours"])
    lines = [
        "Million tokens an epoch: "
        + ", ".join(f"{name} {count / 1e6:.1f}" for name, count in tokens.items())
        + ".",
        "",
        "| | rows | operations | "
        + " | ".join(f"hours at {float(share):.0%}" for share in shares)
        + " | GB a GPU |",
        "|---|---|---|" + "---|" * (len(shares) + 1),
    ]
    for name, found in report["models"].items():
        for layout, each in found["operations"].items():
            hours = " | ".join(f"{found['hours'][share][layout]:.1f}" for share in shares)
            lines.append(
                f"| {name} | {layout} | {each:.2e} | {hours} | {found['gigabytes_a_gpu']:.0f} |"
            )
    return "\n".join(lines)


def recipe_table(report: dict[str, Any]) -> str:
    """Write what the packaged recipes train, and what that takes."""
    lines = [
        "| recipe | model | trained | GPUs | GB a GPU | GB of layer inputs, at most | hours |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in report["recipes"].items():
        link = f"[{name}](../src/derta/recipes/{name}.yaml)"
        cells = [link, found["model"], found["trained"]]
        if found["gpus"]:
            hours = found["hours"].values()
            cells += [
                f"{found['gpus']} x {found['gpu']}",
                f"{found['gigabytes_a_gpu']:.0f}",
                f"{found['gigabytes_of_inputs']:.1f}",
                f"{min(hours):.1f}–{max(hours):.1f}",
            ]
        else:
            rate = f"{found['tokens_per_second']:.0f} tokens a second, measured"
            cells += ["none: a CPU", "–", "–", rate]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def profile_table(report: dict[str, Any]) -> str:
    """Write where the time of a step goes."""
    lines = [
        f"{report['workload']}: {report['seconds_a_step']:.2f} s a step, "
        f"{report['seconds_a_step_profiled']:.2f} s under the profiler.",
        "",
        "| | share of the time |",
        "|---|---|",
        *(f"| {name} | {share:.1%} |" for name, share in report["shares"].items()),
    ]
    return "\n".join(lines)


def machine_text(report: dict[str, Any]) -> str:
    """Write what it ran on."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    facts = [f"{key} {value}" for key, value in machine.items() if key != "versions"]
    return ", ".join([*facts, versions])


Parts = dict[str, tuple[str, Callable[[dict[str, Any]], str]]]
PAGES: dict[str, Parts] = {
    "docs/benchmarks.md": {
        "machine": ("latest.json", machine_text),
        "ratios": ("latest.json", ratio_table),
        "contestants": ("latest.json", contestants_text),
        "evaluation": ("evaluation.json", evaluation_text),
        "data": ("data.json", data_table),
        "scaling": ("scaling.json", scaling_table),
        "paper": ("paper.json", paper_table),
        "profile": ("profile.json", profile_table),
    },
    "docs/training.md": {"recipes": ("paper.json", recipe_table)},
    "README.md": {"speed": ("latest.json", speed_text)},
}
"""Page -> marker -> the file of results, and what writes it."""


def filled(name: str, page: str, results: Path) -> str:
    """Return a page with every part that was measured.

    Args:
        name: a key of `PAGES`.
        page: its text.
        results: the folder of the results.
    """
    for part, (file, write) in PAGES[name].items():
        path = results / file
        text = write(json.loads(path.read_text("utf-8"))) if path.exists() else NOT_RUN
        pattern = rf"(<!-- {part} -->\n).*?(<!-- /{part} -->)"
        page, count = re.subn(
            pattern, lambda m, text=text: f"{m[1]}{text}\n{m[2]}", page, flags=re.DOTALL
        )
        if count != 1:
            raise SystemExit(f"{name}: {count} markers named {part!r}")
    return page


def main() -> int:
    """Fill the pages."""
    for name in PAGES:
        path = ROOT / name
        path.write_text(filled(name, path.read_text("utf-8"), RESULTS), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
