"""Every item gets a path of its own, whatever it is called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.corpus.samples import Corpus, contents, item, paths, small
from vqtok.corpus.names import Keys, digest
from vqtok.errors import UsageError


def files_of(names: list[str]) -> list[str]:
    keys = Keys(names, dots=True, suffixes=(".safetensors",))
    return [keys[number] for number in range(len(names))]


def members_of(names: list[str]) -> list[str]:
    keys = Keys(names, dots=False, suffixes=(".npy", ".json"))
    return [keys[number] for number in range(len(names))]


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["cats/1.png", "cats/2.png"], ["cats/1", "cats/2"]),
        (["a.png", "a.jpg", "b.png"], ["a.png", "a.jpg", "b"]),
        (["a.png", "A.PNG"], ["a.png-7f0b2d54", "A.PNG-0b0f6b6d"]),
        (["a.tar.gz"], ["a.tar"]),
        ([".hidden"], [".hidden"]),
        (["noext"], ["noext"]),
        (["index.json/a.png"], ["_index.json/a"]),
        ([".vqtok/a.png"], ["_.vqtok/a"]),
        (["a.safetensors/b.png", "a.png"], ["a.safetensors/b", "a.png"]),
    ],
)
def test_files_are_named_after_their_items(names: list[str], keys: list[str]):
    found = [re.sub(r"-[0-9a-f]{8}$", "-", key) for key in files_of(names)]
    assert found == [re.sub(r"-[0-9a-f]{8}$", "-", key) for key in keys]


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["cats.old/1.png"], ["cats.old/1"]),
        (["a.png", "a.jpg"], ["a_png", "a_jpg"]),
        (["a.b.png"], ["a_b"]),
        ([".hidden"], ["_hidden"]),
        (["__meta__/a.png"], ["x__meta__/a"]),
    ],
)
def test_members_have_no_dot_in_their_last_part(names: list[str], keys: list[str]):
    assert members_of(names) == keys


@given(st.lists(paths, unique=True, max_size=8))
def test_any_names_make_files_that_can_lie_side_by_side(names: list[str]):
    for made in (files_of(names), members_of(names)):
        assert len({key.casefold() for key in made}) == len(names)
        for key in made:
            assert key.isprintable()
            assert all(0 < len(part.encode()) <= 243 for part in key.split("/"))
    made = [key.casefold() + ".safetensors" for key in files_of(names)]
    folders = {
        "/".join(path.split("/")[:n]) for path in made for n in range(1, path.count("/") + 1)
    }
    assert not folders & set(made)


def test_names_do_not_depend_on_their_neighbours_order():
    names = ["a.png", "a.jpg", "A.png", "b.png"]
    forward = dict(zip(names, files_of(names), strict=True))
    names.reverse()
    assert dict(zip(names, files_of(names), strict=True)) == forward
    assert digest(names) != digest(names[::-1])


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../a", "a/../b", "a//b", "./a", "a\0", "a\\b"]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str):
    corpus = Corpus(small().spec, ["fine.png", name], ["no", "no"])
    with pytest.raises(UsageError, match="cannot name an item"):
        corpus.open(tmp_path / "a", "tar")
    assert not (tmp_path / "a").exists()


def test_a_name_that_is_there_twice_is_refused():
    with pytest.raises(UsageError, match=r"'b\.png': there twice"):
        files_of(["a.png", "b.png", "c.png", "b.png"])


def test_the_longest_name_a_file_system_knows_still_fits(tmp_path: Path):
    spec = small().spec
    names = ["x" * 251 + ".png", "x" * 251 + ".jpg", "é" * 125 + ".png", "y" * 255 + "/a.png"]
    corpus = Corpus(spec, names, [item(spec, seed) for seed in range(4)])
    corpus.write(tmp_path / "a", "files")
    corpus.assert_read_back(tmp_path / "a")
    assert sum(name.endswith(".safetensors") for name in contents(tmp_path / "a")) == 4


@pytest.mark.parametrize("format", ["files", "tar", "bin", "parquet", "arrow"])
def test_names_that_are_not_unicode_come_back(tmp_path: Path, format: str):
    spec = small().spec
    names = ["caf\udce9.png", "a\nb.png", "\x1b[2J.png"]
    corpus = Corpus(spec, names, [item(spec, 1), "no", item(spec, 2)])
    corpus.write(tmp_path, format)
    corpus.assert_read_back(tmp_path)
