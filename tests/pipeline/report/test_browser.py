"""The page in a real browser: offline, by keyboard, with its pictures and sound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.report import browser
from tests.pipeline.report.browser import Browser

PROGRAM = browser.find()
pytestmark = [
    pytest.mark.outside,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium on the path"),
]
VIEWER = "document.querySelector('.viewer')"
RIGHT = {"key": "ArrowRight", "code": 39}


@pytest.fixture(scope="module")
def shown(page: Path) -> Iterator[Browser]:
    with Browser(PROGRAM or "") as found:
        found.open(page)
        yield found


def test_it_asks_for_nothing_but_itself_and_nothing_fails(shown: Browser, page: Path) -> None:
    assert shown.requests == [page.resolve().as_uri()]
    assert shown.errors == []


def test_its_policy_forbids_what_a_script_might_ask_for(page: Path) -> None:
    with Browser(PROGRAM or "") as other:
        other.open(page)
        asked = other.run("fetch('https://example.org/').then(() => 'loaded', () => 'refused')")
        assert asked == "refused"
        assert any("Content Security Policy" in error for error in other.errors)


def test_every_picture_is_decoded(shown: Browser) -> None:
    sizes = shown.run("[...document.images].map(i => i.complete && i.naturalWidth)")
    assert len(sizes) > 20
    assert all(size > 0 for size in sizes)


def test_arrow_keys_move_the_slider_and_uncover_the_original(shown: Browser) -> None:
    shown.run(f"{VIEWER}.querySelector('input').focus()")
    clip = f"{VIEWER}.querySelectorAll('.stage img')[1].style.clipPath"
    assert "50%" in shown.run(clip)
    for _ in range(3):
        shown.press(**RIGHT)
    assert "53%" in shown.run(clip)
    shown.press("End", 35)
    assert "100%" in shown.run(clip)
    text = shown.run(f"{VIEWER}.querySelector('input').getAttribute('aria-valuetext')")
    assert text == "left 100 %: original, right: pixels"
    shown.press("Home", 36)
    assert " 0%" in shown.run(clip)


def test_what_lies_left_and_right_is_chosen_by_keyboard(shown: Browser) -> None:
    shown.run(f"{VIEWER}.querySelectorAll('select')[1].focus()")
    shown.press("ArrowDown", 40)
    found = shown.run(f"{VIEWER}.querySelectorAll('.stage img')[1].src")
    wanted = "document.querySelector('.example img[data-name=\"error of pixels\"]').src"
    assert found == shown.run(wanted)
    assert found.startswith("data:image/png")


def test_all_controls_are_reached_by_tab_and_have_names(shown: Browser) -> None:
    shown.run("document.activeElement.blur()")
    controls = shown.run("document.querySelectorAll('.viewer select, .viewer input').length")
    assert controls == 4 * 4
    reached = set()
    for _ in range(90):
        shown.press("Tab", 9)
        reached.add(
            shown.run(
                "[...document.querySelectorAll('.viewer select, .viewer input, audio')]"
                ".indexOf(document.activeElement)"
            )
        )
    assert set(range(controls + 6)) <= reached
    nodes = shown.call("Accessibility.getFullAXTree")["nodes"]
    roles = ("slider", "combobox", "image", "table")
    assert {node["role"]["value"] for node in nodes} >= set(roles)
    nameless = [
        node["role"]["value"]
        for node in nodes
        if not node.get("ignored")
        and node["role"]["value"] in roles
        and not node.get("name", {}).get("value")
    ]
    assert nameless == []


def test_pixels_are_enlarged_without_smoothing(shown: Browser) -> None:
    shown.run(
        f"(() => {{ const s = {VIEWER}.querySelectorAll('select')[2]; s.selectedIndex = 2;"
        " s.dispatchEvent(new Event('change')); })()"
    )
    image = f"{VIEWER}.querySelector('.stage img')"
    assert shown.run(f"{image}.getBoundingClientRect().width") == 3 * 40
    assert shown.run(f"getComputedStyle({image}).imageRendering") == "pixelated"


def test_thumbnails_keep_their_proportions(shown: Browser) -> None:
    ratios = shown.run(
        "[...document.querySelectorAll('[data-kind=image] figure img')].map(i => {"
        " const b = i.getBoundingClientRect();"
        " return (b.width / b.height) / (i.naturalWidth / i.naturalHeight); })"
    )
    assert ratios
    assert all(ratio == pytest.approx(1, abs=0.02) for ratio in ratios)


def test_sound_is_decoded_and_one_player_goes_on_where_the_last_one_stops(
    shown: Browser,
) -> None:
    lengths = shown.run(
        "Promise.all([...document.querySelectorAll('audio')].map(a => a.duration ||"
        " new Promise(d => a.addEventListener('loadedmetadata', () => d(a.duration)))))"
    )
    assert lengths == pytest.approx([1.0] * 3 + [10.0] * 3, abs=0.01)
    found = shown.run(
        "(async () => { const [a, b] = [...document.querySelectorAll('audio')].slice(3);"
        " a.currentTime = 4; await a.play(); await b.play();"
        " await new Promise(d => setTimeout(d, 50));"
        " const out = [a.paused, b.paused, b.currentTime]; b.pause(); return out; })()"
    )
    assert found[:2] == [True, False]
    assert 4 <= found[2] < 6


def test_nothing_is_wider_than_a_narrow_window(shown: Browser) -> None:
    shown.call(
        "Emulation.setDeviceMetricsOverride",
        width=360, height=700, deviceScaleFactor=1, mobile=False,
    )  # fmt: skip
    wide = shown.run("document.documentElement.scrollWidth")
    shown.call("Emulation.clearDeviceMetricsOverride")
    assert wide <= 360
