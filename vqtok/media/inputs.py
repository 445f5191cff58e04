"""Arguments → files: directories, patterns, ``@lists``, ``-`` for stdin. Standard library only."""

from __future__ import annotations

import glob
import io
import os
import stat
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, cast

from vqtok import regular
from vqtok.errors import MediaError, UsageError, VqtokError, explained
from vqtok.media.kinds import (
    HEAD_BYTES,
    MODALITIES,
    Kind,
    LeftOut,
    compressed,
    is_compressed_tar,
    is_tar,
    kind_in_directory,
    modality,
    sniff,
    sniff_format,
    supported,
)
from vqtok.media.opening import os_message

STDIN = "-"
STDIN_LIST = "@-"
_MOST_LIST_BYTES = 1 << 30

# What ``decode`` and ``eval`` leave beside their inputs; a second run must not take it for input.
_OUTPUT_MARK = ".recon"


class Input(NamedTuple):
    """One file to work on.

    Attributes:
        path: None for stdin.
        kind: What it holds, by its bytes or, in directories, by its suffix.
        root: The directory argument that it was found under, or None if it was named itself.
    """

    path: Path | None
    kind: Kind
    root: Path | None = None


class Inputs(NamedTuple):
    """What a list of arguments stands for.

    Attributes:
        items: Each file once, in the order of the arguments, directories sorted by name.
        failures: (argument, why it gave no file); the others go on.
        many: Whether the arguments can stand for more than one file, however many there are.
        left_out: Files in directories that are of no wanted kind.
    """

    items: tuple[Input, ...]
    failures: tuple[tuple[str, VqtokError], ...]
    many: bool
    left_out: LeftOut

    @property
    def files(self) -> tuple[Path, ...]:
        """Paths of the items, without stdin."""
        return tuple(item.path for item in self.items if item.path is not None)


def inputs_of(arguments: Sequence[str], kinds: Collection[Kind]) -> Inputs:
    """Expand file arguments.

    A file that is named itself is taken whatever its suffix. A directory is searched through all
    its levels for files of the wanted kinds, by suffix, or by their first bytes if the suffix is
    none that is known; without hidden files and without our own ``*.recon.*``. A pattern is
    expanded only if no file has that very name. ``@list.txt`` stands for the paths in it.

    Raises:
        UsageError: no arguments, stdin twice, or a list that cannot be read.
    """
    files: list[Input] = []
    failures: list[tuple[str, VqtokError]] = []
    left_out = LeftOut()
    places = expanded(arguments)
    for place in places:
        try:
            files.extend(expand(place, kinds, failures, left_out))
        except UsageError:
            raise
        except (VqtokError, OSError) as error:
            failures.append((place, explained(error, place)))
    many = places != [arguments[0]] or _is_directory(places[0])
    # One directory holds no file twice.
    items = tuple(_each_once(files) if len(places) > 1 else files)
    return Inputs(items, tuple(failures), many, left_out)


def expanded(arguments: Sequence[str]) -> list[str]:
    """Files, directories and ``-``, once patterns and lists are expanded.

    Raises:
        UsageError: no arguments, stdin twice, or a list that cannot be read.
    """
    if not arguments:
        raise UsageError("no input files", hint="name files or directories, or - for stdin")
    if sum(argument in (STDIN, STDIN_LIST) for argument in arguments) > 1:
        raise UsageError("-", "stdin can be read only once")
    return [place for argument in arguments for place in _places(argument)]


def _places(argument: str) -> list[str]:
    """Returns the argument itself, or what it matches or lists."""
    if argument == STDIN or os.path.lexists(argument):
        return [argument]
    if is_list(argument):
        # A line is a path: "./-" is a file, and so is "-".
        return [f".{os.sep}-" if path == STDIN else path for path in read_list(argument)]
    if not glob.has_magic(argument):
        return [argument]
    matches = glob.glob(argument, recursive=True)  # noqa: PTH207  # Path.glob knows no absolute ones
    return sorted(matches) or [argument]


def expand(
    place: str,
    kinds: Collection[Kind],
    failures: list[tuple[str, VqtokError]],
    left_out: LeftOut,
) -> list[Input]:
    """Returns the files of one place, and counts what is left out of a directory.

    Raises:
        MediaError: none of a wanted kind is there.
        OSError: the place itself cannot be looked at.
    """
    if place == STDIN:
        return [Input(None, _kind_of_stdin(kinds))]
    path = Path(place)
    if not path.is_dir():
        return [Input(path, _kind_of(path, place, kinds))]
    before = len(failures)
    found = [
        Input(Path(file), kind, path) for file, kind in _walk(place, kinds, failures, left_out)
    ]
    if not found and len(failures) == before:
        wanted = " or ".join(sorted(kinds, reverse=True))
        raise MediaError(place, f"no {wanted} files in this directory", hint=_takes(kinds))
    return found


