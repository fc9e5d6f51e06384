"""`python -m benchmarks.evaluation`: the quickstart's suite, ours beside a plain `generate` loop.

The plain loop takes the suite's prompts in file order, 16 at a time, padded on the left, and calls
transformers' `generate`; ours is what `derta quickstart` does, inspect-ai included. Both decode
greedily with the same weights in float32, in the same process, which keeps freed memory for both.
Outputs may differ only where the logits of the two tokens are closer than 1e-4, which is checked.
The tune split is used: no figure of the test split is made.

`--mixed 200` measures the provider alone instead, on so many unrelated questions of 10 to 400
words: beside a plain loop that sorts them by length first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from inspect_ai.model import ChatMessageUser, GenerateConfig
from rich.console import Console

from benchmarks.tables import spread
from derta.data.encode import ChatEncoder
from derta.data.models import DEFAULT_MODEL, load_model, load_tokenizer
from derta.data.sample import sample_helpful, sample_triples
from derta.evaluate.provider import DEFAULT_MAX_TOKENS, input_token_ids, local_model
from derta.evaluate.run import RefusalSamples, evaluate_refusals
from derta.evaluate.tasks import benign_samples, prefill_samples, raw_text_samples
from derta.files import write_atomically
from derta.matmul import onednn_matmul
from derta.memory import keep_freed_memory

__all__ = [
    "compare",
    "compare_mixed",
    "first_difference",
    "generate_plainly",
    "main",
    "mixed_questions",
    "suite",
]

ROOT = Path(__file__).resolve().parents[1]
LATEST = ROOT / "benchmarks" / "results" / "evaluation.json"
PLAIN_BATCH = 16
CLOSE = 1e-4
"""Difference of two logits below which rounding may decide between their tokens."""


def suite(encoder: ChatEncoder, samples: RefusalSamples) -> list[tuple[int, ...]]:
    """Return the token ids of every prompt, in file order: prefill by depth, raw text, benign."""
    made = [
        *prefill_samples(encoder, samples.harmful, samples.depths),
        *raw_text_samples(encoder, samples.harmful),
        *benign_samples(encoder, samples.benign),
    ]
    return [input_token_ids(encoder, list(sample.input)) for sample in made]  # type: ignore[arg-type]  # messages


def mixed_questions(count: int) -> list[str]:
    """Make questions of 10 to 400 words that have nothing in common, in no order."""
    generator = random.Random(0)
    texts = [row.example.response for row in sample_helpful("train") if row.example.response]
    questions = []
    for first in generator.sample(range(len(texts)), count):
        # Short ones are as many as long ones are: lengths are drawn on a logarithmic scale.
        words = round(10 * 40 ** generator.random())
        found: list[str] = []
        place = first
        while len(found) < words:
            found += texts[place % len(texts)].split()
            place += 1
        questions.append("Say this in other words: " + " ".join(found[:words]))
    return questions


@torch.inference_mode()
def generate_plainly(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[tuple[int, ...]],
    max_new_tokens: int,
    batch_size: int = PLAIN_BATCH,
) -> list[tuple[int, ...]]:
    """Generate as most scripts do; return each prompt's new tokens up to its end of turn."""
    end = tokenizer.eos_token_id
    results = []
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        length = max(map(len, batch))
        input_ids = torch.full((len(batch), length), end)
        attention_mask = torch.zeros_like(input_ids)
        for index, prompt in enumerate(batch):
            input_ids[index, length - len(prompt) :] = torch.tensor(prompt)
            attention_mask[index, length - len(prompt) :] = 1
        output = model.generate(
            input_ids=input_ids,
            attention_mask=attention_mask,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            pad_token_id=end,
        )
        for row in output[:, length:].tolist():
            results.append(tuple(row[: row.index(end)] if end in row else row))
    return results


@torch.inference_mode()
def first_difference(
    model: Any, prompt: Sequence[int], one: Sequence[int], other: Sequence[int]
) -> float | None:
    """Return how far apart the logits of the two tokens are where two outputs part, or None.

    Where one output ends and the other doesn't, its end is compared: the best logit.
    """
    if tuple(one) == tuple(other):
        return None
    common = 0
    while common < min(len(one), len(other)) and one[common] == other[common]:
        common += 1
    logits = model(torch.tensor([[*prompt, *one[:common]]])).logits[0, -1]
    chosen = [each[common] for each in (one, other) if common < len(each)]
    if len(chosen) < 2:
        return float(logits.max() - logits[chosen[0]])
    return float((logits[chosen[0]] - logits[chosen[1]]).abs())


def compare(
    model: Any, tokenizer: Any, samples: RefusalSamples, rounds: int, console: Console
) -> dict[str, Any]:
    """Run the suite both ways in turn; seconds, ratio, and where outputs differ."""
    prompts = suite(ChatEncoder(tokenizer), samples)
    ratios, seconds = [], []
    ours: list[str] = []
    theirs: list[tuple[int, ...]] = []
    plain = fast = 0.0
    for number in range(rounds):
        for way in ("plain", "ours") if number % 2 == 0 else ("ours", "plain"):
            started = time.perf_counter()
            if way == "plain":
                theirs = generate_plainly(model, tokenizer, prompts, DEFAULT_MAX_TOKENS)
                plain = time.perf_counter() - started
                continue
            with tempfile.TemporaryDirectory() as folder, onednn_matmul():
                records = evaluate_refusals(
                    model, tokenizer, samples, Path(folder), fingerprint="benchmark"
                )
            fast = time.perf_counter() - started
            ours = [record.output for record in records]
        ratios.append(plain / fast)
        seconds.append({"plain": plain, "ours": fast})
        console.print(f"round {number + 1}: plain {plain:.0f} s, ours {fast:.0f} s")
    return _result(model, tokenizer, prompts, ours, theirs, ratios, seconds)


