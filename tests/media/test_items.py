"""Every item of a corpus has a relative name of its own, wherever it comes from."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok.errors import UsageError
from vqtok.media.items import Item, items_of, safe_name


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")


def tar(name: str, *members: str) -> None:
    with tarfile.open(name, "w") as archive:
        for member in members:
            info = tarfile.TarInfo(member)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))


def items(*arguments: str) -> list[Item]:
    return items_of(arguments, ("image", "audio"))


def names(*arguments: str) -> list[str]:
    found = items(*arguments)
    assert not [item for item in found if item.problem]
    return [item.name for item in found]


def test_directories_and_tars_of_the_same_files_give_the_same_names() -> None:
    touch("d/a.png", "d/b/c.wav")
    tar("d.tar", "a.png", "b/c.wav")
    tar("dots.tar", "./a.png", "./b/c.wav")
    assert names("d") == names("d.tar") == names("dots.tar") == ["a.png", "b/c.wav"]
    assert names("d/") == names(str(Path("d").absolute())) == ["a.png", "b/c.wav"]


def test_the_current_directory_is_a_directory_like_any_other(monkeypatch) -> None:
    touch("d/a.png", "d/b/c.wav")
    monkeypatch.chdir("d")
    assert names(".") == ["a.png", "b/c.wav"]


def test_files_keep_the_path_that_was_given_made_relative(tmp_path: Path) -> None:
    touch("x/a.png")
    assert names("x/a.png") == names("./x/a.png") == names("x/../x/a.png".replace("../x/", ""))
    absolute = str(tmp_path / "x" / "a.png")
    assert names(absolute) == [absolute.lstrip("/")]


def test_a_file_named_twice_is_one_item() -> None:
    touch("d/a.png")
    tar("t.tar", "b.png")
    assert names("d", "./d/a.png", "d") == ["a.png"]
    assert names("t.tar", "./t.tar") == ["b.png"]


def test_equal_names_of_several_sources_get_their_source_in_front() -> None:
    touch("d/a.png")
    tar("s-0.tar", "a.png", "b.png")
    tar("s-1.tar", "a.png")
    assert names("s-0.tar", "s-1.tar") == ["s-0/a.png", "s-0/b.png", "s-1/a.png"]
    assert names("d", "s-1.tar") == ["d/a.png", "s-1/a.png"]


def test_names_that_cannot_be_told_apart_are_a_usage_error() -> None:
    touch("x/d/a.png", "y/d/a.png")
    with pytest.raises(UsageError, match=r"d/a\.png: x/d/a\.png, y/d/a\.png would have"):
        items("x/d", "y/d")


def test_what_cannot_be_encoded_is_an_item_with_the_problem() -> None:
    touch("a.png")
    found = items("a.png", "none.png", "../none.png")
    assert [(item.name, item.problem is None) for item in found] == [
        ("a.png", True),
        ("none.png", False),
        ("none.png~2", False),
    ]
    assert "no such file" in str(found[1].problem)


def test_a_second_member_of_a_name_and_unsafe_ones_fail_and_give_way() -> None:
    tar("t.tar", "../a.png", "a.png", "a.png", "/a.png")
    found = items("t.tar")
    assert [item.name for item in found] == ["a.png~2", "a.png", "a.png~3", "a.png~4"]
    reasons = [str(item.problem or "") for item in found]
    assert "leads outside" in reasons[0] and "leads outside" in reasons[3]
    assert reasons[1] == "" and "another file of this name" in reasons[2]


def test_a_tar_without_media_is_a_failure_as_a_directory_is() -> None:
    tar("t.tar", "notes.txt")
    (item,) = items("t.tar")
    assert str(item.problem) == "t.tar: no image or audio files in this tar"


def test_stdin_is_refused() -> None:
    with pytest.raises(UsageError, match="a corpus is made of files"):
        items("-")


@given(st.text())
def test_safe_names_are_relative_and_printable(text: str) -> None:
    name = safe_name(text)
    path = PurePosixPath(name)
    assert name and name.isprintable() and "\\" not in name
    assert not path.is_absolute() and ".." not in path.parts and str(path) == name
    assert safe_name(name) == name
