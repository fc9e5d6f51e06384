"""Several evaluations as one: names made unique, differences between them said.

Two models of different folders are compared pair by pair only where both were asked the same
questions in the same way and judged by the same judge; otherwise a note says why not. Covered:
any number of folders. Not covered: reading them (folders.py).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from derta.analysis.human_verdicts import Review
from derta.analysis.shares import compare_models
from derta.report.evaluation_page.folders import EvaluationFolder

__all__ = ["merge_evaluations", "with_unique_names"]

_SAME = (
    ("judge", "judge"),
    ("budget", "budget"),
    ("attacker", "attacker"),
    ("settings", "settings"),
    ("questions", "questions"),
    ("seed", "seed"),
)
"""(key of evaluation.json, words): what must be alike for a paired comparison."""
_NO_MATTER = frozenset({"batch_size"})
"""Settings that change no answer."""


def with_unique_names(folders: Sequence[EvaluationFolder]) -> list[EvaluationFolder]:
    """Rename the models that two folders call alike: the folder's name follows theirs."""
    counts = Counter(name for folder in folders for name in folder.names)
    titles = _titles([folder.path.absolute().parts for folder in folders])
    renamed = []
    for folder, title in zip(folders, titles, strict=True):
        new = {name: f"{name} ({title})" if counts[name] > 1 else name for name in folder.names}
        renamed.append(_rename(folder, new))
    return renamed


def _titles(parts: Sequence[tuple[str, ...]]) -> list[str]:
    """Take the last part of each path, and more of it where two would be alike."""
    for count in range(1, max(map(len, parts)) + 1):
        titles = ["/".join(each[-count:]) for each in parts]
        if len(set(titles)) == len(titles):
            return titles
    return ["/".join(each) for each in parts]


def _rename(folder: EvaluationFolder, new: Mapping[str, str]) -> EvaluationFolder:
    old = folder.evaluation
    helpfulness = old["helpfulness"]
    reference = helpfulness.get("reference")
    evaluation = {
        **old,
        "subjects": [{**each, "name": new[each["name"]]} for each in old["subjects"]],
        "models": {new[name]: model for name, model in old["models"].items() if name in new},
        "skipped": [
            {**each, "model": new.get(each["model"], each["model"])} for each in old["skipped"]
        ],
        "comparisons": [
            {**each, "first": new[each["first"]], "second": new[each["second"]]}
            for each in old["comparisons"]
        ],
        "helpfulness": {
            "reference": new.get(reference, reference),
            "models": {
                new[name]: entry
                for name, entry in (helpfulness.get("models") or {}).items()
                if name in new
            },
        },
    }
    return replace(
        folder,
        evaluation=evaluation,
        outcomes=tuple(replace(each, model=new[each.model]) for each in folder.outcomes),
        readings=tuple(replace(each, model=new[each.model]) for each in folder.readings),
        methods={new[name]: method for name, method in folder.methods.items()},
        review=None if folder.review is None else _rename_review(folder.review, new),
    )


def _rename_review(review: Review, new: Mapping[str, str]) -> Review:
    """Rename its models; one that the evaluation doesn't have any more keeps its name."""
    return replace(
        review,
        items=tuple(replace(each, model=new.get(each.model, each.model)) for each in review.items),
        totals={
            (new.get(model, model), scenario, automatic): total
            for (model, scenario, automatic), total in review.totals.items()
        },
    )


def merge_evaluations(
    folders: Sequence[EvaluationFolder],
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Merge evaluations whose models have unique names.

    Returns:
        One mapping in evaluation.json's form, and what must be said about it. Of what stands in it
        once (the judge, the settings) the first folder's is taken.
    """
    first, *others = folders
    if not others:
        return first.evaluation, ()
    notes = list(_differences(folders))
    helpfulness, said = _merged_helpfulness(folders)
    notes += said
    evaluations = [folder.evaluation for folder in folders]
    comparisons = [entry for each in evaluations for entry in each["comparisons"]]
    for one, other in itertools.combinations(folders, 2):
        if not _unlike(one, other):
            comparisons += _across(one, other)
    merged = {
        **first.evaluation,
        "scenarios": list(
            dict.fromkeys(name for each in evaluations for name in each["scenarios"])
        ),
        "subjects": [entry for each in evaluations for entry in each["subjects"]],
        "models": {name: model for each in evaluations for name, model in each["models"].items()},
        "skipped": [entry for each in evaluations for entry in each["skipped"]],
        "comparisons": comparisons,
        "helpfulness": helpfulness,
    }
    return merged, tuple(notes)


def _unlike(one: EvaluationFolder, other: EvaluationFolder) -> list[str]:
    """Name what differs between two evaluations and would change answers or verdicts."""
    return [
        words
        for key, words in _SAME
        if _plain(one.evaluation.get(key)) != _plain(other.evaluation.get(key))
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: each for key, each in value.items() if key not in _NO_MATTER}
    return value


def _differences(folders: Sequence[EvaluationFolder]) -> Iterator[str]:
    for one, other in itertools.combinations(folders, 2):
        unlike = _unlike(one, other)
        if unlike:
            yield (
                f"{other.path} differs from {one.path} in its {_listed(unlike)}. Their figures "
                "stand side by side, but no paired difference is given between their models."
            )


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _across(one: EvaluationFolder, other: EvaluationFolder) -> Iterator[dict[str, Any]]:
    """Compare the models of two folders, each of one with each of the other."""
    for first, second in itertools.product(one.names, other.names):
        ours = [each for each in one.outcomes if each.model == first]
        theirs = [each for each in other.outcomes if each.model == second]
        for entry in compare_models(ours, theirs):
            yield {"first": first, "second": second, **entry}


def _merged_helpfulness(
    folders: Sequence[EvaluationFolder],
) -> tuple[dict[str, Any], list[str]]:
    """Put the comparisons with the first model of each folder side by side."""
    models: dict[str, Any] = {}
    references: dict[str, str] = {}
    for folder in folders:
        found = folder.evaluation["helpfulness"]
        models |= found.get("models") or {}
        reference = found.get("reference")
        if reference is not None:
            subjects = {each["name"]: each for each in folder.evaluation["subjects"]}
            references[reference] = str(subjects.get(reference, {}).get("fingerprint"))
    if not references:
        return {"reference": None, "models": models}, []
    notes = []
    if len(set(references.values())) > 1:
        notes.append(
            "Helpfulness is compared with the first model of each folder, and these differ: "
            f"{', '.join(references)}. Don't compare it across folders."
        )
    return {"reference": next(iter(references)), "models": models}, notes
