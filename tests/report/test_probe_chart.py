"""The picture of one text: every token is there, in order, and nothing in it acts."""

from __future__ import annotations

import importlib.util
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from derta.errors import DataError
from derta.report.probe_chart import probe_chart, write_probe_chart
from tests.analysis.fake_run import HOSTILE_TEXTS
from tests.report.evaluation_page.responses import reading

SVG = "{http://www.w3.org/2000/svg}"


def shown(svg: str) -> str:
    root = ET.fromstring(svg)
    words = [n.text or "" for n in root.iter(f"{SVG}text") if "piece" in n.get("class", "")]
    return "".join(words).replace("\N{NO-BREAK SPACE}", " ")


def test_every_token_stands_in_the_picture_in_order() -> None:
    tokens = ["Walk", " to", " the", " front", ",\nthen", " wave", "."]
    assert shown(probe_chart(reading(tokens=tokens))) == "Walk to the front,⏎then wave."


def test_the_ground_of_a_token_is_as_dark_as_the_probability_before_it() -> None:
    probabilities = np.float32([0.0, 0.5, 1.0, 0.2])
    made = reading(
        tokens=["a", "b", "c"],
        refusal_probability=probabilities,
        refusal_rank=np.int32([9, 2, 1, 4]),
    )
    root = ET.fromstring(probe_chart(made))
    grounds = [n.get("fill-opacity") for n in root.iter(f"{SVG}rect") if n.get("class") == "heat"]
    assert grounds == ["0.33", "0.65"] or grounds == ["0.32", "0.65"]
    assert len([n for n in root.iter(f"{SVG}rect") if n.get("class") == "chosen"]) == 1
    assert "Highest after 2 tokens: 1.000, rank 1" in "".join(root.itertext())


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_hostile_text_is_text(text: str) -> None:
    svg = probe_chart(reading(model=text, question=text, tokens=[text, " and", text]))
    root = ET.fromstring(svg)
    names = {node.tag.removeprefix(SVG) for node in root.iter()}
    assert names <= {"svg", "title", "desc", "style", "rect", "text", "line", "path", "circle"}
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]", svg)
    assert not any(name.startswith("on") for node in root.iter() for name in node.attrib)


def test_no_piece_leaves_the_picture() -> None:
    made = reading(tokens=["word "] * 400 + ["W" * 300, "\n\n", "文字" * 20])
    root = ET.fromstring(probe_chart(made))
    height = float(root.get("height", 0))
    for node in root.iter(f"{SVG}text"):
        assert 0 <= float(node.get("x", 0)) <= 760
        assert 0 <= float(node.get("y", 0)) <= height


def test_a_very_long_text_is_cut_and_says_so() -> None:
    svg = probe_chart(reading(tokens=["word "] * 2000))
    assert "… and 500 more tokens" in shown(svg)
    assert len(svg) < 2_000_000


def test_a_text_without_tokens_has_a_picture() -> None:
    ET.fromstring(probe_chart(reading(tokens=[])))


def test_the_picture_is_written_by_the_end_of_its_name(tmp_path: Path) -> None:
    write_probe_chart(reading(), tmp_path / "probe.svg")
    assert (tmp_path / "probe.svg").read_text(encoding="utf-8") == probe_chart(reading())
    if importlib.util.find_spec("resvg_py") is not None:
        write_probe_chart(reading(), tmp_path / "probe.png")
        assert (tmp_path / "probe.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="Name a file"):
        write_probe_chart(reading(), tmp_path / "file" / "probe.svg")
