"""Codes of many items, wherever they lie: corpora of any format, and files one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vqtok.codes import files
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.corpus.index import is_corpus
from vqtok.corpus.reader import CorpusReader
from vqtok.errors import CodesError

__all__ = ["Found", "Unread", "gather", "is_corpus"]


@dataclass(frozen=True)
class Found:
    """Holds one item.

    Attributes:
        name: For people: where it lies.
        label: Its directory, relative to the corpus or folder that was named, as POSIX; the name of
            that folder if it lies in it directly.
        codes: numpy arrays (B, *axes), B = 1 or the number of channels.
        header: What decoding needs.
    """

    name: str
    label: str
    codes: Codes
    header: Header


@dataclass(frozen=True)
class Unread:
    """Names a file that could not be read."""

    name: str
    error: CodesError


def gather(
    corpora: Iterable[Path], loose: Iterable[tuple[Path, Path | None]]
) -> Iterator[Found | Unread]:
    """Yield the items of corpora, then of files, one in memory at a time.

    Args:
        corpora: Folders.
        loose: Files of codes, and the folder that each was found under, None if it was named.

    Raises:
        CodesError: a corpus that is unfinished or damaged.
    """
    for folder in corpora:
        own = folder.resolve().name
        for entry in CorpusReader(folder):
            label = entry.name.rpartition("/")[0] or own
            yield Found(f"{folder}/{entry.name}", label, entry.codes, entry.header)
    for path, root in loose:
        try:
            codes, header = files.read(path)
        except CodesError as error:
            yield Unread(str(path), error)
        else:
            yield Found(str(path), _label(path, root), codes, header)


def _label(path: Path, root: Path | None) -> str:
    if root is None:
        return path.resolve().parent.name
    folder = path.relative_to(root).parent.as_posix()
    return root.resolve().name if folder == "." else folder
