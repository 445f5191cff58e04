from __future__ import annotations

import base64
import io
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.conftest import TINY_IMAGE
from tests.pipeline.fakes import Pixels
from tests.pipeline.report.conftest import HOSTILE_MODEL, SIZES, make
from vqtok.backends.torch_backend import coder
from vqtok.config import parse
from vqtok.media.plan import Job
from vqtok.pipeline.compare import Comparison, Method
from vqtok.pipeline.evaluate import EvaluateOptions
from vqtok.pipeline.report.page import Report
from vqtok.protocols import Config

VOID = {"meta", "img", "input", "br", "link"}


class Tree(HTMLParser):
    """Checks that tags close in order; keeps tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(dict(attributes)) == len(attributes), (tag, attributes)
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def tree(page: Path) -> Tree:
    return Tree(page.read_text(encoding="utf-8"))


def data_of(uri: str | None) -> bytes:
    assert uri is not None
    return base64.b64decode(uri.partition(",")[2], validate=True)


def test_nothing_in_it_is_loaded_from_elsewhere(tree: Tree) -> None:
    links = [
        value
        for _, attributes in tree.tags
        for key, value in attributes.items()
        if key in ("src", "href", "srcset", "action", "data", "poster") and value
    ]
    assert {link.split(";")[0].split(",")[0] for link in links} == {
        "#main", "data:image/png", "data:audio/flac",
    }  # fmt: skip
    policy = next(a["content"] for a in tree.all("meta") if "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:;")
    assert "unsafe" not in policy


def test_names_of_files_are_text_and_nothing_else(tree: Tree, media: Path) -> None:
    name = next(path.name for path in media.iterdir() if "alert" in path.name)
    assert any(words.endswith(name) for words in tree.words)  # the heading of the example
    assert len(tree.all("script")) == 1


def test_names_of_models_stay_within_their_attributes(tree: Tree) -> None:
    assert not [tag for tag, attributes in tree.tags if "onerror" in attributes]
    labels = [a["alt"] for a in tree.all("img")] + [a["aria-label"] for a in tree.all("audio")]
    assert sum(HOSTILE_MODEL in (label or "") for label in labels) == 3 * 2


def test_it_is_the_same_page_each_time(few: Path, tmp_path: Path) -> None:
    for name in ("once.html", "again.html"):
        make(few, tmp_path / name)
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "once.html").read_bytes()


def test_pictures_are_shown_pixel_by_pixel_and_large_ones_by_their_middle(
    tree: Tree, media: Path
) -> None:
    originals = [a for a in tree.all("img") if a["alt"] == "original"]
    sizes = [(int(a["width"] or 0), int(a["height"] or 0)) for a in originals]
    pictures = [Image.open(io.BytesIO(data_of(a["src"]))) for a in originals]
    assert [picture.size for picture in pictures] == sizes
    expected = [(min(w, 512), min(h, 512)) for w, h in SIZES]
    assert sizes[:3] == expected
    with Image.open(media / "1.png") as whole:
        middle = np.asarray(whole)[9:521, 44:556]
    np.testing.assert_array_equal(np.asarray(pictures[1]), middle)
    assert any("the middle 512x512 of 600x530 pixels" in text for text in tree.words)


def test_error_maps_are_black_where_there_is_no_error(tree: Tree) -> None:
    by_name = {a["alt"]: a["src"] for a in tree.all("img")}
    original, decoded, error = (
        np.asarray(Image.open(io.BytesIO(data_of(by_name[name]))).convert("RGB"), np.float32)
        for name in ("original", "jpeg", "error of jpeg")
    )
    luma = np.abs((original - decoded) @ np.array([0.299, 0.587, 0.114], np.float32))
    brightness = error.sum(-1)
    assert brightness[luma == 0].max(initial=0) <= 4
    assert brightness[luma > 60].min(initial=999) > 300
    assert np.corrcoef(luma.ravel(), brightness.ravel())[0, 1] > 0.9


def test_recordings_are_cut_to_what_is_said(tree: Tree) -> None:
    players = [soundfile.info(io.BytesIO(data_of(a["src"]))) for a in tree.all("audio")]
    found = [(each.samplerate, each.channels, each.frames) for each in players]
    assert found == [(8000, 1, 8000)] * 3 + [(8000, 2, 80000)] * 3
    assert any("the first 10 s, the first 2 of 3 channels" in text for text in tree.words)
    assert all(attributes["aria-label"] for attributes in tree.all("audio"))


def test_it_can_be_read_without_seeing_it(tree: Tree) -> None:
    assert tree.all("html") == [{"lang": "en"}]
    assert len(tree.all("h1")) == len(tree.all("main")) == 1
    assert all(attributes.get("alt") for attributes in tree.all("img"))
    assert all("scope" in attributes for attributes in tree.all("th"))
    assert len(tree.all("caption")) == len(tree.all("table")) == 2
    ids = Counter(a["id"] for _, a in tree.tags if "id" in a)
    assert max(ids.values()) == 1
    for svg in tree.all("svg"):
        labels = (svg.get("aria-labelledby") or "").split()
        assert svg.get("aria-hidden") == "true" or (svg["role"] == "img" and len(labels) == 2)
        assert all(label in ids for label in labels)


def test_the_table_has_the_means_and_the_failures_are_named(few: Path, tmp_path: Path) -> None:
    run = make(few, tmp_path / "a.html", examples=0)
    text = " ".join(Tree((tmp_path / "a.html").read_text(encoding="utf-8")).words)
    for summary in run.summaries():
        assert summary.model in text
        for column in summary.columns:
            assert column.format(summary.statistics[column.name].mean) in text
    assert "1 left out" in text
    assert "damaged.png" in text
    assert "Examples" not in text


@pytest.mark.parametrize("count", [1, 2])
def test_no_more_examples_than_wanted_but_all_files_in_the_table(
    few: Path, tmp_path: Path, count: int
) -> None:
    make(few, tmp_path / "a.html", examples=count)
    tree = Tree((tmp_path / "a.html").read_text(encoding="utf-8"))
    kinds = Counter(attributes["data-kind"] for attributes in tree.all("article"))
    assert kinds == {"image": count, "audio": count}
    assert re.search(r"3 images, mean", " ".join(tree.words))


def test_small_pictures_are_enlarged_without_smoothing(tree: Tree) -> None:
    sizes = {(a["width"], a["height"]): a.get("class") for a in tree.all("img") if "data-name" in a}
    assert sizes[("40", "24")] == sizes[("64", "48")] == "small"
    assert sizes[("512", "512")] is None


def test_a_model_has_one_colour_in_the_table_the_captions_and_the_plots(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    signs = r'<svg class="mark"[^>]*><path d="[^"]*" fill="(#\w+)"/></svg>'
    colours: dict[str, set[str]] = {}
    for colour, name in re.findall(signs + r"(?:<b>)?(?:error of )?(jpeg|pixels|opus)\b", text):
        colours.setdefault(name, set()).add(colour)
    assert {name: len(found) for name, found in colours.items()} == {
        "jpeg": 1, "pixels": 1, "opus": 1,
    }  # fmt: skip
    assert len(set.union(*colours.values())) == 3  # also of different kinds of media
    for name, (colour,) in colours.items():
        group = rf'<g class="mean"><title>{name}:[^<]*</title>((?:(?!<title>).)*)'
        drawn = set(re.findall(r'<use[^>]*fill="(#\w+)"', " ".join(re.findall(group, text))))
        assert drawn == {colour}


def test_what_has_no_rate_is_a_line_and_said_to_be_one(media: Path, tmp_path: Path) -> None:
    jobs = [Job(media / "0.png", None, "image")]
    codeless = TINY_IMAGE | {"quantizer": {"type": "quantizers/identity"}}
    plain = coder(parse(codeless, Config).build().eval())
    rows = [
        Method("pixels", lambda _: coder(Pixels()), ("image",)),
        Method("plain", lambda _: plain, ("image",)),
    ]
    metrics = EvaluateOptions(metrics=("psnr", "ssim"))  # others take seconds
    run, report = Comparison(rows, options=metrics), Report(jobs, examples=1)
    for result in run.run(jobs, on_pair=report.pair):
        report.finish(result)
    report.write(tmp_path / "a.html", run.summaries(), likes={})
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert re.search(r"Without a rate, a dashed line at its quality: plain\.", text)
    assert text.count('class="unrated"') == text.count('class="plot"') - 1  # less the codebook's
    assert "without a rate" in text
