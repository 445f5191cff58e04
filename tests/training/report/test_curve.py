"""The picture of a run: true to the log, whole, and the same every time."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok.training.report.curve import HEIGHT, POINTS, WIDTH, Panel, draw, panels

SVG = "{http://www.w3.org/2000/svg}"


def progress(step: int, loss: float, use: float | None = 0.5) -> dict:
    return {"event": "progress", "step": step, "losses": {"a": loss / 2, "b": loss / 2}, "use": use}


def evaluated(step: int, value: float | None, best: bool = False) -> dict:
    return {"event": "evaluated", "step": step, "metrics": {"psnr_db": value}, "best": best}


def lines_of(text: str) -> list[list[tuple[float, float]]]:
    found = ElementTree.fromstring(text).iter(f"{SVG}polyline")
    return [
        [tuple(map(float, pair.split(","))) for pair in each.attrib["points"].split()]
        for each in found
    ]


def test_there_is_a_panel_for_loss_held_out_metric_and_use():
    found = panels(
        [progress(10, 1.0), evaluated(15, 20.0), progress(20, 0.5), evaluated(25, 22.0, best=True),
         {"event": "warned", "step": 26, "text": "x"}, evaluated(30, 21.0)]
    )  # fmt: skip
    assert [panel.title for panel in found] == [
        "training loss", "held out: psnr dB, best 22 at step 25", "codebook use, %",
    ]  # fmt: skip
    assert found[0].points == [(10, 1.0), (20, 0.5)]
    assert (found[1].best, found[2].points) == (25, [(10, 50.0), (20, 50.0)])


def test_a_continuous_run_has_no_panel_of_use_and_a_short_one_none_at_all():
    found = panels([progress(1, 1.0, use=None), progress(2, 1.0, use=None)])
    assert [panel.title for panel in found] == ["training loss"]
    assert panels([progress(1, 1.0), evaluated(1, 3.0)]) == []
    assert panels([]) == []


def test_values_that_were_not_finite_are_left_out():
    records = [progress(1, 1.0), progress(2, 1.0), evaluated(1, None), evaluated(2, 1.0)]
    records[0]["losses"]["c"] = None
    assert [panel.title for panel in panels(records)] == ["training loss", "codebook use, %"]


def test_higher_values_are_higher_and_later_ones_further_right():
    (line,) = lines_of(draw([Panel("x", [(0, 1.0), (10, 4.0), (20, 2.0)])]))
    xs, ys = zip(*line, strict=True)
    assert list(xs) == sorted(xs)
    assert ys[1] < ys[2] < ys[0]
    (line,) = lines_of(draw([Panel("x", [(0, 1.0), (10, 4.0), (20, 2.0)], logarithmic=True)]))
    assert line[2][1] == pytest.approx((line[0][1] + line[1][1]) / 2, abs=0.1)  # 2 is halfway


finite = st.floats(min_value=-1e30, max_value=1e30)


@given(st.lists(finite, min_size=2, max_size=700), st.booleans())
def test_any_curve_is_a_sound_picture_that_stays_inside(values, logarithmic):
    logarithmic = logarithmic and min(values) > 0
    points = [(10 * (i + 1), value) for i, value in enumerate(values)]
    panel = Panel("a < b & c", points, best=20, logarithmic=logarithmic)
    text = draw([panel, panel])
    assert text == draw([panel, panel])
    for index, line in enumerate(lines_of(text)):
        assert 2 <= len(line) <= POINTS
        assert all(0 <= x <= WIDTH for x, _ in line)
        assert all(index * HEIGHT <= y <= (index + 1) * HEIGHT for _, y in line)
        assert all(math.isfinite(each) for pair in line for each in pair)


def test_it_needs_neither_scripts_nor_fonts_nor_a_background():
    text = draw([Panel("x", [(0, 1.0), (1, 1.0)])])
    assert not re.search(r"<(script|style|image|foreignObject|rect)|href|url\(", text)
    assert len(draw([Panel("x", [(i, float(i)) for i in range(100_000)])])) < 10_000


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("ground", ["#ffffff", "#0d1117"])  # GitHub's pages, light and dark
def test_every_colour_stands_out_on_light_and_dark(ground):
    panel = Panel("x", [(0, 1.0), (1, 2.0)])
    colours = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', draw([panel] * 3)))
    assert len(colours) == 4
    for colour in colours:
        low, high = sorted((luminance(colour), luminance(ground)))
        # WCAG 2.1 asks for 3:1 of graphics and large text.
        assert (high + 0.05) / (low + 0.05) >= 3.0, colour
