"""Charts as files: SVG whole by itself, PNG with its words, errors that say what to do."""

from __future__ import annotations

import itertools
import struct
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from derta.errors import DertaError
from derta.report.evaluation_page import plots
from derta.report.evaluation_page.collect import PageData, collect
from derta.report.evaluation_page.drawing import (
    DotRow,
    Shape,
    file_shape,
    last_position,
    share_ticks,
    spaced,
    stretched_ticks,
    thin,
)
from derta.report.evaluation_page.plots import chart_file, page_charts, png_bytes, write_plots
from derta.report.markup import visible_text
from tests.analysis.fake_run import model_names, write_fake_run
from tests.report.evaluation_page.made_pages import data_of, prefilled

HAS_RESVG = plots.importlib.util.find_spec("resvg_py") is not None
needs_resvg = pytest.mark.skipif(not HAS_RESVG, reason="needs the extra derta[plots]")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PageData:
    folder = tmp_path_factory.mktemp("run") / "evaluation"
    write_fake_run(folder, hostile=True)
    return collect([folder], "derta report")


def png_size(content: bytes) -> tuple[int, int]:
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def test_every_chart_is_a_well_formed_file_of_its_own(data: PageData) -> None:
    charts = list(page_charts(data))
    assert len({chart.name for chart in charts}) == len(charts) >= 15
    for chart in charts:
        text = chart_file(chart)
        root = ET.fromstring(text)
        assert "var(" not in text
        assert "onload" not in {name for node in root.iter() for name in node.attrib}
        names = {node.tag.rpartition("}")[2] for node in root.iter()}
        assert names <= {"svg", "title", "desc", "style", "rect", "text", "line", "path", "circle"}
        assert float(root.get("width", 0)) >= 700
        box = [float(value) for value in root.get("viewBox", "").split()]
        for node in root.iter():
            x, y = float(node.get("x", 0)), float(node.get("y", 0))
            assert 0 <= x <= box[2], f"{chart.name}: {ET.tostring(node)!r}"
            assert 0 <= y <= box[3], f"{chart.name}: {ET.tostring(node)!r}"


def test_names_of_files_are_plain_whatever_the_models_are_called(data: PageData) -> None:
    assert data.names == tuple(model_names(3, hostile=True))
    for chart in page_charts(data):
        assert set(chart.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-"), chart.name


def test_a_smoke_runs_pictures_say_so() -> None:
    data = data_of(prefilled("one", 30, {0: 20, 80: 3}), budget="smoke")
    (depth, *_) = page_charts(data)
    assert "figures mean nothing" in chart_file(depth, smoke=True)


@needs_resvg
def test_every_chart_is_written_as_svg_and_as_png_at_twice_its_size(
    data: PageData, tmp_path: Path
) -> None:
    written = write_plots(data, tmp_path / "plots")
    assert {path.name for path in written} == {p.name for p in (tmp_path / "plots").iterdir()}
    for path in written:
        if path.suffix == ".png":
            root = ET.fromstring(path.with_suffix(".svg").read_text(encoding="utf-8"))
            size = (2 * int(root.get("width", 0)), 2 * int(root.get("height", 0)))
            assert png_size(path.read_bytes()) == size


@needs_resvg
def test_a_png_shows_its_words() -> None:
    template = '<svg xmlns="http://www.w3.org/2000/svg" width="300" height="40">{}</svg>'
    for family in ("system-ui, sans-serif", "ui-monospace, monospace"):
        for weight in ("400", "600"):
            word = (
                f'<text x="5" y="25" font-size="16" font-family="{family}" '
                f'font-weight="{weight}">97 % (95–99)</text>'
            )
            assert png_bytes(template.format(word)) != png_bytes(template.format(""))


def test_what_draws_png_is_named_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    plots._words_show.cache_clear()
    data = data_of(prefilled("one", 30, {0: 20, 80: 3}))
    with pytest.raises(DertaError, match=r"resvg-py.*pip install"):
        write_plots(data, tmp_path)
    assert (tmp_path / "depth-chart.svg").exists()  # these need nothing
    plots._words_show.cache_clear()


def test_a_machine_without_any_font_is_an_error_and_no_empty_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plots, "_drawn", lambda _: b"the same picture")
    plots._words_show.cache_clear()
    with pytest.raises(DertaError, match="need a font"):
        png_bytes("<svg/>")
    plots._words_show.cache_clear()


# --- what the drawings are made of ---------------------------------------------------------------


def test_thinning_keeps_the_first_forty_positions_and_the_last() -> None:
    for count in (0, 1, 40, 120, 121, 500, 5000):
        kept = thin(count)
        assert kept[: min(40, count)] == list(range(min(40, count)))
        assert not count or kept[-1] == count - 1
        assert len(kept) <= 122
        assert kept == sorted(set(kept))


def test_a_curve_is_drawn_as_far_as_a_tenth_of_its_texts_reach() -> None:
    curve = {"position": list(range(4)), "n": [100, 100, 10, 9]}
    assert last_position([curve]) == 2
    assert last_position([{"position": [0, 1, 2], "n": [3, 3, 1]}]) == 2
    assert last_position([{"position": [0, 1, 2], "n": 50}]) == 2
    assert last_position([{"position": [], "n": []}]) == 1


def test_ticks_keep_apart_and_the_last_one_stays() -> None:
    frame = Shape("", 300.0, 200.0, 20.0, 20.0).frame((0.0, 10.0), (0.0, 1.0))
    ticks = spaced([(float(i), str(i)) for i in range(11)], frame, 60.0)
    places = [frame.x(tick) for tick, _ in ticks]
    assert ticks[-1] == (10.0, "10")
    assert all(b - a >= 30 for a, b in itertools.pairwise(places))
    assert [words for _, words in stretched_ticks(60)] == ["0", "5", "10", "20", "30", "50"]


def test_axes_of_shares_end_where_small_shares_can_be_told_apart() -> None:
    assert share_ticks(0.8)[-1] == (1.0, "100 %")
    assert share_ticks(0.13)[-1][0] < 0.25
    assert share_ticks(0.13)[-1][1] == "15 %"
    assert share_ticks(0.0)[-1][1] == "10 %"


def test_a_file_has_room_for_its_heading() -> None:
    shape = Shape("", 760.0, 360.0, 56.0, 142.0)
    assert file_shape(shape).height == shape.height + 64
    assert file_shape(shape).top == shape.top + 64
    assert DotRow("direct", ()).points == ()


def test_controls_in_names_are_visible_in_pictures(data: PageData) -> None:
    text = "".join(chart_file(chart) for chart in page_charts(data))
    assert visible_text(text) == text
