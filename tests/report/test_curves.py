"""The pictures of a training log: what is drawn, from any log, and readable on their own."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from derta.report.curves import write_curves

SVG = "{http://www.w3.org/2000/svg}"
KINDS = ("helpful", "safe_response", "refusal_transition")


def entry(step: float, **changed: Any) -> dict[str, Any]:
    losses = {f"loss_{kind}": 2.0 + i - 0.001 * min(step, 500) for i, kind in enumerate(KINDS)}
    shares = {f"refusal_probability_{kind}": 0.1 + 0.2 * i for i, kind in enumerate(KINDS)}
    rest = {"loss": 2.5, "learning_rate": 1e-4, "grad_norm": 0.5}
    return {"step": step, **losses, **shares, **rest, **changed}


def pair_entry(step: int) -> dict[str, float]:
    return {
        "step": step,
        "loss": 0.69 / step,
        "rewards/accuracies": min(1.0, step / 10),
        "rewards/margins": -0.5 + step / 10,
        "logps/chosen": -100.0 - step,
        "logps/rejected": -200.0 - 2 * step,
    }


def lines(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Read the drawn lines back: class -> points in pixels."""
    found = {}
    for part in ElementTree.parse(path).iter(f"{SVG}path"):
        kind, _, key = part.attrib["class"].partition(" ")
        if kind == "line":
            pairs = [pair.split() for pair in part.attrib["d"][1:].split("L")]
            found[key] = [(float(x), float(y)) for x, y in pairs]
    return found


def texts(path: Path) -> list[str]:
    return [part.text or "" for part in ElementTree.parse(path).iter(f"{SVG}text")]


def test_a_log_gives_losses_and_probabilities_with_a_labelled_line_for_each_kind(
    tmp_path: Path,
) -> None:
    written = write_curves(tmp_path / "run", [entry(step) for step in range(1, 21)])
    assert [path.name for path in written] == ["losses.svg", "refusal_probability.svg"]
    for path in written:
        assert {key: len(points) for key, points in lines(path).items()} == {
            "helpful": 20,
            "safe": 20,
            "transition": 20,
        }
        assert {"helpful", "safe response", "refusal token", "optimizer step"} <= set(texts(path))
    # Nothing else lies there, such as the remains of a write.
    assert sorted((tmp_path / "run").iterdir()) == sorted(written)


def test_probabilities_stand_where_they_belong_between_0_and_1(tmp_path: Path) -> None:
    log = [
        entry(s, refusal_probability_helpful=0.0, refusal_probability_refusal_transition=1.0)
        for s in (1, 2)
    ]
    path = write_curves(tmp_path, log)[1]
    drawn = lines(path)
    rules = sorted(float(r.attrib["y1"]) for r in ElementTree.parse(path).iter(f"{SVG}line"))
    assert drawn["transition"][0][1] == rules[0]
    assert drawn["helpful"][0][1] == rules[-1]
    share = (rules[-1] - drawn["safe"][0][1]) / (rules[-1] - rules[0])
    assert share == pytest.approx(0.3, abs=0.001)


@pytest.mark.parametrize(("smallest", "logarithmic"), [(1.5, False), (0.002, True)])
def test_the_axis_of_losses_is_logarithmic_if_they_differ_by_much(
    tmp_path: Path, smallest: float, logarithmic: bool
) -> None:
    path = write_curves(tmp_path, [entry(1), entry(2, loss_helpful=smallest)])[0]
    assert any("logarithmic" in words for words in texts(path)) == logarithmic
    axis = [
        part.text
        for part in ElementTree.parse(path).iter(f"{SVG}text")
        if part.attrib.get("text-anchor") == "end"
    ]
    assert ("0" in axis) != logarithmic


def test_equal_ratios_are_equal_heights_on_the_logarithmic_axis(tmp_path: Path) -> None:
    log = [entry(step, loss_helpful=10.0**-step) for step in range(4)]
    heights = [y for _, y in lines(write_curves(tmp_path, log)[0])["helpful"]]
    gaps = [after - before for before, after in itertools.pairwise(heights)]
    assert gaps == pytest.approx([gaps[0]] * 3, abs=0.2)
    assert gaps[0] > 30


