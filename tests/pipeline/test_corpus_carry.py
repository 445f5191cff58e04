"""A corpus carries what is asked for, what it did before, or what lies beside members."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.corpus.samples import small
from tests.pipeline.ledger import pictures
from vqtok.errors import MediaError, UsageError
from vqtok.media.items import Item, items_of, read_beside, with_beside
from vqtok.pipeline.corpus_carry import Carry, carry_of


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Two pictures in a tar, one of them with a caption and a class."""
    pictures(tmp_path / "d", 2)
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        for name in ("000.png", "001.png"):
            archive.add(tmp_path / "d" / name, f"x/{name}")
        for name, data in (("x/000.TXT", b"caption"), ("x/000.cls", b"1"), ("x/other.json", b"{}")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("x/001.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return with_beside(items_of([str(tmp_path / "t.tar")], ("image",)))


def chosen(items: list[Item], folder: Path, given: str | None = None, **options: str) -> Carry:
    format = options.get("format", "tar")
    return carry_of(given, items, format=format, folder=folder, restart=False)


def test_members_of_the_same_key_are_found_and_read(items: list[Item]) -> None:
    first, second = (dict(each.beside) for each in items)
    assert {kind: read_beside(place, largest=9) for kind, place in first.items()} == {
        "txt": b"caption",
        "cls": b"1",
    }
    with pytest.raises(MediaError, match="not a plain file"):
        read_beside(second["txt"], largest=9)
    with pytest.raises(MediaError, match="7 bytes: at most 5"):
        read_beside(first["txt"], largest=5)


def test_the_default_is_what_lies_beside_members(items: list[Item], tmp_path: Path) -> None:
    assert chosen(items, tmp_path / "c").kinds == ("cls", "txt")
    assert chosen(items, tmp_path / "c", format="parquet").kinds == ("cls", "label", "txt")
    left = chosen(items, tmp_path / "c", format="bin")
    assert left.kinds == () and "format bin holds codes alone" in left.notes[0]
    assert chosen(items, tmp_path / "c", "none", format="arrow") == Carry((), (), ())


def test_a_corpus_goes_on_with_what_it_carries(items: list[Item], tmp_path: Path) -> None:
    small().write(tmp_path / "old", "tar")  # as 0.1.0 writes it
    assert chosen(items, tmp_path / "old").kinds == ()
    small().write(tmp_path / "p", "parquet")
    assert chosen(items, tmp_path / "p", format="parquet").kinds == ()
    replace(small(), carry=("json",)).write(tmp_path / "new", "tar")
    assert chosen(items, tmp_path / "new").kinds == ("json",)


def test_kinds_that_are_unknown_or_cannot_be_held(items: list[Item], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown kind 'caption'"):
        chosen(items, tmp_path, "caption")
    with pytest.raises(UsageError, match="format bin holds codes alone, no txt"):
        chosen(items, tmp_path, "txt", format="bin")
    told = chosen(items, tmp_path / "c", "json")
    assert told.notes == ("no .json lies beside an item",)


def test_both_pictures_of_a_webdataset_key_have_its_caption(tmp_path: Path) -> None:
    pictures(tmp_path / "d", 1)
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        for name in ("k.left.png", "k.right.png"):
            archive.add(tmp_path / "d" / "000.png", name)
        info = tarfile.TarInfo("k.txt")
        archive.addfile(info)
    found = with_beside(items_of([str(tmp_path / "t.tar")], ("image",)))
    assert [dict(each.beside)["txt"].name for each in found] == ["k.txt", "k.txt"]
