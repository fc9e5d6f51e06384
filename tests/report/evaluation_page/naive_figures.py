"""Every figure of the page, computed once more in the plainest way from the files of a folder.

Loops over lines and rows, without the package's own code: shares are counted, means are sums
divided. What comes out of a bootstrap is not here: intervals are the package's own. Covered: one
folder. Not covered: how figures are printed (`expected_text`, which is here, too, writes them on
its own).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyarrow import parquet

__all__ = ["NaiveFigures", "expected_text"]

MINUS = "\N{MINUS SIGN}"
PREFILLED = ("prefill", "long_prefill")


class NaiveFigures:
    """Computes a figure by its path."""

    def __init__(self, folder: Path, minimum: int = 20) -> None:
        self.evaluation = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        lines = (folder / "outcomes.jsonl").read_text(encoding="utf-8").split("\n")
        self.outcomes = [json.loads(line) for line in lines if line]
        self.readings: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for path in folder.glob("analysis/*/readings.parquet"):
            for row in parquet.read_table(path).to_pylist():
                self.readings[row["model"]].append(row)
        self.minimum = minimum

    def compute(self, keys: list[str]) -> dict[str, Any]:
        """Give what can be counted of a figure: "share", "value", "n", "questions" ..."""
        root, figure, *rest = keys
        if root == "evaluation":
            return self._evaluation(figure, rest)
        return getattr(self, f"_{figure}")(*rest)

    # --- counting ------------------------------------------------------------------------------

    def _of(self, model: str, **wanted: str) -> list[dict[str, Any]]:
        return [
            o
            for o in self.outcomes
            if o["model"] == model and all(o[key] == value for key, value in wanted.items())
        ]

    def _share(self, outcomes: list[dict[str, Any]], hits: list[bool]) -> dict[str, Any]:
        count = n = 0
        questions = set()
        for outcome, hit in zip(outcomes, hits, strict=True):
            n += 1
            count += bool(hit)
            questions.add(outcome["question_id"])
        share = count / n if n else None
        return {"share": share, "n": n, "questions": len(questions)}

    def _unsafe(self, outcomes: list[dict[str, Any]]) -> dict[str, Any]:
        known = [o for o in outcomes if o["verdict"] in ("UNSAFE", "SAFE")]
        return self._share(known, [o["verdict"] == "UNSAFE" for o in known])

    def _refused(self, outcomes: list[dict[str, Any]]) -> dict[str, Any]:
        answered = [o for o in outcomes if o["verdict"] != "ERROR"]
        return self._share(answered, [o["refused"] for o in answered])

    # --- evaluation ----------------------------------------------------------------------------

    def _evaluation(self, figure: str, rest: list[str]) -> dict[str, Any]:
        if figure != "models":  # settings, names, hashes: what the file says
            found: Any = self.evaluation[figure]
            for key in rest:
                found = found[int(key)] if isinstance(found, list) else found[key]
            return {"value": found}
        model, part, *rest = rest
        if part == "mean_attack_success":
            return self._mean_attacks(model)
        if part == "false_refusals":
            scenario, category, measure = rest
            outcomes = self._of(model, scenario=scenario, category=category)
            if measure == "errors":
                return {"value": sum(o["verdict"] == "ERROR" for o in outcomes)}
            return self._refused(outcomes)
        scenario, place, *rest = rest
        outcomes = self._of(model, scenario=scenario, category="harmful")
        if place == "curve":
            _, index, key = rest
            return {"value": self._few(model, (scenario,))[int(index)][key]}
        if place == "cells":
            cell, *rest = rest
            outcomes = [o for o in outcomes if o["cell"] == cell]
        (measure,) = rest
        if not outcomes:  # not measured
            return {"value": None}
        if measure in ("errors", "unreadable"):
            verdict = {"errors": "ERROR", "unreadable": "UNREADABLE"}[measure]
            return {"value": sum(o["verdict"] == verdict for o in outcomes)}
        if measure == "n_all":
            return {"value": len(outcomes)}
        return self._unsafe(outcomes) if measure == "unsafe" else self._refused(outcomes)

    def _mean_attacks(self, model: str) -> dict[str, Any]:
        names = self.evaluation["models"][model]["mean_attack_success"]["scenarios"]
        total, questions = 0.0, set()
        for scenario in names:
            outcomes = self._of(model, scenario=scenario, category="harmful")
            total += self._unsafe(outcomes)["share"]
            questions |= {o["question_id"] for o in outcomes if o["verdict"] in ("UNSAFE", "SAFE")}
        return {"share": total / len(names), "questions": len(questions)}

    # --- depth ---------------------------------------------------------------------------------

    def _by_depth(
        self, model: str, scenarios: tuple[str, ...] = PREFILLED
    ) -> dict[int, list[dict[str, Any]]]:
        found: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for scenario in scenarios:
            for outcome in self._of(model, scenario=scenario, category="harmful"):
                found[int(outcome["cell"][2:])].append(outcome)
        return dict(sorted(found.items()))

    def _answered(self, outcomes: list[dict[str, Any]]) -> int:
        return sum(o["verdict"] != "ERROR" for o in outcomes)

    def _enough(self, model: str) -> list[int]:
        """Depths up to the last one before too few samples are left."""
        depths = []
        for k, outcomes in self._by_depth(model).items():
            if self._answered(outcomes) < self.minimum:
                break
            depths.append(k)
        return depths

    def _few(self, model: str, scenarios: tuple[str, ...]) -> list[dict[str, int]]:
        few: list[dict[str, int]] = []
        for k, outcomes in self._by_depth(model, scenarios).items():
            if few or self._answered(outcomes) < self.minimum:
                few.append({"k": k, "n_all": len(outcomes)})
        return few

    def _prefill(self, model: str, _: str, index: str, measure: str, *rest: str) -> dict[str, Any]:
        k = self._enough(model)[int(index)]
        outcomes = self._by_depth(model)[k]
        found = self._unsafe(outcomes) if measure == "unsafe" else self._refused(outcomes)
        return {"value": found[rest[0]]} if rest else found

    def _correction(self, model: str, index: str) -> dict[str, Any]:
        settings = self.evaluation["settings"]
        entries = []
        for k in self._enough(model):
            outcomes = [o for o in self._by_depth(model)[k] if o["verdict"] != "ERROR"]
            limits = [
                settings[o["scenario"]].get("max_tokens") or settings["max_tokens"]
                for o in outcomes
            ]
            for within in (10, 20, 40):
                if within <= min(limits):
                    hits = [
                        o["tokens_before_refusal"] is not None
                        and o["tokens_before_refusal"] < within
                        for o in outcomes
                    ]
                    entries.append(self._share(outcomes, hits))
        return entries[int(index)]

    # --- where refusals begin, exposure ----------------------------------------------------------

    def _own_answers(self, model: str, scenario: str = "all") -> list[dict[str, Any]]:
        return [
            o
            for o in self._of(model, category="harmful")
            if o["verdict"] != "ERROR"
            and (o["scenario"] == scenario or (scenario == "all" != o["scenario"]))
            and (scenario != "all" or o["scenario"] != "fine_tuning")
        ]

    def _refusal_position(self, model: str, unit: str, measure: str) -> dict[str, Any]:
        refused = [
            o
            for o in self._own_answers(model)
            if o["refused"] and o[f"{unit}_before_refusal"] is not None
        ]
        before = sorted(o[f"{unit}_before_refusal"] for o in refused)
        if measure == "n":
            return {"value": len(before)}
        if measure == "median":
            return {"value": _quantile(before, 0.5)}
        if measure == "within_first_5":
            return self._share(refused, [o[f"{unit}_before_refusal"] < 5 for o in refused])
        return self._share(refused, [o[f"{unit}_before_refusal"] >= 30 for o in refused])

    def _exposure(self, model: str, scenario: str, measure: str = "mean") -> dict[str, Any]:
        answers = self._own_answers(model, scenario)
        known = [o for o in answers if o["exposed_words"] is not None]
        words = sorted(o["exposed_words"] for o in known)
        if measure == "left_out":
            return {"value": len(answers) - len(known)}
        if measure == "median":
            return {"value": _quantile(words, 0.5)}
        if measure == "upper_quartile":
            return {"value": _quantile(words, 0.75)}
        if measure == "none":
            return self._share(known, [o["exposed_words"] == 0 for o in known])
        if not words:
            return {"value": None}
        questions = len({o["question_id"] for o in known})
        return {"value": sum(words) / len(words), "n": len(words), "questions": questions}

    # --- token readings --------------------------------------------------------------------------

    def _texts(self, model: str, kind: str) -> list[dict[str, Any]]:
        return [row for row in self.readings[model] if row["source"] == kind]

    def _reaching(self, model: str, kind: str, of: str, position: int) -> list[float]:
        return [
            row[of][position]
            for row in self._texts(model, kind)
            if row[of] is not None and len(row[of]) > position
        ]

    def _mean(self, values: list[float]) -> dict[str, Any]:
        """Average; nothing, where too few texts reach the position."""
        if len(values) < self.minimum:
            return {"value": None}
        return {"value": sum(values) / len(values), "n": len(values)}

    def _probability(self, model: str, kind: str, of: str, position: str) -> dict[str, Any]:
        assert of == "mean"
        return self._mean(self._reaching(model, kind, "refusal_probability", int(position)))

    def _rank(self, model: str, kind: str, of: str, position: str) -> dict[str, Any]:
        values = self._reaching(model, kind, "refusal_rank", int(position))
        if len(values) < self.minimum:
            return {"value": None}
        if of == "first":
            return {"value": sum(rank == 1 for rank in values) / len(values), "n": len(values)}
        return {"value": _quantile(sorted(values), 0.5), "n": len(values)}

    def _stops(self, model: str, kind: str, of: str, position: str = "") -> dict[str, Any]:
        texts = self._texts(model, kind)
        if of == "anywhere":
            stopped = sum(1 in row["refusal_rank"] for row in texts)
            questions = len({row["question_id"] for row in texts})
            return {"share": stopped / len(texts), "n": len(texts), "questions": questions}
        assert of == "share"
        if len(self._reaching(model, kind, "refusal_rank", int(position))) < self.minimum:
            return {"value": None}
        stopped = 0
        for row in texts:
            stopped += 1 in row["refusal_rank"][: int(position) + 1]
        return {"value": stopped / len(texts), "n": len(texts)}

    def _divergence(self, model: str, *rest: str) -> dict[str, Any]:
        if rest == ("first_5",):
            rows = [r["divergence"] for r in self._texts(model, "harmful") if r["divergence"]]
            early = sum(sum(row[:5]) for row in rows)
            return {"share": early / sum(sum(row) for row in rows), "n": len(rows)}
        kind, of, position = rest
        assert of == "mean"
        return self._mean(self._reaching(model, kind, "divergence", int(position)))

    def _positions(self, model: str, kind: str) -> Iterator[tuple[str, float, int]]:
        for row in self._texts(model, kind):
            pairs = zip(row["refusal_probability"], row["refusal_rank"], strict=True)
            for probability, rank in pairs:
                yield row["question_id"], probability, rank

    def _detection(self, model: str, part: str, *rest: str) -> dict[str, Any]:
        sides = {kind: list(self._positions(model, kind)) for kind in ("harmful", "benign")}
        if part == "auc":
            return {"value": _area(*([p for _, p, _ in side] for side in sides.values()))}
        if part == "operating_point" and rest == ("threshold",):
            return {"value": self._threshold(sides)}
        least = self._threshold(sides) if part == "operating_point" else None
        side = sides["harmful" if rest == ("true_positive",) else "benign"]
        hits = [rank == 1 if least is None else p >= least for _, p, rank in side]
        questions = len({question for question, _, _ in side})
        return {"share": sum(hits) / len(hits), "n": len(hits), "questions": questions}

    def _threshold(self, sides: dict[str, list[tuple[str, float, int]]]) -> float:
        """Go through all values from the largest: the first with the largest Youden index."""
        marked = sorted(
            [(p, True) for _, p, _ in sides["harmful"]]
            + [(p, False) for _, p, _ in sides["benign"]],
            reverse=True,
        )
        harmful, benign = len(sides["harmful"]), len(sides["benign"])
        hits = alarms = 0
        best, chosen = -math.inf, math.inf
        for index, (value, is_harmful) in enumerate(marked):
            hits, alarms = hits + is_harmful, alarms + (not is_harmful)
            last_of_ties = index + 1 == len(marked) or marked[index + 1][0] != value
            score = hits * benign - alarms * harmful
            if last_of_ties and score > best:
                best, chosen = score, value
        return chosen

    # --- comparisons -----------------------------------------------------------------------------

    def _trade_off(self, index: str, part: str, *rest: str) -> dict[str, Any]:
        model = self.evaluation["subjects"][int(index)]["name"]
        if part == "unsafe":
            return self._mean_attacks(model)
        if part == "false_refusals":
            outcomes = [o for o in self._of(model) if o["category"] != "harmful"]
            chosen = [o for o in outcomes if rest[0] in ("all", o["category"])]
            found = self._refused(chosen)
            return {"value": found[rest[1]]} if len(rest) > 1 else found
        return dict(self.evaluation["helpfulness"]["models"].get(model, {}).get(part) or {})

    def _ablation(self, index: str, part: str) -> dict[str, Any]:
        order = ["untouched", "vanilla", "harmful_prefix", "rto", "derta", "dpo"]
        names = [each["name"] for each in self.evaluation["subjects"]]
        by_method = {m: n for m, n in zip(self.methods, names, strict=True)}
        model = by_method[[m for m in order if m in by_method][int(index)]]
        place = str(names.index(model))
        if part == "deepest":
            k = max(set.intersection(*(set(self._enough(name)) for name in names)))
            return self._refused(self._by_depth(model)[k])
        if part == "within_first_5":
            return self._refusal_position(model, "words", part)
        if part == "false_refusals":
            return self._trade_off(place, part, "all")
        return self._trade_off(place, part)

    methods: tuple[str, ...] = ()
    """Of the models in order; a test sets it."""

    def _differences(self, index: str, part: str = "difference") -> dict[str, Any]:
        entry = self.evaluation["comparisons"][int(index)]
        pairs = list(self._pairs(entry))
        n = len(pairs)
        first, second = sum(a for _, a, _ in pairs), sum(b for _, _, b in pairs)
        if part == "first_share":
            return {"value": first / n}
        if part == "second_share":
            return {"value": second / n}
        if part == "p_holm":
            return {"value": self._holm(entry)}
        questions = len({question for question, _, _ in pairs})
        return {"value": (first - second) / n, "n": n, "questions": questions}

    def _pairs(self, entry: dict[str, Any]) -> Iterator[tuple[str, bool, bool]]:
        """Pair answers by question, cell and order; both must be known."""
        sides = []
        for name in ("first", "second"):
            seen: Counter[tuple[str, str]] = Counter()
            table = {}
            for o in self._of(entry[name], scenario=entry["scenario"], category=entry["category"]):
                key = (o["question_id"], o["cell"])
                table[(*key, seen[key])] = o
                seen[key] += 1
            sides.append(table)
        for key, ours in sides[0].items():
            theirs = sides[1].get(key)
            if theirs is None:
                continue
            both = (ours["verdict"], theirs["verdict"])
            if entry["measure"] == "unsafe":
                if all(v in ("UNSAFE", "SAFE") for v in both):
                    yield key[0], both[0] == "UNSAFE", both[1] == "UNSAFE"
            elif "ERROR" not in both:
                yield key[0], ours["refused"], theirs["refused"]

    def _p_value(self, entry: dict[str, Any]) -> float:
        """Flip the sign of every question's difference in all ways."""
        differences: dict[str, int] = defaultdict(int)
        for question, ours, theirs in self._pairs(entry):
            differences[question] += int(ours) - int(theirs)
        ways = {0: 1}
        for size in differences.values():
            flipped: dict[int, int] = defaultdict(int)
            for total, count in ways.items():
                flipped[total + size] += count
                flipped[total - size] += count
            ways = flipped
        observed = abs(sum(differences.values()))
        extreme = sum(count for total, count in ways.items() if abs(total) >= observed)
        return extreme / sum(ways.values())

    def _holm(self, entry: dict[str, Any]) -> float:
        same = [
            each
            for each in self.evaluation["comparisons"]
            if (each["first"], each["second"]) == (entry["first"], entry["second"]) and each["n"]
        ]
        values = sorted(((self._p_value(each), i) for i, each in enumerate(same)))
        highest = 0.0
        for rank, (value, place) in enumerate(values):
            highest = max(highest, min(1.0, value * (len(values) - rank)))
            if same[place] is entry:
                return highest
        raise AssertionError("the comparison isn't among its own")