def _is_directory(place: str) -> bool:
    try:
        return Path(place).is_dir()
    except OSError:
        return False


def _kind_of(path: Path, place: str, kinds: Collection[Kind]) -> Kind:
    """Kind of a file that was named itself; reading it finds out whether that is true."""
    try:
        status = path.stat()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and glob.has_magic(place):
            raise MediaError(place, "no such file, and no file matches the pattern") from error
        raise MediaError(
            place, f"cannot read: {os_message(error)}", hint=_output(path, kinds)
        ) from error
    if is_compressed_tar(path):
        raise compressed(path)
    if is_tar(path) and "codes" not in kinds:  # first: a tar begins with a name, which says nothing
        raise MediaError(place, "a tar is read into a corpus only", hint="--format tar -o DIR/")
    kind = modality(path)
    if kind is not None and kind in kinds:
        return kind
    if kind is None and len(kinds) == 1:
        return next(iter(kinds))
    if kind is None and not stat.S_ISREG(status.st_mode):
        raise MediaError(place, "not a regular file", hint=f"cat {place} | vqtok … -")
    if kind is None and status.st_size == 0:
        raise MediaError(place, "empty file")
    if not stat.S_ISREG(status.st_mode):  # what is read from a pipe is gone
        raise _unwanted(place, kind, kinds, holds=None)
    with path.open("rb") as stream:
        raise _unwanted(place, kind, kinds, holds=sniff_format(stream.read(HEAD_BYTES)))


def _output(path: Path, kinds: Collection[Kind]) -> str | None:
    """Hint at -o, if a file that is not there would be one that the command makes."""
    made = MODALITIES.get(path.suffix.lower())
    return None if made is None or made in kinds else f"-o {path} writes it"


