"""The schema of results.json: what is refused, and that the documentation says the same."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from derta.errors import DertaError
from derta.report import ResultsError, check_results, load_results, render_report, schema
from tests.report.fake_results import full_results, minimal_results

DOCUMENT = Path(__file__).parents[2] / "docs" / "results-schema.md"


def fields_in_the_code() -> dict[str, dict[str, str]]:
    found = {}
    for name, part in inspect.getmembers(schema, inspect.isclass):
        if issubclass(part, BaseModel) and part is not BaseModel and not name.startswith("_"):
            found[name] = {
                field.alias or key: "always" if field.is_required() else "optional"
                for key, field in part.model_fields.items()
            }
    return found


def fields_in_the_document() -> dict[str, dict[str, str]]:
    found = {}
    for part in re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        name = part.partition("\n")[0].strip()
        found[name] = dict(re.findall(r"^\| `([^`]+)` \| (\w+) \|", part, flags=re.MULTILINE))
    return found


def test_the_document_lists_every_field_of_the_code_and_no_other():
    assert fields_in_the_document() == fields_in_the_code()


def test_the_full_fixture_fills_every_field():
    def keys(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*(keys(part) for part in value.values()))
        return set().union(*(keys(part) for part in value)) if isinstance(value, list) else set()

    documented = {key for fields in fields_in_the_code().values() for key in fields}
    assert documented <= keys(full_results())


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        (("schema",), "derta/results/9", "schema"),
        (("models",), "three", "models"),
        (("models", 1, "name"), "other", "models[1].name"),
        (("models", 2, "prefill", 0, "k"), -1, "models[2].prefill[0].k"),
        (("models", 0, "raw_text", "refused", "count"), 99, "models[0].raw_text.refused"),
        (("models", 0, "raw_text", "refused", "low"), 7.0, "models[0].raw_text.refused"),
        (
            ("models", 2, "refusal_probability", "benign", "mean"),
            [0.5],
            "models[2].refusal_probability.benign",
        ),
        (
            ("models", 0, "false_refusals", "look-alike", "n"),
            "many",
            "models[0].false_refusals.look-alike.n",
        ),
        (("examples", 0, "responses", "derta", "text"), None, "examples[0].responses.derta.text"),
        (
            ("examples", 0, "responses", "derta", "refusal_span"),
            [0, 10_000],
            "examples[0].responses.derta",
        ),
        (("bounds", 0, "name"), 3, "bounds[0].name"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_by_its_key(path, value, key):
    results = full_results()
    place = results
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(DertaError) as caught:
        render_report(results, "runs/x/results.json")
    assert f"runs/x/results.json ({key})" in str(caught.value)


def test_all_bad_keys_are_named_not_only_the_first():
    results = minimal_results()
    del results["models"][0]["name"]
    results["seed"] = "seven"
    with pytest.raises(ResultsError) as caught:
        check_results(results)
    assert {problem.key for problem in caught.value.problems} == {"models[0].name", "seed"}


def test_a_model_cannot_occur_twice():
    results = minimal_results()
    results["models"].append({"name": "derta"})
    with pytest.raises(ResultsError, match="occurs twice"):
        check_results(results)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"{\n]", r"results\.json:2: is not JSON"), (b"\xff", "is not UTF-8"), (b"[]", "dictionary")],
)
def test_a_file_that_is_not_results_says_why(tmp_path, content, said):
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match=said):
        load_results(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ResultsError, match=r"nowhere\.json: no such file"):
        load_results(tmp_path / "nowhere.json")


def test_results_come_back_as_they_stand_in_the_file(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(full_results()), encoding="utf-8")
    assert load_results(path) == full_results()


def test_keys_of_later_versions_and_not_a_number_are_let_through():
    results = full_results()
    results["new"] = results["models"][0]["new"] = 1
    results["models"][0]["helpful_loss"]["nats"] = float("nan")
    assert check_results(results).models[0].helpful_loss.nats is None
