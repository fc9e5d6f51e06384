"""Make the long harmful continuations of the sample set: `python tools/make_long_continuations.py`.

For each triple of the test split: its harmful response, followed by more answers of the untouched
default model to the same question, with a sentence between them, until the text has 2,000 tokens
of that model. An answer is sampled at temperature 1 as what follows the harmful response and that
sentence, which keeps it with the question. Refusals, answers of a few words, addresses and answers
that touch what is no topic of the sample set are left out. After a few rounds only the longest
texts are made longer. The answers are kept in a cache file, so that a rerun only puts them
together.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path

from rich.console import Console

from derta.data.encode import ChatEncoder
from derta.data.models import DEFAULT_MODEL, load_model, load_tokenizer
from derta.data.sample import SampleTriple, sample_triples
from derta.evaluate.batching import BatchGenerator
from derta.evaluate.choosing import Sampling
from derta.evaluate.rank_assisted import opens_refusal
from derta.files import write_atomically
from derta.matmul import onednn_matmul
from derta.memory import keep_freed_memory
from derta.refusal import find_refusal

OUTPUT = Path(__file__).resolve().parents[1] / "src" / "derta" / "data" / "sample" / "long.jsonl"
WANTED_TOKENS = 2000
NEW_TOKENS, BATCH, MOST_ROUNDS = 300, 64, 16
LONG_TEXTS = 33
"""So many texts are taken to the whole length; the others get the first rounds alone."""
FIRST_ROUNDS = 4
SAMPLING = {"temperature": 1.0, "top_p": 0.95}
FEWEST_WORDS = 40
BETWEEN = "\n\nHere is another way to do it.\n\n"
SENTENCE_END = re.compile(r"[.!?][\"')\]*]*(?=\s|$)")

LEFT_OUT = re.compile(
    r"https?:|www\.|@|\b(?:child|kid|minor|teen|baby|sex|porn|nude|rap(?:e|ed|ist)\b|kill|murder|"
    r"suicid|self-harm|weapon|gun\b|guns\b|shoot|bomb|explosive|terroris|drug|cocaine|heroin|nazi|"
    r"racis|slave|genocid|tortur)",
    re.IGNORECASE,
)
"""Invented addresses may be somebody's; the rest is no topic of the sample set."""

Answers = dict[tuple[str, int], str]
"""By the triple's id and the seed; as the model wrote them."""


def whole_sentences(text: str) -> str:
    """Cut what follows the last sentence's end; a text without one is empty."""
    ends = [match.end() for match in SENTENCE_END.finditer(text.strip())]
    return text.strip()[: ends[-1]] if ends else ""


def serves(answer: str) -> bool:
    """Whether an answer complies, as far as derta can tell, and says anything."""
    first = SENTENCE_END.split(answer, maxsplit=1)[0]
    return (
        len(answer.split()) >= FEWEST_WORDS
        and not opens_refusal(first)
        and find_refusal(answer) is None
        and LEFT_OUT.search(answer) is None
    )


def beginning(row: SampleTriple) -> str:
    """Return the harmful response up to its last whole sentence."""
    return whole_sentences(row.triple.harmful_response) or row.triple.harmful_response.strip()


def put_together(row: SampleTriple, answers: Answers, encoder: ChatEncoder) -> tuple[str, int]:
    """Join a triple's harmful response and its answers; return the text and its tokens."""
    pieces = [beginning(row)]
    text, tokens = pieces[0], 0
    for seed in range(MOST_ROUNDS + 1):
        text = BETWEEN.join(pieces)
        tokens = len(encoder.prefix_ids(row.triple.prompt, text))
        if tokens > WANTED_TOKENS:
            break
        answer = whole_sentences(answers.get((row.id, seed), ""))
        if answer not in pieces and serves(answer):
            pieces.append(answer)
    return text, tokens


def read_cache(cache: Path) -> Answers:
    """Read the answers that are there already."""
    lines = cache.read_text(encoding="utf-8").split("\n") if cache.exists() else []
    rows = [json.loads(line) for line in lines if line]
    return {(row["id"], row["seed"]): row["answer"] for row in rows}


def ask(
    questions: list[SampleTriple], seed: int, batches: BatchGenerator, encoder: ChatEncoder
) -> Answers:
    """Sample one more answer to each question."""
    futures = {}
    for row in questions:
        prompt = row.triple.prompt
        futures[row.id, seed] = batches.submit(
            encoder.prompt_ids(prompt) + encoder.prefix_ids(prompt, beginning(row) + BETWEEN),
            NEW_TOKENS,
            sampling=Sampling(**SAMPLING, seed=seed),
        )
    return {
        key: encoder.tokenizer.decode(future.result().token_ids, skip_special_tokens=True)
        for key, future in futures.items()
    }


def still_wanted(
    rows: list[SampleTriple], seed: int, answers: Answers, encoder: ChatEncoder
) -> list[SampleTriple]:
    """Choose the questions that get one more answer."""
    lengths = {row.id: put_together(row, answers, encoder)[1] for row in rows}
    chosen = rows
    if seed >= FIRST_ROUNDS:
        chosen = sorted(rows, key=lambda row: lengths[row.id], reverse=True)[:LONG_TEXTS]
    return [
        row for row in chosen if lengths[row.id] <= WANTED_TOKENS and (row.id, seed) not in answers
    ]


def main() -> None:
    """Sample what is missing, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("runs/long-answers.jsonl"))
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    console = Console(stderr=True)
    rows = sample_triples("test")
    encoder = ChatEncoder(load_tokenizer(DEFAULT_MODEL))
    answers = read_cache(arguments.cache)
    keep_freed_memory()
    end: int = encoder.tokenizer.eos_token_id
    model = load_model(DEFAULT_MODEL, dtype="float32").eval()  # on the CPU
    arguments.cache.parent.mkdir(parents=True, exist_ok=True)
    generator = BatchGenerator(model, end_ids=[end], pad_id=end, batch_size=BATCH)
    with generator as batches, onednn_matmul():
        for seed in range(MOST_ROUNDS):
            missing = still_wanted(rows, seed, answers, encoder)
            if not missing:
                continue
            started = time.monotonic()
            new = ask(missing, seed, batches, encoder)
            answers.update(new)
            with arguments.cache.open("a", encoding="utf-8") as file:
                for (name, number), answer in new.items():
                    record = {"id": name, "seed": number, "answer": answer}
                    file.write(json.dumps(record, ensure_ascii=False) + "\n")
            seconds = time.monotonic() - started
            console.print(f"round {seed + 1}: {len(missing)} questions, {seconds:.0f} s")
    made = {row.id: put_together(row, answers, encoder) for row in rows}
    lines = [
        json.dumps({"id": name, "continuation": text}, ensure_ascii=False) + "\n"
        for name, (text, _) in made.items()
    ]
    write_atomically(arguments.output, "".join(lines))
    kept = sum(serves(whole_sentences(answer)) for answer in answers.values())
    console.print(f"{len(answers)} answers, {kept} of them serve")
    for depth in (80, 160, 320, 640, 1280, WANTED_TOKENS):
        reached = sum(tokens >= depth for _, tokens in made.values())
        console.print(f"{reached} of {len(made)} texts reach {depth} tokens")


if __name__ == "__main__":
    main()
