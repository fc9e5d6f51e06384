"""Make the packaged sample set from the question lists: `python tools/make_sample_set.py`.

The default model answers every question by greedy decoding (160 new tokens at most). Questions it
refuses, and responses too short to serve, are left out; the counts are printed and stand in the
data card. The answers are kept in a cache file, so that a rerun only selects.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from derta.data.encode import ChatEncoder
from derta.data.models import DEFAULT_MODEL, load_model, load_tokenizer
from derta.matmul import onednn_matmul
from derta.refusal import find_refusal
from derta.triple import Conversation

SAMPLE = Path(__file__).resolve().parents[1] / "src" / "derta" / "data" / "sample"
BATCH, NEW_TOKENS = 48, 160
# Longest prefix that is measured; a test response must reach beyond it.
MEASURED_PREFIX = 80

REFUSES = re.compile(
    r"^\W*(i'm sorry|i am sorry|sorry|i apologi[sz]e|unfortunately|as an? (ai|chatbot|assistant))"
    r"|\bas an? (ai|chatbot)\b"
    r"|\bi(?:'m| am) (?:unable|not able|not equipped|not programmed)\b"
    r"|\bi (?:can't|cannot|won't|don't have the (?:ability|capability)) ",
    re.IGNORECASE,
)


def read_questions() -> list[dict[str, Any]]:
    questions = []
    more = sorted(path.stem for path in (SAMPLE / "sources").glob("more_*.jsonl"))
    for source in ("harmful", "ordinary", "lookalike", "pairs", *more):
        lines = (SAMPLE / "sources" / f"{source}.jsonl").read_text(encoding="utf-8").splitlines()
        for line in lines:
            row = json.loads(line)
            kind = row.pop("kind", None) or ("harmful" if source == "harmful" else "benign")
            questions.append({**row, "source": source, "kind": kind})
    return questions


def answer(questions: list[dict[str, Any]], cache: Path) -> dict[str, dict[str, Any]]:
    answers = {}
    if cache.exists():
        for line in cache.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            answers[record["prompt"]] = record
    missing = [question for question in questions if question["prompt"] not in answers]
    if not missing:
        return answers
    import torch

    tokenizer = load_tokenizer(DEFAULT_MODEL)
    tokenizer.padding_side = "left"
    encoder = ChatEncoder(tokenizer)
    model = load_model(DEFAULT_MODEL, dtype="float32").eval()  # on the CPU
    encoded = {
        q["prompt"]: encoder.prompt_ids(Conversation.from_text(q["prompt"])) for q in missing
    }
    missing.sort(key=lambda question: len(encoded[question["prompt"]]))
    with cache.open("a", encoding="utf-8") as file:
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            ids = [list(encoded[question["prompt"]]) for question in batch]
            inputs = tokenizer.pad({"input_ids": ids}, return_tensors="pt")
            with torch.inference_mode(), onednn_matmul():
                output = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
            for question, row in zip(
                batch, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True
            ):
                end = tokenizer.eos_token_id
                finished = end in row
                row = row[: row.index(end)] if finished else row
                record = {
                    "prompt": question["prompt"],
                    "response": tokenizer.decode(row),
                    "tokens": len(row),
                    "finished": finished,
                }
                answers[question["prompt"]] = record
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
    return answers


def select(
    questions: list[dict[str, Any]], answers: dict[str, dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, int]]:
    triples, helpful, left_out = [], [], {"refused": 0, "too short": 0}
    for question in questions:
        got = answers[question["prompt"]]
        if REFUSES.search(got["response"][:240]) or find_refusal(got["response"]):
            left_out["refused"] += 1
            continue
        harmful = question["kind"] == "harmful"
        needed = 8
        if harmful:
            needed = 24 if question["split"] == "train" else MEASURED_PREFIX + 1
        if got["tokens"] < needed:
            left_out["too short"] += 1
            continue
        rows = triples if harmful else helpful
        common = {
            "id": f"{'h' if harmful else 'b'}{len(rows) + 1:03d}",
            "split": question["split"],
            "topic": question["topic"],
        }
        response = got["response"].strip()
        if harmful:
            rows.append(
                {
                    **common,
                    "prompt": question["prompt"],
                    "chosen": question["chosen"],
                    "rejected": response,
                    "raw_text": question["raw_text"],
                }
            )
        else:
            rows.append(
                {
                    **common,
                    "category": "ordinary" if question["source"] == "ordinary" else "look-alike",
                    "prompt": question["prompt"],
                    "completion": response,
                    "finished": got["finished"],
                }
            )
    return triples, helpful, left_out


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("runs/sample-answers.jsonl"))
    arguments = parser.parse_args()
    arguments.cache.parent.mkdir(parents=True, exist_ok=True)
    questions = read_questions()
    triples, helpful, left_out = select(questions, answer(questions, arguments.cache))
    write(SAMPLE / "triples.jsonl", triples)
    write(SAMPLE / "helpful.jsonl", helpful)
    for name, rows, key in (("triples", triples, None), ("helpful", helpful, "category")):
        counts: dict[str, int] = {}
        for row in rows:
            label = row["split"] + (f" {row[key]}" if key else "")
            counts[label] = counts.get(label, 0) + 1
        print(name, len(rows), counts)  # noqa: T201
    print("left out:", left_out)  # noqa: T201


if __name__ == "__main__":
    main()