def test_a_loss_of_zero_is_held_at_a_logarithmic_axis_end_that_says_so(tmp_path: Path) -> None:
    path = write_curves(tmp_path, [entry(1), entry(2, loss_helpful=0.0, loss_safe_response=0.01)])[
        0
    ]
    assert any(words.startswith("≤") for words in texts(path))
    rules = [float(r.attrib["y1"]) for r in ElementTree.parse(path).iter(f"{SVG}line")]
    assert lines(path)["helpful"][-1][1] == max(rules)


def test_no_entry_writes_nothing(tmp_path: Path) -> None:
    assert write_curves(tmp_path / "run", []) == []
    assert write_curves(tmp_path / "run", [{"loss": 1.0}, {"step": 3, "epoch": 1.0}]) == []
    assert not (tmp_path / "run").exists()


def test_a_single_entry_is_drawn_as_points(tmp_path: Path) -> None:
    for path in write_curves(tmp_path, [entry(5)]):
        circles = [part.attrib["class"] for part in ElementTree.parse(path).iter(f"{SVG}circle")]
        assert circles == ["marker helpful", "marker safe", "marker transition"]


def test_missing_values_leave_a_line_without_them_and_nan_is_counted(tmp_path: Path) -> None:
    log: list[dict[str, Any]] = [entry(step) for step in range(1, 11)]
    log[3]["loss_helpful"] = math.nan
    log[4]["loss_helpful"] = math.inf
    log[5]["loss_safe_response"] = None
    del log[6]["loss_safe_response"]
    path = write_curves(tmp_path, log)[0]
    assert {key: len(points) for key, points in lines(path).items()} == {
        "helpful": 8,
        "safe": 8,
        "transition": 10,
    }
    assert any("2 values that are no numbers" in words for words in texts(path))
    assert "nan" not in path.read_text().lower().replace("no number", "")


def test_a_kind_that_was_never_trained_has_no_line(tmp_path: Path) -> None:
    log = [{"step": s, "loss": 1.0, "loss_safe_response": 1.0} for s in (1, 2)]
    written = write_curves(tmp_path, log)
    assert [path.name for path in written] == ["losses.svg"]
    assert set(lines(written[0])) == {"safe"}


def test_a_log_of_dpo_gives_losses_and_rewards(tmp_path: Path) -> None:
    written = write_curves(tmp_path, [pair_entry(step) for step in range(1, 11)])
    assert [path.name for path in written] == ["losses.svg", "rewards.svg"]
    words = texts(written[1])
    assert {"pairs in order", "margin", "safe response", "harmful one"} <= set(words)
    assert "\N{MINUS SIGN}100" in words or "\N{MINUS SIGN}150" in words
    drawn = lines(written[1])
    assert set(drawn) == {"transition", "safe", "harmful"}
    assert drawn["safe"][-1][1] < drawn["harmful"][-1][1]  # higher, so less far down


def test_a_long_log_is_thinned_to_a_small_file_that_keeps_both_ends_and_every_spike(
    tmp_path: Path,
) -> None:
    count = 100_000
    log = [entry(step, loss_helpful=1.0) for step in range(1, count + 1)]
    log[0]["loss_helpful"], log[-1]["loss_helpful"] = 2.0, 0.5
    log[43_210]["loss_helpful"] = 2.9
    for path in write_curves(tmp_path, log):
        assert path.stat().st_size < 100_000
        assert all(len(points) <= 400 for points in lines(path).values())
    path = tmp_path / "losses.svg"
    helpful = lines(path)["helpful"]
    one = lines(write_curves(tmp_path / "ends", [log[0], log[-1], entry(3)])[0])["helpful"]
    rules = [float(r.attrib["y1"]) for r in ElementTree.parse(path).iter(f"{SVG}line")]
    assert (helpful[0][0], helpful[-1][0]) == pytest.approx((one[0][0], one[-1][0]), abs=0.1)
    heights = [(max(rules) - y) / (max(rules) - min(rules)) for _, y in (helpful[0], helpful[-1])]
    assert heights[0] / heights[1] == pytest.approx(4.0, rel=0.05)
    band = next(
        part.attrib["d"]
        for part in ElementTree.parse(path).iter(f"{SVG}path")
        if part.attrib["class"] == "band helpful"
    )
    tops = [float(pair.split()[1]) for pair in band[1:-1].split("L")]
    assert min(tops) < helpful[0][1] - 20  # the spike is higher than any point of the line


