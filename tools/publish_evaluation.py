"""Put the table of an evaluation into docs/evaluation.md: `python tools/publish_evaluation.py RUN`.

RUN is a folder of `derta evaluate`. The table is the one of the terminal, at 80 columns, and none
of its figures is typed in by hand. Not covered: the seconds that it took; they are no figure of
evaluation.json, because what was kept from an earlier run takes none.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

from publish import ROOT, fill
from rich.console import Console

from derta.report.evaluation_table import print_evaluation


def block(results: dict[str, Any]) -> str:
    """Write the table as a code block, after the command that makes it."""
    text = io.StringIO()
    print_evaluation(results, Console(file=text, width=80, color_system=None, highlight=False))
    lines = [line.rstrip() for line in text.getvalue().strip("\n").split("\n")]
    return "\n".join([f"`{results['command']}` says:", "", "```text", *lines, "```"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    results = json.loads((parser.parse_args().run / "evaluation.json").read_text("utf-8"))
    fill(ROOT / "docs" / "evaluation.md", "evaluation-table", block(results))


if __name__ == "__main__":
    main()
