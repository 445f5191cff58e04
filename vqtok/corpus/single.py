"""A corpus as one tar: written in a folder beside it, as any corpus, and then taken out of there.

It has no index: every member says what it is, and nothing vouches for it.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vqtok.codes.spec import CodeSpec
from vqtok.corpus import disk, folder
from vqtok.corpus.formats.tar import FORMAT, entries
from vqtok.corpus.index import summed
from vqtok.corpus.info import CorpusInfo, Identity
from vqtok.corpus.items import KINDS, LABEL, Entry
from vqtok.corpus.log import Totals
from vqtok.corpus.names import INDEX, STATE, digest
from vqtok.corpus.vocabulary import Histogram, Vocabulary
from vqtok.errors import CodesError

SUFFIX = ".tar"

_DAMAGE = (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError)


def is_target(output: str, format: str) -> bool:
    """Tell whether ``-o x.tar`` means one tar; ``-o x.tar/`` and a folder do not."""
    named = output.lower().endswith(SUFFIX)
    return named and format == FORMAT.name and not Path(output).is_dir()


def part_of(target: Path) -> Path:
    """Return the folder in which a tar is written."""
    return target.with_name(f"{target.name}.part")


def take_out(part: Path, target: Path) -> None:
    """Move the shard of a finished corpus out of its folder, and delete the folder.

    Each step may be the last before a kill; ``ended`` then takes the rest.

    Raises:
        CodesError: it cannot be written.
    """
    try:
        (name,) = FORMAT.shard_files(0)
        disk.move(part / name, target)
        disk.sync_folder(part)
        _clean(part)
    except OSError as error:
        raise CodesError(target, f"cannot write: {error.strerror or error}") from error


def ended(part: Path, target: Path) -> bool:
    """Tell whether a run had moved the tar and no more; its folder is then deleted."""
    (name,) = FORMAT.shard_files(0)
    if not (part / INDEX).is_file() or (part / name).exists() or not target.exists():
        return False
    _clean(part)
    return True


def _clean(part: Path) -> None:
    folder.discard(part)
    disk.remove_tree(part / STATE)
    with suppress(OSError):  # it holds files of others
        part.rmdir()


def is_codes_tar(path: Path) -> bool:
    """Tell whether a tar begins with an item of a corpus."""
    if path.suffix.lower() != SUFFIX or not path.is_file():
        return False
    try:
        with disk.regular(path) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            first, second = archive.next(), archive.next()
    except _DAMAGE:
        return False
    if first is None or second is None:
        return False
    return first.name.endswith(".npy") and second.name == first.name[: -len(".npy")] + ".json"


class TarReader:
    """Reads the items of one tar, in order; one is in memory at a time.

    Args:
        path: The tar.

    Attributes:
        spec: Of all codes.

    Raises:
        CodesError: it holds no codes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.spec: CodeSpec = CodeSpec("image", ())
        first = next(iter(self._read(None)), None)
        if first is None:
            raise CodesError(path, "holds no codes")
        self.spec = first.header.spec

    def __iter__(self) -> Iterator[Entry]:
        """Yield the items.

        Raises:
            CodesError: damaged.
        """
        return self._read(self.spec)

    def _read(self, spec: CodeSpec | None) -> Iterator[Entry]:
        try:
            with disk.regular(self._path) as stream:
                size = os.fstat(stream.fileno()).st_size
                yield from entries(stream, size=size, spec=spec, carry=KINDS)
        except CodesError as error:
            error.about(self._path)
            raise
        except _DAMAGE as error:
            raise CodesError(self._path, f"damaged: {error}") from error


def describe(path: Path) -> tuple[CorpusInfo, Histogram]:
    """Read a whole tar: what an index would say of it, and how often each id occurs.

    Raises:
        CodesError: damaged.
    """
    reader = TarReader(path)
    totals, histogram = Totals(), Histogram(Vocabulary(reader.spec))
    names, model = list[str](), ""
    for entry in reader:
        totals.add(entry.codes, carried=entry.carried)
        histogram.add(entry.codes)
        names.append(entry.name)
        model = model or entry.header.model
    carry = tuple(sorted(set(totals.carried) - {LABEL}))
    identity = Identity(
        FORMAT.name, reader.spec, {"model": model}, digest(names), len(names), max(1, len(names)),
        carry=carry,
    )  # fmt: skip
    return summed(identity, totals, (), (), FORMAT, histogram), histogram
