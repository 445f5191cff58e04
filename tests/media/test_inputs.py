"""Arguments become files: directories, patterns and stdin, each file once and in order."""

from __future__ import annotations

import errno
import inspect
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vqtok.errors import MediaError, UsageError
from vqtok.media.inputs import Inputs, inputs_of


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")


def expand(*arguments: str) -> Inputs:
    return inputs_of(arguments, ("image", "audio"))


def files(*arguments: str) -> list[str]:
    found = expand(*arguments)
    assert not found.failures
    return [str(path) for path in found.files]


def failure(*arguments: str) -> str:
    ((_, error),) = expand(*arguments).failures
    assert isinstance(error, MediaError)
    return str(error)


def test_directories_are_searched_sorted_through_all_levels() -> None:
    touch("d/c.png", "d/b/2.wav", "d/b/10.wav", "d/a.FLAC", "d/notes.txt", "d/codes.npy")
    assert files("d") == ["d/a.FLAC", "d/b/10.wav", "d/b/2.wav", "d/c.png"]


def test_hidden_files_and_our_own_results_are_left_out() -> None:
    touch("d/a.png", "d/.a.png", "d/.git/b.png", "d/a.recon.png", "d/a.recon.wav")
    assert files("d") == ["d/a.png"]
    assert files("d/a.recon.png") == ["d/a.recon.png"]  # named itself


def test_links_are_followed_but_not_in_circles() -> None:
    touch("d/a.png", "elsewhere/b.png")
    Path("d/loop").symlink_to(Path("d").absolute())
    Path("d/other").symlink_to(Path("elsewhere").absolute())
    assert files("d") == ["d/a.png", "d/other/b.png"]


def test_broken_links_are_listed_so_that_reading_reports_them() -> None:
    touch("d/a.png")
    Path("d/b.png").symlink_to("none")
    assert files("d") == ["d/a.png", "d/b.png"]


def test_pipes_and_sockets_in_directories_are_told_and_not_opened() -> None:
    touch("d/a.png")
    os.mkfifo("d/b.png")
    os.mkfifo("d/notes")
    Path("d/c.png").symlink_to("b.png")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("d/d.png")
    found = expand("d")
    assert [str(path) for path in found.files] == ["d/a.png"]
    assert [str(error) for _, error in found.failures] == [
        f"d/{letter}.png: not a regular file" for letter in "bcd"
    ]


def test_links_in_a_loop_are_told_and_the_others_go_on() -> None:
    touch("d/a.png", "d/z.png")
    Path("d/self").symlink_to("self")
    Path("d/x.png").symlink_to("y.png")
    Path("d/y.png").symlink_to("x.png")
    Path("d/gone").symlink_to("unplugged/photos")
    found = expand("d", "d/self")
    assert [str(path) for path in found.files] == ["d/a.png", "d/z.png"]
    loop = "cannot read: too many levels of symbolic links"
    assert [str(error) for _, error in found.failures] == [
        "d/gone: cannot read: no such file or directory",
        *(f"d/{name}: {loop}" for name in ("self", "x.png", "y.png", "self")),
    ]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOTCONN])
def test_an_entry_that_cannot_be_looked_at_is_told_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    touch("d/a.png", "d/b.png", "d/c.png")
    scandir = os.scandir

    class Entry:
        def __init__(self, real: os.DirEntry[str]) -> None:
            self.name, self.path = real.name, real.path

        def is_dir(self) -> bool:
            if self.name == "b.png":
                raise OSError(number, os.strerror(number), self.path)
            return False

        def is_file(self) -> bool:
            return True

    class Listing:
        """Ends with an error, as on a failing disk."""

        def __init__(self, path: str) -> None:
            self.path = path

        def __enter__(self) -> Any:
            with scandir(self.path) as real:
                yield_from = [Entry(each) for each in real]

            def entries() -> Any:
                yield from yield_from
                raise OSError(number, os.strerror(number), self.path)

            return entries()

        def __exit__(self, *_: object) -> None:
            return None

    monkeypatch.setattr(os, "scandir", Listing)
    found = expand("d")
    assert [str(path) for path in found.files] == ["d/a.png", "d/c.png"]
    assert [name for name, _ in found.failures] == ["d", "d/b.png"]
    reason = os.strerror(number)
    assert all(str(e).endswith(reason[:1].lower() + reason[1:]) for _, e in found.failures)


def test_folders_may_be_nested_deeper_than_calls_may() -> None:
    touch("d/" + "e/" * 200 + "a.png")
    before, frames = sys.getrecursionlimit(), len(inspect.stack(0))
    sys.setrecursionlimit(frames + 100)
    try:
        found = files("d")
    finally:
        sys.setrecursionlimit(before)
    assert len(found) == 1


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".png", "x/" * 3000])
def test_a_name_that_is_too_long_is_told_and_the_others_go_on(name: str) -> None:
    touch("a.png")
    Path("list.txt").write_text(f"{name}\na.png\n")
    for arguments in (("@list.txt",), (name, "a.png"), ("a.png", f"./{name}")):
        found = expand(*arguments)
        assert [str(path) for path in found.files] == ["a.png"]
        assert ["file name too long" in str(error) for _, error in found.failures] == [True]


def test_without_a_current_directory_absolute_paths_are_read(tmp_path: Path) -> None:
    touch("a.png")
    Path("gone").mkdir()
    os.chdir("gone")
    Path("../gone").rmdir()
    try:
        named = str(tmp_path / "a.png")
        found = expand(named, str(tmp_path), "a.png", ".")
        assert [str(path) for path in found.files] == [named]
        assert [name for name, _ in found.failures] == ["a.png", "."]
    finally:
        os.chdir(tmp_path)


