"""Write-then-rename: no half file ever carries its final name.

The temporary name lies in the target's own folder, so that the rename never crosses file systems,
and starts with a dot, so that neither a glob nor a directory listing of media picks it up while it
grows.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def file(target: Path) -> Iterator[Path]:
    """Give a temporary path to write; rename it to ``target`` if the block ends without an error.

    Args:
        target: Final path. Missing parent folders are made. An existing file is replaced.

    Yields:
        A path in the same folder with the same suffix (writers choose formats by suffix).

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        prefix=f".{target.stem}.", suffix=target.suffix, dir=target.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        # mkstemp makes private files; results get the permissions that open() would have given.
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        _sync(temporary)
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def directory(target: Path) -> Iterator[Path]:
    """Give a temporary directory; rename it to ``target`` if the block ends without an error.

    An existing directory is moved aside first and removed after the rename, so that at every moment
    one whole version exists on disk.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        for path in temporary.iterdir():
            if path.is_file():
                _sync(path)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            target.replace(old / target.name)
            temporary.replace(target)
            shutil.rmtree(old)
        else:
            temporary.replace(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def _sync(path: Path) -> None:
    # A rename may reach the disk before the data does; after a power cut that would be a half file.
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