@pytest.mark.parametrize("value", [1e-300, 1e-9, 0.0, 1e14, 1e300, -3.0, True, "1.0"])
@pytest.mark.parametrize("others", [True, False])
def test_any_value_gives_a_readable_picture_or_none(
    tmp_path: Path, value: Any, others: bool
) -> None:
    log = [{"step": s, "loss_helpful": value, "rewards/margins": value} for s in (0, 1)]
    for path in write_curves(tmp_path, [*log, entry(2)] if others else log):
        for points in lines(path).values():
            assert all(0 <= x <= 760 and 0 <= y <= 700 for x, y in points)
        assert len(texts(path)) < 60


def test_of_two_entries_at_one_step_the_later_one_counts(tmp_path: Path) -> None:
    log = [entry(1), entry(2, loss_helpful=3.0), entry(2, loss_helpful=1.0)]
    path = write_curves(tmp_path, log)[0]
    assert path.read_text() == write_curves(tmp_path / "b", [log[0], log[2]])[0].read_text()


def test_a_picture_stands_alone_and_is_told_to_those_who_cannot_see_it(tmp_path: Path) -> None:
    for path in write_curves(tmp_path, [entry(step) for step in (1, 2)]):
        text = path.read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
        assert root.tag == f"{SVG}svg"
        title, description = root[0], root[1]
        assert (title.tag, description.tag) == (f"{SVG}title", f"{SVG}desc")
        assert root.attrib["role"] == "img"
        named = root.attrib["aria-labelledby"].split()
        assert named == [title.attrib["id"], description.attrib["id"]]
        assert "refusal token" in (description.text or "")
        assert "at step 2" in (description.text or "")
        identifiers = [part.attrib["id"] for part in root.iter() if "id" in part.attrib]
        assert len(set(identifiers)) == len(identifiers)
        assert "var(" not in text  # a reader without variables sees colours
        assert "href" not in text
        assert "<script" not in text


def test_dark_readers_get_other_colours_for_everything_that_has_one(tmp_path: Path) -> None:
    text = write_curves(tmp_path, [entry(1), entry(2)])[0].read_text(encoding="utf-8")
    light, dark = text.split("@media (prefers-color-scheme: dark)")
    dark = dark[: dark.index("</style>")]
    coloured = {
        tuple(match)
        for match in re.findall(r"^(\.[^{]+) \{[^}]*?(fill|stroke): #", light, re.MULTILINE)
    }
    assert len(coloured) > 10
    for selector, key in coloured:
        assert re.search(rf"^{re.escape(selector)} {{[^}}]*{key}: #", dark, re.MULTILINE), selector
    assert ".ground { fill: #ffffff" in light
    assert ".ground { fill: #ffffff" not in dark


def test_labels_keep_clear_of_each_other(tmp_path: Path) -> None:
    same = {f"loss_{kind}": 1.0 for kind in KINDS}
    path = write_curves(tmp_path, [entry(1, **same), entry(2, **same)])[0]
    heights = sorted(
        float(part.attrib["y"])
        for part in ElementTree.parse(path).iter(f"{SVG}text")
        if part.attrib["class"].startswith("label")
    )
    assert [b - a >= 15.9 for a, b in itertools.pairwise(heights)] == [True, True]


def test_drawing_needs_no_torch() -> None:
    code = (
        "import sys, derta.report.curves; assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