def compare_mixed(
    model: Any, tokenizer: Any, questions: Sequence[str], rounds: int, batch: int, console: Console
) -> dict[str, Any]:
    """Answer unrelated questions by the provider and by a loop that sorts them by length."""
    messages = [ChatMessageUser(content=question) for question in questions]
    encoder = ChatEncoder(tokenizer)
    prompts = [input_token_ids(encoder, [message]) for message in messages]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True)
    ratios, seconds = [], []
    ours: list[str] = []
    theirs: list[tuple[int, ...]] = []
    plain = fast = 0.0
    for number in range(rounds):
        for way in ("plain", "ours") if number % 2 == 0 else ("ours", "plain"):
            started = time.perf_counter()
            if way == "plain":
                found = generate_plainly(
                    model, tokenizer, [prompts[i] for i in order], DEFAULT_MAX_TOKENS, batch
                )
                plain = time.perf_counter() - started
                by_place = dict(zip(order, found, strict=True))
                theirs = [by_place[index] for index in range(len(prompts))]
                continue
            api = local_model(model, tokenizer, "benchmark").api
            with onednn_matmul():
                ours = asyncio.run(_ask(api, messages))
            api.close()
            fast = time.perf_counter() - started
        ratios.append(plain / fast)
        seconds.append({"plain": plain, "ours": fast})
        console.print(f"round {number + 1}: plain {plain:.0f} s, ours {fast:.0f} s")
    lengths = sorted(map(len, prompts))
    return {
        **_result(model, tokenizer, prompts, ours, theirs, ratios, seconds),
        "prompt_tokens": {
            "least": lengths[0],
            "median": lengths[len(lengths) // 2],
            "most": lengths[-1],
        },
        "plain_batch": batch,
        "times_the_time": spread([1 / ratio for ratio in ratios]),
    }


async def _ask(api: Any, messages: Sequence[ChatMessageUser]) -> list[str]:
    config = GenerateConfig(max_tokens=DEFAULT_MAX_TOKENS)
    calls = [api.generate([message], [], "none", config) for message in messages]
    return [output.completion for output in await asyncio.gather(*calls)]


def _result(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[tuple[int, ...]],
    ours: Sequence[str],
    theirs: Sequence[tuple[int, ...]],
    ratios: Sequence[float],
    seconds: list[dict[str, float]],
) -> dict[str, Any]:
    differences = []
    for prompt, text, ids in zip(prompts, ours, theirs, strict=True):
        if text != tokenizer.decode(ids, skip_special_tokens=True):
            found = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
            differences.append(first_difference(model, prompt, ids, found))
    return {
        "prompts": len(prompts),
        "new_tokens": DEFAULT_MAX_TOKENS,
        "seconds": seconds,
        "times_as_fast": spread(ratios),
        "outputs_that_differ": len(differences),
        "differ_by_more_than_rounding": sum(d is not None and d >= CLOSE for d in differences),
        "largest_difference_of_logits": max((d or 0.0 for d in differences), default=0.0),
    }


def main() -> int:
    """Measure, print and write `benchmarks/results/evaluation.json`."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.evaluation")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="questions of each kind; default: all")
    parser.add_argument(
        "--adapter", type=Path, help="also with this LoRA adapter, e.g. runs/quickstart/derta/model"
    )
    parser.add_argument(
        "--mixed", type=int, help="so many unrelated questions instead of the suite, e.g. 200"
    )
    parser.add_argument(
        "--plain-batch", type=int, default=PLAIN_BATCH, help="rows of the plain loop with --mixed"
    )
    parser.add_argument("--output", type=Path, default=LATEST)
    arguments = parser.parse_args()
    console = Console(stderr=True)
    keep_freed_memory()
    tokenizer = load_tokenizer(DEFAULT_MODEL)
    model: Any = load_model(DEFAULT_MODEL, dtype="float32").eval()  # on the CPU
    report = {}
    if arguments.mixed is not None:
        report["mixed lengths, sorted"] = compare_mixed(
            model,
            tokenizer,
            mixed_questions(arguments.mixed),
            arguments.rounds,
            arguments.plain_batch,
            console,
        )
    else:
        samples = RefusalSamples(
            sample_triples("tune")[: arguments.limit], sample_helpful("tune")[: arguments.limit]
        )
        report["untouched"] = compare(model, tokenizer, samples, arguments.rounds, console)
        if arguments.adapter is not None:
            from peft import PeftModel

            # Merged, as the quickstart measures it.
            adapted: Any = PeftModel.from_pretrained(model, str(arguments.adapter))
            model = adapted.merge_and_unload().eval()
            report["adapted"] = compare(model, tokenizer, samples, arguments.rounds, console)
    if arguments.output.exists():  # what another mode measured stays
        report = {**json.loads(arguments.output.read_text(encoding="utf-8")), **report}
    write_atomically(arguments.output, json.dumps(report, indent=1) + "\n")
    Console().print(report)
    return int(any(found["differ_by_more_than_rounding"] for found in report.values()))


if __name__ == "__main__":
    raise SystemExit(main())