def test_patterns_are_expanded_unless_a_file_has_that_name() -> None:
    touch("a1.png", "a2.png", "[x].png", "x.png")
    assert files("a*.png") == ["a1.png", "a2.png"]
    assert files("[x].png") == ["[x].png"]
    assert files("**/*.png") == ["[x].png", "a1.png", "a2.png", "x.png"]
    assert "no file matches" in failure("q*.png")


def test_explicit_files_are_taken_by_their_bytes() -> None:
    Path("photo").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert [item.kind for item in expand("photo").items] == ["image"]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("notes.txt", b"words", "of an unknown kind, expected image or audio"),
        ("nothing", b"", "empty file"),
        ("a.npy", b"\x93NUMPY", "codes, expected image or audio"),
    ],
)
def test_files_of_no_wanted_kind_say_so(name: str, content: bytes, what: str) -> None:
    Path(name).write_bytes(content)
    assert failure(name) == f"{name}: {what}"


def test_a_directory_without_media_is_a_failure() -> None:
    touch("d/notes.txt")
    assert failure("d") == "d: no image or audio files in this directory"


def test_a_directory_that_cannot_be_listed_fails_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    touch("d/a.png", "d/locked/b.png", "d/z.png")
    scandir = os.scandir

    def deny(path: Any) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    found = expand("d")
    assert [str(path) for path in found.files] == ["d/a.png", "d/z.png"]
    assert [name for name, _ in found.failures] == ["d/locked"]


def test_missing_files_say_so() -> None:
    assert failure("none.png") == "none.png: cannot read: no such file or directory"


def test_no_arguments_and_stdin_twice_are_usage_errors() -> None:
    for arguments in ((), ("-", "-")):
        with pytest.raises(UsageError):
            expand(*arguments)


def test_a_terminal_as_stdin_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    with pytest.raises(UsageError, match="stdin is a terminal"):
        expand("-")


def test_empty_stdin_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert failure("-") == "stdin: empty"


def test_listing_a_directory_asks_nothing_of_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    touch(*(f"d/{i}.png" for i in range(500)))
    asked: list[Any] = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **rest: asked.append(path) or stat(path, **rest))
    assert len(expand("d").files) == 500
    assert len(asked) < 20  # a million files must plan in seconds


def test_planning_imports_neither_numpy_nor_a_codec() -> None:
    code = (
        "import sys, vqtok.media.plan;"
        "print(sorted({'numpy', 'PIL', 'soundfile', 'soxr', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "[]"


def test_a_list_stands_for_its_paths() -> None:
    touch("a.png", "d/b.png", "d/c.wav", "@x.png")
    Path("list.txt").write_text("# comment\n\na.png\r\nd\n@x.png\n")
    assert files("@list.txt") == ["a.png", "d/b.png", "d/c.wav", "@x.png"]
    assert expand("@list.txt").many
    assert files("@x.png") == ["@x.png"]  # a file of that name is itself


def test_patterns_in_a_list_are_names() -> None:
    touch("a.png", "[a].png")
    Path("list.txt").write_text("[a].png\n-\n")
    found = expand("@list.txt")
    assert [str(path) for path in found.files] == ["[a].png"]
    assert [place for place, _ in found.failures] == ["./-"]


@pytest.mark.parametrize(
    ("content", "what"),
    [(None, "no such file"), (b"# nothing\n\n", "no paths"), (b"a\0b\n", "zero bytes")],
)
def test_a_list_that_is_none_is_a_usage_error(content: bytes | None, what: str) -> None:
    if content is not None:
        Path("list.txt").write_bytes(content)
    with pytest.raises(UsageError, match=f"@list.txt: .*{what}"):
        expand("@list.txt")


def test_a_list_on_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("a.png")
    Path("list.txt").write_text("a.png\n")
    with Path("list.txt").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert files("@-") == ["a.png"]
    with pytest.raises(UsageError, match="read only once"):
        expand("@-", "-")


def test_tars_say_what_they_are_good_for() -> None:
    for name in ("a.tar", "a.tar.gz", "a.tgz"):
        Path(name).write_bytes(b"BM, the start of a member's name")
    assert "a tar is read into a corpus only" in failure("a.tar")
    assert "a compressed tar" in failure("a.tar.gz")
    assert "a compressed tar" in failure("a.tgz")


PNG = b"\x89PNG\r\n\x1a\n"


def test_files_of_a_directory_without_a_known_suffix_are_taken_by_their_bytes() -> None:
    touch("d/notes.txt", "d/README")
    for name in ("d/photo", "d/photo.jpg_large", "d/download.bin"):
        Path(name).write_bytes(PNG)
    assert files("d") == ["d/download.bin", "d/photo", "d/photo.jpg_large"]


def test_what_is_left_out_of_directories_is_counted_and_named() -> None:
    touch("d/a.png", "d/notes.txt", "e/deep/b.TXT", "e/README", "e/c.npy", "e/.hidden")
    left_out = expand("d", "e").left_out
    assert str(left_out) == "4 files: 2 .txt, 1 codes, 1 no suffix"
    assert left_out.paths == ["d/notes.txt", "e/README", "e/c.npy", "e/deep/b.TXT"]


def test_of_many_files_that_are_left_out_only_some_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vqtok.media.kinds.NAMED", 3)
    touch("d/a.png", *(f"d/{i}.txt" for i in range(9)))
    left_out = expand("d").left_out
    assert len(left_out) == 9
    assert len(left_out.paths) == 3


def test_nothing_left_out_is_false() -> None:
    touch("d/a.png")
    assert not expand("d").left_out


def test_a_format_that_is_known_and_not_read_is_named() -> None:
    Path("a.jxl").write_bytes(b"\0\0\0\x0cJXL \r\n\x87\n")
    assert failure("a.jxl") == "a.jxl: JPEG XL, which is not read, expected image or audio"
