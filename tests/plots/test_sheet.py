"""The style: the same everywhere, whatever the machine and its user have set."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.programs import environment
from vqtok.plots import curves, sheet
from vqtok.plots.curves import Curve


def test_pixels_are_shown_as_they_are() -> None:
    shown = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    picture = sheet.pixels([sheet.image(shown, title=""), sheet.image(shown, title="wide" * 9)])
    left, above, _, _ = sheet.BARE
    np.testing.assert_array_equal(picture[above : above + 40, left : left + 30], shown)


def test_a_title_is_never_cut_off() -> None:
    title = "W" * 100
    picture = sheet.pixels([sheet.image(np.zeros((9, 9, 3), np.uint8), title="")], title=title)
    assert (picture[:, -4:] == 255).all()
    assert (picture[:20, -120:] < 100).any()


def test_the_same_panels_give_the_same_document() -> None:
    curve = Curve("x", [(0, 1.0), (1, 2.0)], best=1)
    assert curves.draw([curve]) == curves.draw([curve])


def test_colours_go_from_black_to_bright_yellow() -> None:
    ends = sheet.colour_map(np.array([[-1.0, 0.0, 1.0, 2.0]]))
    dark, bright = (0, 0, 4), (252, 255, 164)
    assert [tuple(each) for each in ends[0]] == [dark, dark, bright, bright]


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("ground", ["#ffffff", "#0d1117"])  # GitHub's pages, light and dark
def test_every_colour_stands_out_on_light_and_dark(ground: str) -> None:
    document = curves.draw([Curve("x", [(0, 1.0), (1, 2.0)])] * 3)
    drawn = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', document))
    assert len(drawn) == 4
    for colour in drawn | set(sheet.COLOURS):
        low, high = sorted((luminance(colour), luminance(ground)))
        # WCAG 2.1 asks for 3:1 of graphics and large text.
        assert (high + 0.05) / (low + 0.05) >= 3.0, colour


def test_neither_settings_nor_folders_of_matplotlib_count(tmp_path: Path) -> None:
    program = (
        "import hashlib; from vqtok.plots import curves\n"
        "drawn = curves.draw([curves.Curve('α $x$ 漢', [(0, 1.0), (9, 2.0)])])\n"
        "print(hashlib.sha256(drawn.encode()).hexdigest())"
    )

    def run(**changes: str) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=environment() | changes,
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout, done.stderr

    first = run()
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 9\nfont.size: 30\nsvg.fonttype: path")
    (tmp_path / "file").touch()
    second = run(MPLCONFIGDIR=str(tmp_path / "file" / "none"))
    assert first == second
    assert first[1] == ""
