"""Tars are read in place: members are offsets, and no name in one leads anywhere."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok.errors import MediaError
from vqtok.media.kinds import LeftOut
from vqtok.media.tars import Found, Member, members


def write(target: Path, *entries: tuple[str, bytes] | tarfile.TarInfo) -> Path:
    with tarfile.open(target, "w") as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            info = tarfile.TarInfo(entry[0])
            info.size = len(entry[1])
            archive.addfile(info, io.BytesIO(entry[1]))
    return target


def found(tar: Path) -> list[Found]:
    return list(members(tar, ("image", "audio"), LeftOut()))


def content(member: Member) -> bytes:
    with member.open() as stream:
        return stream.read()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_members_are_found_where_they_lie(tmp_path: Path) -> None:
    tar = write(tmp_path / "a.tar", ("x/1.png", b"one"), ("x/2.wav", b"two!"), ("3.JPG", b""))
    assert [(each.member.name, each.kind, content(each.member)) for each in found(tar)] == [
        ("x/1.png", "image", b"one"),
        ("x/2.wav", "audio", b"two!"),
        ("3.JPG", "image", b""),
    ]


def test_other_files_hidden_ones_and_our_results_are_left_out(tmp_path: Path) -> None:
    names = ("1.json", "a/.b.png", ".git/c.png", "d.recon.png", "e", "f.png")
    tar = write(tmp_path / "a.tar", *((name, b"x") for name in names))
    assert [each.member.name for each in found(tar)] == ["f.png"]


def test_names_of_any_length_are_read(tmp_path: Path) -> None:
    name = "/".join(["folder" * 10] * 9) + "/ü.png"
    tar = write(tmp_path / "a.tar", (name, b"x"))
    assert [each.member.name for each in found(tar)] == [name]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (special("a.png", tarfile.SYMTYPE, "/etc/passwd"), "a link to '/etc/passwd'"),
        (special("a.png", tarfile.LNKTYPE, "b.png"), "a link to 'b.png'"),
        (special("a.png", tarfile.CHRTYPE), "not a plain file"),
        (special("a.png", tarfile.FIFOTYPE), "not a plain file"),
        (("/etc/a.png", b"x"), "a name that leads outside"),
        (("../a.png", b"x"), "a name that leads outside"),
        (("b/../../a.png", b"x"), "a name that leads outside"),
        (("x" * 5000 + ".png", b"x"), "a name that no file can have"),
        (("a/" * 2000 + "a.png", b"x"), "a name that no file can have"),
    ],
)
def test_what_is_no_plain_file_is_a_failure_of_its_own(tmp_path: Path, entry, reason: str) -> None:
    tar = write(tmp_path / "a.tar", entry, ("good.png", b"x"))
    bad, good = found(tar)
    assert reason in str(bad.problem)
    assert good.problem is None and content(good.member) == b"x"


def test_a_folder_with_a_suffix_is_no_failure(tmp_path: Path) -> None:
    tar = write(tmp_path / "a.tar", special("a.png", tarfile.DIRTYPE), ("a.png/b.png", b"x"))
    assert [each.member.name for each in found(tar)] == ["a.png/b.png"]


def test_a_truncated_tar_gives_what_comes_before(tmp_path: Path) -> None:
    tar = write(tmp_path / "a.tar", ("1.png", b"x" * 600), ("2.png", b"y" * 600))
    tar.write_bytes(tar.read_bytes()[: 512 + 1024 + 512 + 100])
    stream = members(tar, ("image",), LeftOut())
    assert content(next(stream).member) == b"x" * 600
    with pytest.raises(MediaError, match=r"a\.tar"):
        for each in stream:
            assert each.problem is not None and "truncated" in str(each.problem)
            raise each.problem


def test_compressed_tars_are_refused_by_their_bytes(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(MediaError, match="a compressed tar") as caught:
        found(tmp_path / "a.tar")
    assert "gunzip" in str(caught.value.hint)


def test_a_header_of_absurd_size_is_refused_quickly(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(MediaError, match=r"a\.tar: not a tar, or damaged"):
        found(tmp_path / "a.tar")


def test_a_tar_that_leads_back_into_itself_ends(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.png")
    data = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    data[124:136] = b"\xff" * 4 + struct.pack(">q", -1024)  # base-256: a negative size
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    (tmp_path / "a.tar").write_bytes(bytes(512) + bytes(data) * 3)
    try:
        assert all(each.problem for each in found(tmp_path / "a.tar"))
    except MediaError as error:
        assert "damaged" in str(error)


@pytest.mark.parametrize("data", [b"", b"no tar", bytes(300), b"BM" * 600])
def test_what_is_no_tar_says_so_or_is_empty(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    try:
        assert found(tmp_path / "a.tar") == []
    except MediaError as error:
        assert str(error).startswith(f"{tmp_path / 'a.tar'}: ")


@given(data=st.data())
def test_any_damage_gives_members_inside_the_file_or_one_error(data, tmp_path_factory) -> None:
    tar = tmp_path_factory.mktemp("t") / "a.tar"
    whole = bytearray(write(tar, ("1.png", b"x" * 700), ("b/" * 60 + "2.wav", b"y")).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, 4095))] = data.draw(st.integers(0, 255))
    tar.write_bytes(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    try:
        for each in members(tar, ("image", "audio"), LeftOut()):
            if each.problem is None:
                assert len(content(each.member)) == each.member.size
    except MediaError as error:
        assert str(error).startswith(str(tar))


@given(
    moves=st.lists(st.tuples(st.integers(-5, 30), st.integers(0, 2)), max_size=20),
    size=st.integers(0, 20),
)
def test_a_window_is_a_file_of_its_own(moves, size, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("w")
    (folder / "a.tar").write_bytes(bytes(range(100)))
    (folder / "oracle").write_bytes(bytes(range(40, 40 + size)))
    member = Member(folder / "a.tar", "x", 40, size)
    with member.open() as window, (folder / "oracle").open("rb") as oracle:
        for offset, whence in moves:
            try:
                expected = oracle.seek(offset, whence)
            except OSError:
                with pytest.raises(OSError):
                    window.seek(offset, whence)
                continue
            assert window.seek(offset, whence) == expected
            assert window.read(7) == oracle.read(7)


def test_members_without_a_known_suffix_are_taken_by_content_and_the_rest_is_counted(
    tmp_path: Path,
) -> None:
    tar = tmp_path / "a.tar"
    png = b"\x89PNG\r\n\x1a\n"
    files = {"photo": png, "b.bin": png, "c.txt": b"words", "d.npy": b"x", ".hidden": b"x"}
    with tarfile.open(tar, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    left_out = LeftOut()
    found = [each.member.name for each in members(tar, ("image", "audio"), left_out)]
    assert found == ["photo", "b.bin"]
    assert str(left_out) == "2 files: 1 .txt, 1 codes"
    assert str(left_out.without({str(tar / "c.txt")})) == "1 file: 1 codes"
