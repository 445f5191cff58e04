"""What --data stands for: folders, patterns, lists and tars, with anything else among them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok.errors import MediaError, UsageError
from vqtok.media.tars import Member
from vqtok.training.data.files import PROBLEMS, FileList, find_files


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def pack(tar: Path, *names: str) -> Path:
    with tarfile.open(tar, "w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            archive.addfile(info, io.BytesIO(name.encode()))
    return tar


def test_the_kind_of_most_files_is_taken_and_the_rest_is_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b/c.JPG", "d.wav", "e.txt", "f.zip", "g.txt", "README", ".hidden.png")
    (tmp_path / "folder.png").mkdir()
    touch(tmp_path, "folder.png/h.webp")
    found = find_files([str(tmp_path)])
    assert found.kind == "image"
    names = [str(Path(each.tar if isinstance(each, Member) else each)) for each in found.files]
    assert names == [str(tmp_path / n) for n in ("a.png", "b/c.JPG", "folder.png/h.webp")]
    assert found.left_out.counts == {".txt": 2, ".zip": 1, "audio": 1, "no suffix": 1}
    assert found.notes() == ("not image, left out: 2 .txt, 1 .zip, 1 audio, 1 no suffix",)
    assert found.problems == ()


def test_a_wanted_kind_beats_the_majority(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png", "c.wav")
    found = find_files([str(tmp_path)], kind="audio")
    assert list(found.files) == [tmp_path / "c.wav"]
    assert found.left_out.counts == {"image": 2}
    touch(tmp_path / "pictures", "a.png")
    with pytest.raises(UsageError, match="these are image files") as error:
        find_files([str(tmp_path / "pictures")], kind="audio")
    assert error.value.hint == "--preset image-f8"


def test_as_many_of_each_are_images(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.wav")
    assert find_files([str(tmp_path)]).kind == "image"


def test_tars_are_searched_wherever_they_lie(tmp_path: Path) -> None:
    touch(tmp_path, "z.png")
    pack(tmp_path / "0.tar", "./cats/a.png", "cats/a.cls", "dogs/b.jpg")
    for data in ([str(tmp_path)], [str(tmp_path / "0.tar"), str(tmp_path / "z.png")]):
        found = find_files(data)
        assert [str(each) for each in found.files] == [
            str(tmp_path / "0.tar" / "./cats/a.png"),
            str(tmp_path / "0.tar/dogs/b.jpg"),
            str(tmp_path / "z.png"),
        ]
        first = found.files[0]
        assert isinstance(first, Member)
        with first.open() as stream:
            assert stream.read() == b"./cats/a.png"
        assert found.files.names == ("cats", "dogs", tmp_path.name)
        assert found.files.labels().tolist() == [0, 1, 2]


def test_patterns_and_lists_leave_out_what_is_no_media(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.txt", "c/d.png", "e/f.txt")
    (tmp_path / "none.zip").write_bytes(b"")
    found = find_files([str(tmp_path / "*")])
    assert [each.name for each in found.files] == ["a.png", "d.png"]
    assert len(found.left_out) >= 2
    (tmp_path / "list").write_text(f"{tmp_path}/a.png\n{tmp_path}/missing.png\n")
    found = find_files([f"@{tmp_path}/list"])
    assert list(found.files) == [tmp_path / "a.png"]
    assert found.left_out.counts == {".png": 1}
    assert "no such file" in found.problems[0]


def test_a_file_that_is_named_twice_is_taken_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.png", "b.png")
    monkeypatch.chdir(tmp_path)
    assert len(find_files([".", str(tmp_path), "a.png", "./b.png"]).files) == 2


@pytest.mark.parametrize("data", ["missing/", "missing.png", "empty", "notes.txt", "*.gif", "-"])
def test_an_argument_that_gives_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str
) -> None:
    touch(tmp_path, "fine.png", "notes.txt")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises((MediaError, UsageError)):
        find_files([data])


def test_damaged_tars_in_a_folder_are_told_and_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "junk.tar", "z.png")
    found = find_files([str(tmp_path)])
    assert [each.name for each in found.files] == ["a.png", "z.png"]
    assert found.left_out.counts == {".tar": 1}
    assert "junk.tar" in found.problems[0]


def test_many_problems_are_counted_and_not_all_kept(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", *(f"{i}.tar" for i in range(PROBLEMS + 5)))
    found = find_files([str(tmp_path)])
    assert found.left_out.counts == {".tar": PROBLEMS + 5}
    assert len(found.problems) == PROBLEMS


@given(st.lists(st.tuples(st.text(min_size=1), st.text(max_size=3), st.booleans()), max_size=20))
def test_places_come_back_as_they_went_in(rows: list[tuple[str, str, bool]]) -> None:
    files, expected, labels = FileList(), [], []
    for number, (name, label, inside) in enumerate(rows):
        name = name.replace("\0", "")
        path = Path(os.fsdecode(b"\xff") + name)  # no UTF-8
        place = Member(Path(f"{label}.tar"), name, 512 * number, number) if inside else path
        files.add(place, label)
        expected.append(place)
        labels.append(label)
    assert list(files) == expected
    assert list(files[1:]) == expected[1:]
    assert [files.names[number] for number in files.labels()] == labels
    odd = files.subset(files.labels() * 0 + len(rows) - 1) if rows else []
    assert list(odd) == expected[-1:] * len(rows)


MEMBERS = """
import tracemalloc
from pathlib import Path
from vqtok.media.tars import Member
from vqtok.training.data.files import FileList

tracemalloc.start()
files = FileList()
for i in range(100_000):
    name = f"speaker-{i % 100:04}/recording-{i:07}.flac"
    files.add(Member(Path("data/shard-0001.tar"), name, 4096 * i, 2048), name[:12])
held, _ = tracemalloc.get_traced_memory()  # the peak has the last growth of a table twice
assert len(files) == 100_000
print(held)
"""


@pytest.mark.slow
def test_a_hundred_thousand_members_cost_a_few_megabytes() -> None:
    # In a process of its own: what other tests leave behind would be counted too.
    done = subprocess.run(
        [sys.executable, "-c", MEMBERS], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 15e6  # a million: 150 MB
