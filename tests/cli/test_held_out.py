"""``vqtok eval DIR --held-out MODEL``: only what the model was not trained on, with any model."""

from __future__ import annotations

import json

import pytest

from tests.pipeline.ledger import pictures


@pytest.fixture
def trained(here, shelf, monkeypatch):
    """A folder of pictures, and mine/, which says that two of them were held out."""
    import shutil

    pictures(here / "d", 4)
    pictures(here / "d" / "sub", 3)
    shutil.copytree(shelf / "image-f8", here / "mine")
    names = {"files": ["001.png", "sub/001.png"], "measured": 2, "roots": 1}
    (here / "mine" / "held-out.json").write_text(json.dumps(names))
    return here / "mine"


def sources(result) -> list[str]:
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return [line["source"] for line in lines if "source" in line]


def test_only_held_out_files_are_measured(vqtok, trained):
    result = vqtok("eval", "d", "--held-out", "mine/", "--metrics", "psnr", "--json")
    assert result.exit_code == 0, result.stderr
    assert sources(result) == ["d/001.png", "d/sub/001.png"]
    assert "held out by mine: 2 of 2 files, 5 others left out" in result.stderr
    other = vqtok("eval", "d/", "--held-out", "mine/", "-m", "image-f8", "--metrics", "psnr")
    assert other.exit_code == 0
    assert "d/001.png" in other.stdout and "d/002.png" not in other.stdout


def test_several_directories_keep_their_names_apart(vqtok, trained, here):
    names = {"files": ["d/001.png", "e/002.png"], "measured": 2, "roots": 2}
    (trained / "held-out.json").write_text(json.dumps(names))
    pictures(here / "e", 4)
    command = ("eval", "d", "e", "--held-out", "mine/", "--metrics", "psnr", "--json")
    assert sources(vqtok(*command)) == ["d/001.png", "e/002.png"]


@pytest.mark.parametrize(
    ("data", "words", "code"),
    [
        ('{"files": ["x.png"], "measured": 1, "roots": 1}', "none of its 1 held-out files", 2),
        (None, "does not say which files were held out", 2),
        ('{"files": 3}', "cannot be read", 1),
        ("[[[", "cannot be read", 1),
    ],
)
def test_what_cannot_be_found_is_one_line(vqtok, trained, data, words, code):
    path = trained / "held-out.json"
    path.write_text(data) if data else path.unlink()
    result = vqtok("eval", "d", "--held-out", "mine/")
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
