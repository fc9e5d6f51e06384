"""Each finding, once where it is wrong and once where it is right; and what decides the exit code.

Not covered: how the report looks (test_report), how the sample is drawn (test_sample).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from derta.check_data import DataReport
from derta.check_data.findings import CODES, WARNED_FROM
from derta.data.encode import RowLimits
from derta.errors import DataError
from derta.train.recipe import Recipe, load_recipe
from tests.check_data.made import (
    HELPFUL,
    TRIPLES,
    Rows,
    changed,
    check,
    levels,
    write_data,
    write_rows,
)
from tests.tiny import TEMPLATE_WITH_NEWLINE, tiny_tokenizer, tokenizer_of

SYSTEMLESS = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
MAY = "How can I cheat at the pie contest of our little village on the first day of May?"
REFUSAL = "I'm sorry, but I can't help with that."
VAGUE = (
    "Well, that is a good thing to think about, and there is more than one way to do it. You could "
    "do this or that, and then you would see what comes of it, as people often do. It all depends "
    "on you and on how you want to go about it."
)
SAFE, HARMFUL = TRIPLES[0]["chosen"], TRIPLES[0]["rejected"]
SPOILT: dict[str, tuple[Rows, Rows]] = {
    "unreadable-rows": (changed(TRIPLES, 0, rejected=None), HELPFUL),
    "contradictory-responses": (
        [*TRIPLES, changed(TRIPLES, 0, chosen=HARMFUL, rejected=SAFE)[0]],
        HELPFUL,
    ),
    "refused-and-answered": (TRIPLES, changed(HELPFUL, 0, prompt=TRIPLES[0]["prompt"].upper())),
    "duplicate-rows": (
        [*TRIPLES, changed(TRIPLES, 1, chosen=f"{TRIPLES[1]['chosen']} \n")[1]],
        HELPFUL,
    ),
    "duplicate-prompts": (TRIPLES, changed(HELPFUL, 1, prompt=HELPFUL[2]["prompt"])),
    "near-duplicate-prompts": (
        changed(
            changed(TRIPLES, 0, prompt=MAY),
            1,
            prompt=MAY.replace("May", "June"),
        ),
        HELPFUL,
    ),
    "safe-does-not-refuse": (changed(TRIPLES, 0, chosen=f"Sure. {HARMFUL}"), HELPFUL),
    "safe-is-no-refusal": (
        changed(TRIPLES, 0, chosen="Sorry to hear that! A pie should have cherries."),
        HELPFUL,
    ),
    "harmful-refuses": (changed(TRIPLES, 0, rejected=REFUSAL), HELPFUL),
    "harmful-is-harmless": (changed(TRIPLES, 0, rejected=VAGUE), HELPFUL),
    "harmful-too-short": (changed(TRIPLES, 0, rejected="Well, who knows."), HELPFUL),
    "helpful-refuses": (TRIPLES, changed(HELPFUL, 1, completion=REFUSAL)),
    "other-refusal-word": (changed(TRIPLES, 0, chosen=f"I'm s{SAFE[1:]}"), HELPFUL),
    "cut-off-chosen": (changed(TRIPLES, 0, chosen=SAFE[:-9]), HELPFUL),
    "cut-off-completion": (TRIPLES, changed(HELPFUL, 1, completion=HELPFUL[1]["completion"][:-8])),
    "prompt-holds-response": (
        TRIPLES,
        changed(HELPFUL, 1, prompt=f"{HELPFUL[1]['prompt']} {HELPFUL[1]['completion']}"),
    ),
}
"""Data in which one thing is wrong; the other findings are listed in `ALSO`."""
ALSO = {
    "contradictory-responses": {
        *("duplicate-prompts", "safe-does-not-refuse", "harmful-refuses", "other-refusal-word"),
    },
    "duplicate-rows": {"duplicate-prompts"},
    "safe-does-not-refuse": {"other-refusal-word"},
}
"""What follows from the same mistake."""
NEED_A_MODEL = {"refusal-word-tokens", "template-refuses", "over-limit"}
NEED_HELD_OUT = {"leak-exact", "leak-near"}


def recipe(**overrides: Any) -> Recipe:
    return load_recipe("quickstart", [f"{key}={value}" for key, value in overrides.items()])


def test_in_clean_data_nothing_is_found(tmp_path: Path) -> None:
    report = check(tmp_path)
    assert levels(report) == {}
    assert not report.failed("warning")
    assert report.rows["triples"] == report.rows["helpful"] == 3


def test_every_finding_has_a_test() -> None:
    assert {*SPOILT, *NEED_A_MODEL, *NEED_HELD_OUT} == set(CODES)
    assert len(set(CODES)) == len(CODES)


@pytest.mark.parametrize("code", SPOILT)
def test_one_spoilt_row_is_one_finding_of_its_name(code: str, tmp_path: Path) -> None:
    report = check(tmp_path, *SPOILT[code])
    assert set(levels(report)) - ALSO.get(code, set()) == {code}
    (found,) = [finding for finding in report.findings if finding.code == code]
    level = "warning" if code in WARNED_FROM else "error"
    assert found.level == ("note" if code == "harmful-too-short" else level)
    assert found.share is not None
    # Exchanged responses contradict each other twice; near duplicates are two.
    pairs = ("near-duplicate-prompts", "contradictory-responses")
    assert found.share["count"] == (2 if code in pairs else 1)
    assert found.examples
    assert all(re.search(r"\.jsonl:\d", example.place) for example in found.examples)


def test_a_reason_counts_how_often_it_stands_there_and_where(tmp_path: Path) -> None:
    path = write_data(tmp_path) / "triples.jsonl"
    good = path.read_text(encoding="utf-8")
    path.write_text(
        good + '{"prompt": "", "chosen": "a", "rejected": "b"}\nnot json\n\nnot json, too\n',
        "utf-8",
    )
    with path.open("ab") as file:
        file.write(b'{"prompt": "\xff"}\n')
    report = check_again(tmp_path)
    assert {each["reason"]: each["count"] for each in report.unreadable} == {
        "the line is not JSON": 2,
        "prompt: the text is empty": 1,
        "byte N of the line is not UTF-8": 1,
    }
    assert report.rows["unreadable"] == 4
    assert report.rows["triples"] == 3
    places = {each["reason"]: each["places"] for each in report.unreadable}
    assert places["the line is not JSON"] == [f"{path}:5", f"{path}:7"]


def check_again(folder: Path, **options: Any) -> DataReport:
    from derta.check_data import check_data

    return check_data([folder], **options)


def test_data_without_any_usable_row_is_one_clear_error(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "rows.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "b"}] * 3
    )
    with pytest.raises(DataError, match=r"rows\.jsonl: no row can be used \(.*derta data import"):
        check_again(path)


# --- held-out questions --------------------------------------------------------------------------


def test_a_held_out_question_in_the_data_is_an_error_whatever_its_case(tmp_path: Path) -> None:
    questions = [
        {"question": TRIPLES[1]["prompt"].lower()},
        {"question": "How do tides come about?"},
    ]
    report = check(tmp_path, held_out=write_rows(tmp_path / "held.jsonl", questions))
    assert levels(report) == {"leak-exact": "error"}
    assert report.leaks is not None
    assert (report.leaks["exact"]["count"], report.leaks["questions"]) == (1, 2)
    assert report.findings[0].examples[0].place.endswith("held.jsonl:1")


def test_a_system_message_does_not_hide_a_held_out_question(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "You are a baker."},
        {"role": "user", "content": TRIPLES[0]["prompt"]},
    ]
    held = write_rows(tmp_path / "held.jsonl", [{"prompt": TRIPLES[0]["prompt"]}])
    report = check(tmp_path, changed(TRIPLES, 0, prompt=messages), held_out=held)
    assert "leak-exact" in levels(report)
    held = write_rows(tmp_path / "held.jsonl", [{"prompt": messages}])
    assert "leak-exact" in levels(check(tmp_path, held_out=held))


def test_a_held_out_question_with_another_word_is_a_warning(tmp_path: Path) -> None:
    held = write_rows(tmp_path / "held.jsonl", [{"prompt": MAY.replace("May", "June")}])
    report = check(tmp_path, changed(TRIPLES, 0, prompt=MAY), held_out=held)
    assert levels(report) == {"leak-near": "warning"}
    (finding,) = report.findings
    assert "triples.jsonl:1 ~ " in finding.examples[0].place


def test_other_held_out_questions_are_no_finding(tmp_path: Path) -> None:
    held = write_rows(tmp_path / "held.jsonl", [{"question": "How do tides come about?"}])
    report = check(tmp_path, held_out=held)
    assert levels(report) == {}
    assert report.leaks is not None


def test_held_out_rows_without_a_question_are_named(tmp_path: Path) -> None:
    held = write_rows(tmp_path / "held.jsonl", [{"prompt": "a b c"}, {"answer": "d"}])
    with pytest.raises(DataError, match=r"held\.jsonl:2: the row has no question"):
        check(tmp_path, held_out=held)


# --- with a model --------------------------------------------------------------------------------


def test_a_refusal_word_of_several_tokens_is_an_error(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    right = check(tmp_path, tokenizer=tokenizer)
    assert levels(right) == {}
    assert right.model_words == [
        {"word": "Sorry", "one_token": True, "problem": None, "needed": True}
    ]
    wrong = check(tmp_path, tokenizer=tokenizer, recipe=recipe(refusal_word="Unfortunatelyx"))
    assert levels(wrong)["refusal-word-tokens"] == "error"
    assert not wrong.model_words[0]["one_token"]


@pytest.mark.parametrize(
    ("overlong", "level"), [("error", "error"), ("skip", "warning"), ("truncate", "warning")]
)
def test_rows_over_the_recipes_limit_are_as_bad_as_the_recipe_takes_them(
    overlong: str, level: str, tmp_path: Path
) -> None:
    tokenizer = tiny_tokenizer()
    limits = {"rows.max_length": 4000, "rows.overlong": overlong}
    assert "over-limit" not in levels(check(tmp_path, tokenizer=tokenizer, recipe=recipe(**limits)))
    limits["rows.max_length"] = 100
    report = check(tmp_path, tokenizer=tokenizer, recipe=recipe(**limits))
    assert levels(report)["over-limit"] == level
    assert report.tokens is not None
    assert report.tokens["limit"] == 100


def test_lengths_in_tokens_are_those_that_training_counts(tmp_path: Path) -> None:
    from derta.data.encode import ChatEncoder, fit_row
    from derta.data.files import load_triples

    tokenizer = tiny_tokenizer()
    report = check(tmp_path, tokenizer=tokenizer)
    rows = load_triples(tmp_path / "triples.jsonl").checked()
    lengths = []
    for row in rows:
        fitted, _ = fit_row(row, RowLimits(10_000), ChatEncoder(tokenizer), ("", 1))
        assert fitted is not None
        lengths.append(sum(map(len, (fitted.prompt_ids, fitted.safe_ids, fitted.harmful_ids))))
    assert report.tokens is not None
    part = report.tokens["parts"]["triples.row"]
    assert (part["min"], part["max"], part["n"]) == (min(lengths), max(lengths), 3)


def test_rows_that_the_chat_template_refuses_are_an_error(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello there?"},
    ]
    helpful = changed(HELPFUL, 0, prompt=messages)
    report = check(
        tmp_path, helpful=helpful, tokenizer=tiny_tokenizer(SYSTEMLESS + TEMPLATE_WITH_NEWLINE)
    )
    assert levels(report) == {"template-refuses": "error"}
    assert levels(check(tmp_path, helpful=helpful, tokenizer=tiny_tokenizer())) == {}


# --- what is right -------------------------------------------------------------------------------


def test_an_unfinished_completion_that_says_so_is_no_finding(tmp_path: Path) -> None:
    cut = HELPFUL[1]["completion"][:-8]
    assert (
        levels(check(tmp_path, helpful=changed(HELPFUL, 1, completion=cut, finished=False))) == {}
    )


def test_a_prompt_with_two_responses_is_no_copy(tmp_path: Path) -> None:
    another = changed(HELPFUL, 0, completion="Look for its number with `pgrep`, then use `kill`.")[
        0
    ]
    report = check(tmp_path, helpful=[*HELPFUL, another])
    assert set(levels(report)) == {"duplicate-prompts"}
    assert report.repeats["prompts"]["groups"] == 1


def test_the_same_question_under_another_system_message_is_asked_twice(tmp_path: Path) -> None:
    rows = []
    for role in ("You are a gardener.", "You are a cook."):
        messages = [
            {"role": "system", "content": role},
            {"role": "user", "content": HELPFUL[1]["prompt"]},
        ]
        rows.append({"prompt": messages, "completion": f"{role} {HELPFUL[1]['completion']}"})
    report = check(tmp_path, helpful=rows)
    assert set(levels(report)) == {"duplicate-prompts"}
    assert report.repeats["rows"]["count"] == 0


@pytest.mark.parametrize(
    ("language", "chosen"),
    [
        ("zh", "抱歉，我不能帮助你在考试中作弊，因为这对其他同学不公平。"),  # noqa: RUF001
        ("fr", "Désolé, je ne peux pas vous aider à tricher à l'examen, car ce serait injuste."),
        ("de", "Entschuldigung, ich kann dir nicht beim Betrügen helfen, denn das wäre unfair."),
        ("es", "Lo siento, no puedo ayudarte a copiar en el examen, porque sería injusto."),
    ],
)
def test_refusals_of_other_languages_are_refusals_with_their_own_word(
    language: str, chosen: str, tmp_path: Path
) -> None:
    report = check(tmp_path, changed(TRIPLES, 2, chosen=chosen))
    assert levels(report) == {}
    (share,) = report.refusals["words"][language].values()
    assert share["count"] == 1


def test_a_recipes_refusal_word_is_the_one_that_counts(tmp_path: Path) -> None:
    rows = [dict(row, chosen=f"Unfortunately, {row['chosen'][7:]}") for row in TRIPLES]
    unlike = check(tmp_path, rows).refusals["right_word"]
    assert (unlike["count"], unlike["n"]) == (0, 3)
    found = check(
        tmp_path, rows, recipe=recipe(refusal_word="Unfortunately"), tokenizer=tiny_tokenizer()
    )
    assert found.refusals["right_word"]["count"] == 3


@pytest.mark.parametrize("words", ["{zh: 抱歉}", "auto"])
def test_a_recipe_with_words_by_language_wants_each_languages_own(
    words: str, tmp_path: Path
) -> None:
    rows = [*TRIPLES, {**TRIPLES[0], "prompt": "How?", "chosen": "抱歉,我不能帮助你作弊。"}]
    tokenizer = tiny_tokenizer()
    report = check(tmp_path, rows, recipe=recipe(refusal_words=words), tokenizer=tokenizer)
    assert report.refusals["right_word"]["count"] == 4
    assert [each["word"] for each in report.model_words] == ["Sorry", "抱歉"]
    only = check(tmp_path, rows, recipe=recipe(), tokenizer=tokenizer).refusals["right_word"]
    assert (only["count"], only["n"]) == (3, 4)


def test_of_two_words_the_first_one_is_the_token(tmp_path: Path) -> None:
    """A refusal token is one token, which "Lo siento" is in no vocabulary."""
    spanish = "Lo siento, no puedo ayudarte a copiar en el examen, porque sería injusto."
    rows = changed(TRIPLES, 2, chosen=spanish)
    tokenizer = tokenizer_of(["Sorry", "Lo"])
    for options in ({}, {"recipe": recipe(refusal_words="auto")}):
        report = check(tmp_path, rows, tokenizer=tokenizer, **options)
        assert [(each["word"], each["one_token"]) for each in report.model_words] == [
            ("Sorry", True),
            ("Lo", True),
        ]
        assert "refusal-word-tokens" not in levels(report)
        assert report.refusals["right_word"]["count"] == 3, "they begin with the whole opening"


def test_a_languages_word_of_several_tokens_is_an_error_only_if_a_recipe_asks_for_it(
    tmp_path: Path,
) -> None:
    rows = changed(TRIPLES, 2, chosen="Désolé, je ne peux pas vous aider à tricher à l'examen.")
    tokenizer = tokenizer_of(["Sorry"])
    for options, level in (
        ({}, "note"),
        ({"recipe": recipe(refusal_words="auto")}, "error"),
        ({"recipe": recipe()}, None),
    ):
        report = check(tmp_path, rows, tokenizer=tokenizer, **options)
        assert levels(report).get("refusal-word-tokens") == level


@pytest.mark.parametrize("mark", ["na", "N/A", "none", "NaN", "und", " "])
def test_a_language_that_is_missing_is_that_of_the_text(mark: str, tmp_path: Path) -> None:
    rows = [*TRIPLES, {**TRIPLES[0], "prompt": "How?", "chosen": "抱歉,我不能帮助你作弊。"}]
    rows = [{**row, "language": mark} for row in rows]
    report = check(tmp_path, rows, recipe=recipe(refusal_words="auto"), tokenizer=tiny_tokenizer())
    assert report.refusals["right_word"]["count"] == 4


# --- short harmful responses ---------------------------------------------------------------------

CHINESE: Rows = [
    {
        "prompt": f"怎样才能在第{number}家食堂插队而不被发现？",  # noqa: RUF001
        "chosen": "抱歉，我不能帮你插队，因为别人也在等。",  # noqa: RUF001
        "rejected": "假装接电话，然后慢慢走到前面。",  # noqa: RUF001
    }
    for number in "一二三四五六七八"
]


def test_short_concrete_chinese_responses_are_not_called_harmless(tmp_path: Path) -> None:
    report = check(tmp_path, [*TRIPLES, *CHINESE])
    found = levels(report)
    assert "harmful-is-harmless" not in found
    assert found["harmful-too-short"] == "note"
    assert report.stands["rejected"]["short"]["count"] == len(CHINESE)
    assert {code: (each["count"], each["n"]) for code, each in report.too_short.items()} == {
        "zh": (8, 8)
    }
    (finding,) = [each for each in report.findings if each.code == "harmful-too-short"]
    assert "zh 8 of 8" in finding.text


def test_a_harmful_response_that_breaks_off_is_asked_what_it_holds(tmp_path: Path) -> None:
    from derta.data.sample import sample_triples

    cut = [
        row.triple for row in sample_triples("train") if row.triple.harmful_response[-1:].isalpha()
    ]
    rows = [
        {
            "prompt": row.prompt.last_text,
            "chosen": row.safe_response,
            "rejected": row.harmful_response,
        }
        for row in cut[:40]
    ]
    ended = [{**row, "rejected": f"{row['rejected']}."} for row in rows]
    stands = [
        check(tmp_path, each).stands["rejected"]["harmless"]["count"] for each in (rows, ended)
    ]
    assert stands[0] == stands[1]


def test_the_share_of_harmless_ones_is_of_those_that_can_be_told(tmp_path: Path) -> None:
    rows = changed([*TRIPLES, *CHINESE], 0, rejected=VAGUE)
    (finding,) = [
        each for each in check(tmp_path, rows).findings if each.code == "harmful-is-harmless"
    ]
    assert finding.share is not None
    assert (finding.share["count"], finding.share["n"]) == (1, 3)
    assert finding.level == "warning"


# --- the exit code -------------------------------------------------------------------------------


def test_the_exit_code_follows_the_level_that_is_asked_for(tmp_path: Path) -> None:
    clean = check(tmp_path / "clean")
    warned = check(tmp_path / "warned", *SPOILT["helpful-refuses"])
    wrong = check(tmp_path / "wrong", *SPOILT["unreadable-rows"])
    codes = [
        [report.exit_code(level) for level in ("error", "warning", "never")]
        for report in (clean, warned, wrong)
    ]
    assert codes == [[0, 0, 0], [0, 1, 0], [1, 1, 0]]


def test_a_rare_flaw_is_a_note(tmp_path: Path) -> None:
    words = ("apples", "pears", "plums", "cherries", "quinces", "grapes", "figs", "nuts", "oats")
    rows = [
        {
            "prompt": f"What is good about {one} and {other} number {index}?",
            "completion": f"The {one} taste fresh, and the {other} keep for a long time.",
        }
        for index, (one, other) in enumerate((a, b) for a in words for b in words)
    ]
    rows[7]["completion"] = REFUSAL
    report = check(tmp_path, helpful=rows)
    found = {finding.code: finding.level for finding in report.findings}
    assert found["helpful-refuses"] == "note"
    assert not report.failed("error")
