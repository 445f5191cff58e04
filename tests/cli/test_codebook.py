"""``vqtok info MODEL --plot``: each entry alone, and the maps of codes in their colours."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cli.conftest import Run
from tests.cli.pictures import look
from tests.cli.test_levels import MODEL
from tests.conftest import TINY_IMAGE
from vqtok.checkpoints import directory
from vqtok.codes import files
from vqtok.config import parse
from vqtok.pipeline import codebook
from vqtok.plots import codes as plots
from vqtok.protocols import Config


def save(folder: Path, data: dict[str, Any], **training: Any) -> None:
    torch.manual_seed(0)
    model = parse(data, Config).build().eval()
    directory.save(folder, model, training=training or None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ "one" of one level and its measured use, "two" of two levels, "stack" of three stages."""
    folder = tmp_path_factory.mktemp("models")
    save(folder / "one", TINY_IMAGE, metrics={"use": 0.5, "perplexity": 20.0})
    save(folder / "two", MODEL)
    stack = {"type": "quantizers/rvq", "codebook_size": 16, "depth": 3}
    save(folder / "stack", TINY_IMAGE | {"quantizer": stack})
    return folder


@pytest.fixture(autouse=True)
def models(here: Path, made: Path) -> Path:
    """The models of ``made``, each test's own."""
    return shutil.copytree(made, here, dirs_exist_ok=True)


def test_an_entry_is_the_middle_of_a_field_of_itself() -> None:
    model = directory.load("one")
    shown = codebook.entries(model, 0, np.array([5, 9]), rest=[0])
    for entry, picture in zip((5, 9), shown, strict=True):
        field = model.decode(np.full((3, 3), entry))[0]
        np.testing.assert_allclose(picture, field[:, 8:16, 8:16].numpy(), atol=1e-5)


def test_entries_of_a_level_are_seen_while_the_others_say_one_thing() -> None:
    model = directory.load("two")
    (shown,) = codebook.entries(model, 1, np.array([7]), rest=[3, 0])
    codes = [np.full((3, 3), 3), np.full((6, 6), 7)]
    field = model.decode(codes)[0]
    np.testing.assert_allclose(shown, field[:, 4:6, 4:6].numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("model", "by"),
    [("one", "colour"), ("one", "pca"), ("two", "pca"), ("stack", "colour"), ("audio-24k", "pca")],
)
def test_every_kind_of_model_has_a_picture(vqtok: Run, model: str, by: str) -> None:
    run = vqtok("info", model, "--plot", "book.png", "--by", by)
    assert run.exit_code == 0, run.stderr
    assert len(np.unique(np.asarray(look("book.png")).reshape(-1, 3), axis=0)) > 20


def test_each_entry_is_there_once_whatever_it_is_sorted_by(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        plots, "book_panels", lambda shown, used, title: seen.append(shown) or [plots.sheet.image(
            np.zeros((4, 4, 3), np.uint8), title=title)]
    )  # fmt: skip
    info = directory.describe("one")
    for by in ("colour", "pca"):
        codebook.draw(info, by=by)  # type: ignore[arg-type]
    one, other = seen
    assert sorted(map(bytes, one)) == sorted(map(bytes, other))
    assert not np.array_equal(one, other)
    luma = one.mean(axis=(2, 3)) @ (0.299, 0.587, 0.114)
    rows = luma.reshape(8, 8)  # brighter from row to row
    assert (rows.max(axis=1)[:-1] <= rows.min(axis=1)[1:] + 1e-6).all()


@pytest.mark.parametrize("kind", ["file", "corpus"])
def test_use_is_counted_in_codes_and_corpora(
    kind: str, vqtok: Run, picture: Callable[..., Path]
) -> None:
    picture("a.png")
    corpus = ("--format", "tar", "-o", "c") if kind == "corpus" else ("-o", "c.npy")
    assert vqtok("encode", "a.png", "-m", "./two", *corpus).exit_code == 0
    use = "c" if kind == "corpus" else "c.npy"
    vqtok("encode", "a.png", "-m", "./two", "-o", "again.npy")
    codes, _ = files.read(Path("again.npy"))
    counts = codebook.counted(directory.describe("two"), use)
    for level, (found, array) in enumerate(zip(counts, codes.levels, strict=True)):
        assert len(found) == codes.spec.levels[level].codebook_size
        np.testing.assert_array_equal(found, np.bincount(array.ravel(), minlength=len(found)))
    with_use = vqtok("info", "./two", "--plot", "with.png", "--use", use)
    assert with_use.exit_code == 0, with_use.stderr
    vqtok("info", "./two", "--plot", "without.png")
    assert look("with.png").width > 1.5 * look("without.png").width


def test_a_map_has_the_colours_that_its_entries_decode_to(
    vqtok: Run, picture: Callable[..., Path]
) -> None:
    picture("a.png", width=64, height=40)
    vqtok("encode", "a.png", "-m", "./one", "-o", "a.npy")
    codes, _ = files.read(Path("a.npy"))
    (table,) = codebook.colours(directory.describe("one"), codes)
    assert table is not None
    entry = int(codes.levels[0][0, 2, 3])
    field = directory.load("one").decode(np.full((3, 3), entry))[0, :, 8:16, 8:16]
    expected = (field.mean(dim=(1, 2)).numpy() + 1) * 127.5
    np.testing.assert_allclose(table[entry], expected, atol=0.6)
    vqtok("info", "a.npy", "-m", "./one", "--plot", "named.png")
    vqtok("info", "a.npy", "--plot", "found.png")
    Path("one").rename("gone")
    vqtok("info", "a.npy", "--plot", "own.png")
    named = np.asarray(look("named.png"))
    assert (named == np.asarray(look("found.png"))).all()
    assert (named == table[entry]).all(axis=2).any()
    assert not (np.asarray(look("own.png")) == table[entry]).all(axis=2).any()


@pytest.mark.parametrize(("arguments", "message"), [
    (["one", "--use", "a.npy"], "--use: of which picture?"),
    (["one", "--by", "pca"], "--by: of which picture?"),
    (["one", "--plot", "x.png", "--use", "no.npy"], "neither a codes file nor a corpus"),
    (["a.npy", "--plot", "x.png", "--use", "a.npy"], "--use: counts entries beside the codebook"),
    (["one", "--plot", "x.png", "--use", "a.npy"], "codes of another model than one"),
    (["a.npy", "--plot", "x.png", "-m", "./one"], "made with model two"),
    (["prior-none", "--plot", "x.png"], "unknown model"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_refused(
    arguments: list[str], message: str, vqtok: Run, picture: Callable[..., Path]
) -> None:
    picture("a.png")
    vqtok("encode", "a.png", "-m", "./two", "-o", "a.npy")
    run = vqtok("info", *arguments)
    assert run.exit_code in (1, 2)
    assert message in run.stderr
    assert not Path("x.png").exists()


def test_the_use_of_training_is_said_where_nothing_is_counted() -> None:
    assert codebook.trained({"metrics": {"use": 0.5, "perplexity": 20.0}}, "codes").endswith(
        "50.0% used, perplexity 20"
    )
    assert codebook.trained({}, "codes") == ""