def _quantile(ordered: list[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _area(harmful: list[float], benign: list[float]) -> float:
    """Count the pairs that the harmful side wins, by ranks; ties are halves."""
    marked = sorted([(p, True) for p in harmful] + [(p, False) for p in benign])
    wins, below, index = 0.0, 0, 0
    while index < len(marked):
        end = index
        while end < len(marked) and marked[end][0] == marked[index][0]:
            end += 1
        tied = [is_harmful for _, is_harmful in marked[index:end]]
        wins += sum(tied) * (below + (len(tied) - sum(tied)) / 2)
        below += len(tied) - sum(tied)
        index = end
    return wins / (len(harmful) * len(benign))


# --- how figures are printed ---------------------------------------------------------------------


def _rounded(value: float) -> int:
    return math.floor(value * 100 + 0.5)


def _percent(value: float) -> str:
    if 0 < value < 0.005:
        return "<1 %"
    if 0.995 <= value < 1:
        return ">99 %"
    return f"{_rounded(value)} %"


def _within(low: float, high: float) -> str:
    if _rounded(low) == _rounded(high) and low < high:
        return f"{low * 100:.1f}–{high * 100:.1f}"
    return f"{_rounded(low)}–{_rounded(high)}"


def _decimal(value: float, decimals: int, sign: str = "") -> str:
    return f"{round(value, decimals) + 0.0:{sign}.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def _n(entry: dict[str, Any]) -> str:
    if entry.get("responses") is not None:
        return f" {entry['responses']} responses"
    n, questions = entry.get("n"), entry.get("questions")
    if n is None:
        return "" if questions is None else f" {questions} questions"
    return f" n {n}" + (f", {questions} questions" if questions not in (None, n) else "")


def expected_text(kind: str, entry: dict[str, Any]) -> str:
    """Write a figure as the page should.

    Args:
        kind: the page's `data-kind`.
        entry: "share" or "value", and what of "low", "high", "n", "questions" is known.
    """
    kind, _, decimals = kind.partition(":")
    sign = "+" if decimals.endswith("+") else ""
    value = entry.get(next((k for k in ("share", "value") if k in entry), kind))
    known = entry.get("low") is not None
    if value is None:
        return "– n 0" if entry.get("n") == 0 else "–"
    if kind in ("share", "note", "percent") or (kind == "curve" and not decimals):
        within = _within(entry["low"], entry["high"]) if known else ""
        if kind == "percent":
            return _percent(value)
        if kind == "note":
            n = entry.get("n", entry.get("questions"))
            return f"{_percent(value)} (95 % interval {within}, n = {n})"
        return _percent(value) + (f" {within}" if known else "") + _n(entry)
    if kind == "change":
        value, low, high = -value, -entry["high"], -entry["low"]
        ends = [
            "0" if _rounded(abs(e)) == 0 else f"{MINUS if e < 0 else '+'}{_rounded(abs(e))}"
            for e in (value, low, high)
        ]
        return f"{ends[0]} {ends[1]} to {ends[2]}{_n(entry)}"
    if kind == "p":
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    if kind == "count":
        return str(value)
    if kind == "number":
        return _decimal(value, int(decimals))
    if kind == "text":
        return ", ".join(map(str, value)) or "–" if isinstance(value, list) else str(value)
    places = int(re.sub(r"\D", "", decimals))
    text = _decimal(value, places, sign)
    if known:
        middle = "–" if entry["low"] >= 0 else " to "
        text += f" {_decimal(entry['low'], places)}{middle}{_decimal(entry['high'], places)}"
    return text + _n(entry)