def _kind_of_stdin(kinds: Collection[Kind]) -> Kind:
    """Kind of what stdin holds, without taking a byte from it."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("-", "stdin is a terminal", hint="cat FILE | vqtok … -")
    if len(kinds) == 1:
        return next(iter(kinds))
    stream = sys.stdin.buffer
    if stream.seekable():
        start = stream.tell()
        head = stream.read(HEAD_BYTES)
        stream.seek(start)
    else:
        head = cast(io.BufferedReader, stream).peek(HEAD_BYTES)
    if not head:
        raise MediaError("stdin", "empty")
    kind = sniff(head)
    if kind is not None and kind in kinds:
        return kind
    raise _unwanted("stdin", kind, kinds, holds=sniff_format(head))


def _unwanted(
    place: str, kind: Kind | None, kinds: Collection[Kind], *, holds: str | None
) -> MediaError:
    wanted = " or ".join(sorted(kinds, reverse=True))
    what = kind or (f"{holds}, which is not read" if holds else "of an unknown kind")
    return MediaError(place, f"{what}, expected {wanted}", hint=_takes(kinds))


def _takes(kinds: Collection[Kind]) -> str:
    return "supported: " + ", ".join(supported(kind) for kind in sorted(kinds, reverse=True))


def _walk(
    place: str,
    kinds: Collection[Kind],
    failures: list[tuple[str, VqtokError]],
    left_out: LeftOut,
) -> Iterator[tuple[str, Kind]]:
    """Files of the wanted kinds under a directory, as ``walk`` finds them."""
    for path, suffix in walk(place, failures, wanted=lambda suffix: _is_of(suffix, kinds)):
        kind = kind_in_directory(path, suffix)
        if kind is not None and kind in kinds:
            yield path, kind
        else:
            left_out.add(path, kind)


def _is_of(suffix: str, kinds: Collection[Kind]) -> bool:
    return MODALITIES.get(suffix) in kinds


def walk(
    place: str,
    failures: list[tuple[str, VqtokError]],
    *,
    wanted: Callable[[str], bool] = lambda suffix: suffix in MODALITIES,
) -> Iterator[tuple[str, str]]:
    """Paths and lower-case suffixes of the files under a directory, depth first, sorted by name.

    Hidden files and our own ``*.recon.*`` are left out. Links to directories are followed, except
    back into a directory that they lie in. What cannot be looked at, a directory that cannot be
    listed, and pipes, sockets and devices under a wanted suffix are failures of their own.
    """
    try:
        levels = [(_identity(place), _listed(place, failures))]
    except OSError as error:
        failures.append((place, _unreadable(place, error)))
        return
    while levels:
        entry = next(levels[-1][1], None)
        if entry is None:
            levels.pop()
            continue
        if entry.name.startswith("."):
            continue
        stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122  # a Path each costs seconds
        try:
            if entry.is_dir():
                own = _identity(entry.path)
                if all(own != above for above, _ in levels):
                    levels.append((own, _listed(entry.path, failures)))
                continue
            special = "" if stem.endswith(_OUTPUT_MARK) else _why_special(entry, suffix.lower())
        except OSError as error:
            failures.append((entry.path, _unreadable(entry.path, error)))
            continue
        if stem.endswith(_OUTPUT_MARK):
            continue
        if not special:
            yield entry.path, suffix.lower()
        elif wanted(suffix.lower()):
            failures.append((entry.path, MediaError(entry.path, special)))


def _listed(place: str, failures: list[tuple[str, VqtokError]]) -> Iterator[os.DirEntry[str]]:
    """Entries of a directory by name; those that came before an error, if there is one."""
    entries: list[os.DirEntry[str]] = []
    try:
        with os.scandir(place) as listing:
            for entry in listing:
                entries.append(entry)
    except OSError as error:
        failures.append((place, _unreadable(place, error)))
    return iter(sorted(entries, key=lambda entry: entry.name))


def _why_special(entry: os.DirEntry[str], suffix: str) -> str:
    """Says why an entry that is no directory is no file either; "" if it is one.

    Raises:
        OSError: it cannot be looked at, or is a broken link that may have led to a directory.
    """
    if entry.is_file():
        return ""
    if entry.is_symlink():
        try:
            entry.stat()
        except FileNotFoundError:
            if not suffix:
                raise
            return ""  # listed, so that reading it says so, if its kind is wanted
    return "not a regular file"


def _unreadable(place: str, error: OSError) -> MediaError:
    made = MediaError(place, f"cannot read: {os_message(error)}")
    made.__cause__ = error
    return made


def _identity(place: str) -> tuple[int, int]:
    status = os.stat(place)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _each_once(items: list[Input]) -> list[Input]:
    """Returns the items without those named before, by another spelling or through a directory."""
    seen: dict[str, Input] = {}
    for item in items:
        seen.setdefault(STDIN if item.path is None else place_of(item.path), item)
    return list(seen.values())


def place_of(path: Path) -> str:
    """Returns the absolute path as text, without system calls: links are not resolved."""
    text = str(path)
    if not path.is_absolute():
        with suppress(OSError):  # the current directory is gone: nothing has a place there
            text = f"{os.getcwd()}{os.sep}{text}"  # noqa: PTH109
    return os.path.normpath(text) if ".." in text else text


def is_list(argument: str) -> bool:
    """Checks whether an argument names a list; a file that is really called ``@x`` is itself."""
    return len(argument) > 1 and argument.startswith("@") and not os.path.lexists(argument)


def read_list(argument: str) -> list[str]:
    """Returns the paths of ``@list.txt``, or of ``@-`` on stdin, as they are written there.

    Empty lines and lines that start with ``#`` are left out. Relative paths start from the current
    directory, wherever the list lies; patterns are not expanded.

    Raises:
        UsageError: a list that cannot be read, or without a path.
    """
    name = argument[1:]
    try:
        if argument == STDIN_LIST:
            if sys.stdin is None or sys.stdin.isatty():
                raise UsageError("@-", "stdin is a terminal", hint="find … | vqtok … @-")
            data = sys.stdin.buffer.read(_MOST_LIST_BYTES)
        else:
            data = regular.read(Path(name), most=_MOST_LIST_BYTES)
    except OSError as error:
        raise UsageError(argument, f"cannot read the list: {os_message(error)}") from error
    # File names are bytes; those that are no UTF-8 get through as Python writes them.
    lines = (line.rstrip(b"\r") for line in data.split(b"\n"))
    paths = [os.fsdecode(line) for line in lines if line.strip() and not line.startswith(b"#")]
    if any("\0" in path for path in paths):
        raise UsageError(argument, "not a list of paths: it holds zero bytes")
    if not paths:
        raise UsageError(argument, "no paths in this list")
    return paths
