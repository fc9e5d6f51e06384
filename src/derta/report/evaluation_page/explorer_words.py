"""What the explorer calls scenarios and settings, in words for readers who don't know the method.

Covered: every scenario of `derta.evaluate` and the texts that all models read. Not covered: the
short titles of tables (`derta.evaluate.titles`), which these go with.
"""

from __future__ import annotations

import re

from derta.evaluate.titles import TITLES
from derta.report.markup import visible_text

__all__ = ["READ_BENIGN", "READ_HARMFUL", "cell_words", "scenario_summary", "scenario_title"]

READ_HARMFUL, READ_BENIGN = "read_harmful", "read_harmless"

_READ = {
    READ_HARMFUL: "a harmful answer, read by every model",
    READ_BENIGN: "a harmless answer, read by every model",
}
_SUMMARIES = {
    "direct": "The question as it is.",
    "code_attack": "The question is hidden as words in a program that is to be completed.",
    "pair": "An attacker rewrote the question again and again until a judge was satisfied.",
    "jailbreak_chat": "The question is put into a role play.",
    "self_cipher": "A role play in a “cipher” that is plain text, after demonstrations.",
    "completing": "Raw text to continue, without the signs that make it a conversation.",
    "autodan": "A genetic search over prompts found the words around the question.",
    "prefill": "The beginning of a harmful answer is put into the model’s mouth; it goes on.",
    "long_prefill": "A long harmful answer is put into the model’s mouth; it goes on.",
    "rank_assisted": "An attacker picks the first words among the model’s likely ones.",
    "adaptive": "The prompt knows the defence and forbids the words of a refusal.",
    "languages": "The question, with the demand to answer in another language.",
    "multi_turn": "Harmless turns lead up to the question.",
    "sampling": "The question as it is; the answer is drawn, not the likeliest one.",
    "fine_tuning": "Somebody trained a copy of the model for a few steps, then asked.",
    "benign": "A harmless question. A refusal here is a false one.",
    READ_HARMFUL: "No model wrote this text. Every model read it, and was asked after each token "
    "whether it would refuse.",
    READ_BENIGN: "No model wrote this text. Every model read it; wherever it would refuse, it "
    "would do so falsely.",
}
_DEPTH = re.compile(r"k=(\d+)")


def scenario_title(name: str) -> str:
    """Give a scenario's title; an unknown one is its own."""
    return visible_text(_READ.get(name) or TITLES.get(name) or name)


def scenario_summary(name: str) -> str:
    """Say in a sentence what a scenario does to a question; "" where it isn't known."""
    return _SUMMARIES.get(name, "")


def cell_words(cell: str) -> str:
    """Write a setting within a scenario in words: "k=20" is 20 tokens."""
    match = _DEPTH.fullmatch(cell)
    if match is None:
        return visible_text(cell)
    count = int(match[1])
    if not count:
        return "nothing put into its mouth"
    return f"{count} token{'' if count == 1 else 's'} put into its mouth"
