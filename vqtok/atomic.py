"""Write-then-rename: no half file ever carries its final name.

The temporary name lies in the target's own folder, so that the rename never crosses file systems,
and starts with a dot, so that neither a glob nor a directory listing of media picks it up while it
grows.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vqtok.errors import VqtokError, of_writing

if TYPE_CHECKING:
    from typing_extensions import Buffer


@contextmanager
def file(target: Path) -> Iterator[Path]:
    """Give a temporary path to write; rename it to ``target`` if the block ends without an error.

    Args:
        target: Final path. Missing parent folders are made. An existing file is replaced; the file
            behind a symbolic link is replaced, not the link; a device or pipe is written into.

    Yields:
        A path in the same folder with the same suffix (writers choose formats by suffix), where an
        empty file lies.

    Raises:
        OSError: the folder cannot be written, the target is a directory, or the disk is full.
    """
    target = _destination(target)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if target.exists() and not target.is_file():
        with _into_device(target) as temporary:
            yield temporary
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(target, target.suffix)
    try:  # from here on: a signal may come as soon as the file is there
        # Exclusive creation, and with the permissions that any other program's files get here.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        if target.exists():
            shutil.copymode(target, temporary)
        yield temporary
        _sync(temporary)
        temporary.replace(target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        _raise_of_writing(error, target)
        raise


@contextmanager
def directory(target: Path) -> Iterator[Path]:
    """Give a temporary directory; rename it to ``target`` if the block ends without an error.

    An existing directory is moved aside first and removed after the rename. At every moment one
    whole version exists on disk: under its own name but for the instant between the two renames,
    and then, should the process be killed right there, beside it as ``.NAME.XXXXXXXX``.

    Raises:
        OSError: the folder cannot be written, the target is a file, or the disk is full.
    """
    target = _destination(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, aside = _beside(target), _beside(target)
    try:
        temporary.mkdir()
        yield temporary
        for path in temporary.iterdir():
            if path.is_file():
                _sync(path)
        if target.exists():
            target.replace(aside)
        temporary.replace(target)
    except BaseException as error:
        if aside.exists() and not target.exists():
            aside.replace(target)
        shutil.rmtree(temporary, ignore_errors=True)
        _raise_of_writing(error, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


class Stream:
    """A file for libraries that would write to its descriptor and not look at what became of it.

    They are not given the descriptor: all bytes go through Python, where a full disk is an error.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: Buffer) -> int:
        """Take all of the bytes."""
        return self._file.write(data)

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes."""
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as files do."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Offset of the next byte."""
        return self._file.tell()

    def flush(self) -> None:
        """Hand everything to the system."""
        self._file.flush()


def _raise_of_writing(error: BaseException, target: Path) -> None:
    """Raise the error under the target's name, if it came of writing."""
    if isinstance(error, Exception) and not isinstance(error, VqtokError):
        made = of_writing(error, target)
        if made is not error:
            raise made from error


@contextmanager
def _into_device(target: Path) -> Iterator[Path]:
    # A rename would replace /dev/null itself.
    with tempfile.TemporaryDirectory(prefix="vqtok-") as folder:
        temporary = Path(folder) / f"output{target.suffix}"
        temporary.touch()
        yield temporary
        with temporary.open("rb") as written, target.open("wb") as device:
            shutil.copyfileobj(written, device)


def _destination(target: Path) -> Path:
    return target.resolve() if target.is_symlink() else target


def _beside(target: Path, suffix: str = "") -> Path:
    # 40 characters: a name of the greatest length must leave room for what is put around it.
    stem = target.name.removesuffix(suffix)[:40]
    return target.with_name(f".{stem}.{os.urandom(4).hex()}{suffix}")


def _sync(path: Path) -> None:
    # A rename may reach the disk before the data does; after a power cut that would be a half file.
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
