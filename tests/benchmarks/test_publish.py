"""The pages of figures are written from the results, and from nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import publish
from benchmarks.data import STAGES

SPREAD = {"median": 3.2, "low": 3.1, "high": 3.4, "rounds": 5}
RESULTS: dict[str, Any] = {
    "latest.json": {
        "machine": {"cpu": "excellent", "cores": 2, "versions": {"torch": "9.9"}},
        "ratios": {
            "triples_per_second_vs_trl": {"safety": SPREAD, "safety_best": SPREAD},
            "peak_memory_vs_trl": {
                "safety": {**SPREAD, "median": 0.29},
                "safety_best": {**SPREAD, "median": 1.5},
            },
            "share_of_floor": {},
        },
        "contestants": {
            "safety, short": {
                "derta": {
                    "triples_per_second": SPREAD,
                    "seconds_a_step": SPREAD,
                    "tokens_a_step": 700,
                    "peak_bytes": {**SPREAD, "median": 2e9},
                    "vs_trl_default": SPREAD,
                }
            }
        },
    },
    "evaluation.json": {
        "untouched": {
            "prompts": 7,
            "new_tokens": 64,
            "times_as_fast": SPREAD,
            "outputs_that_differ": 2,
            "differ_by_more_than_rounding": 0,
        }
    },
    "data.json": {
        "rows": 60000,
        "cores": 2,
        **{
            stage: {"seconds": 12.3 + number, "peak_bytes": 1.25e9, "mean_tokens": 200.4}
            for number, stage in enumerate(STAGES)
        },
    },
    "profile.json": {
        "workload": "safety, short",
        "seconds_a_step": 4.0,
        "seconds_a_step_profiled": 5.5,
        "shares": {"products: linear layers": 0.6, "copies": 0.4},
    },
    "paper.json": {
        "tokens_an_epoch": {"derta": 1.5e6, "plain": 3e6},
        "models": {
            "8B": {
                "operations": {"derta": 1e18, "plain": 2.5e18},
                "hours": {"0.4": {"derta": 1.2, "plain": 3.1}},
                "gigabytes_a_gpu": 16.2,
            }
        },
        "recipes": {
            "llama3-8b": {
                "model": "a/llama",
                "trained": "LoRA r 3",
                "gpus": 8,
                "gpu": "H100",
                "gigabytes_a_gpu": 20.4,
                "gigabytes_of_inputs": 4.25,
                "hours": {"0.3": 5.04, "0.5": 3.02},
            },
            "quickstart": {
                "model": "small",
                "trained": "all parameters",
                "gpus": 0,
                "tokens_per_second": 341.4,
            },
        },
    },
    "scaling.json": {
        "runs": [
            {
                "group": "model",
                "name": "30M",
                "seconds_a_step": 1.5,
                "tokens_a_step": 300,
                "tokens_per_second": 200,
                "share_of_floor": 0.61,
            }
        ]
    },
}


def test_the_page_holds_what_was_measured_and_says_what_was_not(tmp_path: Path) -> None:
    pages = {name: (publish.ROOT / name).read_text("utf-8") for name in publish.PAGES}
    for name, page in pages.items():
        unknown = publish.filled(name, page, tmp_path)
        assert unknown.count(publish.NOT_RUN) == len(publish.PAGES[name])
    for name, content in RESULTS.items():
        (tmp_path / name).write_text(json.dumps(content))
    all_of_it = ""
    for name, page in pages.items():
        filled = publish.filled(name, page, tmp_path)
        assert publish.NOT_RUN not in filled
        assert publish.filled(name, filled, tmp_path) == filled
        all_of_it += filled
    for expected in (
        "cpu excellent, cores 2, torch 9.9",
        "| triples per second vs trl | safety | 3.20 (3.10–3.40, n = 5) |",
        "| derta | 3.20 | 3.20 | 700 | 2.00 | 3.20 (3.10–3.40) |",
        "7 prompts, up to 64 new tokens: 3.20 (3.10–3.40, n = 5) times as fast. 2 outputs differ",
        "60,000 rows of 200 tokens in the mean, 2 cores:",
        "| encode | 12.3 | 1.25 |",
        "| model | 30M | 1.50 | 300 | 200 | 61% |",
        "safety, short: 4.00 s a step, 5.50 s under the profiler.",
        "| products: linear layers | 60.0% |",
        "Million tokens an epoch: derta 1.5, plain 3.0.",
        "| | rows | operations | hours at 40% | GB a GPU |",
        "| 8B | plain | 2.50e+18 | 3.1 | 16 |",
        "| a/llama | LoRA r 3 | 8 x H100 | 20 | 4.2 | 3.0–5.0 |",
        "| small | all parameters | none: a CPU | – | – | 341 tokens a second, measured |",
        "On 2 cores of an excellent derta trains 3.2 times as many triples a second",
        "in 29% of its memory; 3.2 times as many as SFTTrainer's fastest",
        "with 1.5 times their memory",
    ):
        assert expected in all_of_it


def test_a_page_without_a_marker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="machine"):
        publish.filled("docs/benchmarks.md", "no markers", tmp_path)


@pytest.mark.parametrize("name", publish.PAGES)
def test_the_page_in_the_docs_is_what_the_results_give(name: str) -> None:
    page = (publish.ROOT / name).read_text("utf-8")
    assert publish.filled(name, page, publish.RESULTS) == page
