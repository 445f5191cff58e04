"""The folder of a corpus that is written: whose it is, by whom, and how to start over.

What is to be deleted is written down first; whoever opens the folder next goes on with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from vqtok.corpus import disk, format, index, items, names
from vqtok.corpus.format import Format, Staging
from vqtok.corpus.index import JOB, compare
from vqtok.corpus.info import CorpusInfo, Identity
from vqtok.corpus.log import Log
from vqtok.corpus.names import FAILED, HISTOGRAM, INDEX, ITEMS, STATE, Keys
from vqtok.corpus.vocabulary import Vocabulary
from vqtok.errors import CodesError, UsageError

NAMES = "names.jsonl"
"""In the state of corpora that grow, or whose items are files of their own: the names of all."""

_PLAN = "discard.jsonl"

_held: set[int] = set()


class Lock:
    """Locks a folder itself, so that no file can be left over; the lock ends with the process.

    Where the system or the file system knows no such locks, nothing is locked.

    Args:
        folder: Exists.

    Raises:
        UsageError: another process has it.
        OSError: not a folder that can be read.
    """

    def __init__(self, folder: Path) -> None:
        self._file: int | None = None
        try:
            import fcntl
        except ImportError:  # not a POSIX system
            return
        self._file = os.open(folder, os.O_RDONLY)
        _held.add(self._file)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise UsageError(
                folder, "another process is writing this corpus", hint="wait for it to end"
            ) from error
        except OSError:  # some network file systems
            self.release()

    def release(self) -> None:
        """Let others write; again and again is allowed."""
        if self._file is not None:
            _held.discard(self._file)
            os.close(self._file)
            self._file = None


def _let_go() -> None:
    # A forked worker shares the lock, and would keep it after this process was killed.
    for file in _held:
        os.close(file)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def prepare(
    staging: Staging, wanted: Identity, known: Sequence[str], *, restart: bool
) -> CorpusInfo | None:
    """Make the folder ready for writing.

    Args:
        staging: Of the folder.
        wanted: Identity of the corpus.
        known: The names of its items.
        restart: Delete the corpus that the folder holds.

    Returns:
        What it holds if this very job was finished, else None.

    Raises:
        UsageError: the folder holds something else.
        CodesError: what it holds is damaged.
        OSError: it cannot be written.
    """
    folder = staging.folder
    _go_on_discarding(folder)
    if restart and index.is_corpus(folder):
        discard(folder)
    if (folder / INDEX).exists() and index.is_corpus(folder):
        return _complete(staging, wanted)
    if (folder / JOB).exists():
        compare(folder, Identity.from_json(index.read_json(folder / JOB)), wanted)
        return None
    _begin(staging, wanted, known)
    return None


def check(staging: Staging, log: Log) -> None:
    """Refuse to go on where files of committed shards are gone.

    Raises:
        CodesError: naming the file.
    """
    folder = staging.folder
    grown = {name: size for name, size in log.lengths.items() if size}
    for name, size in grown.items():
        sizes = [disk.size_of(path) for path in (staging.state / name, folder / name)]
        if next((found for found in sizes if found >= 0), -1) < size:
            raise CodesError(folder / name, "missing or cut", hint="-f starts over")
    for shard in log.shards:
        for each in shard.ranges:
            path = folder / each.path
            if each.path not in grown and disk.size_of(path) != each.bytes:
                raise CodesError(path, "missing or changed", hint="-f starts over")


def _complete(staging: Staging, wanted: Identity) -> CorpusInfo:
    info = index.read(staging.folder)
    compare(staging.folder, info.identity, wanted)
    if unfinished(staging.folder) in (None, info.identity):
        disk.remove_tree(staging.state)  # the last step of finishing may have been cut short
    for each in (*info.sides, *(each for shard in info.shards for each in shard.ranges)):
        path = staging.folder / each.path
        if disk.size_of(path) < each.start + each.bytes:
            raise CodesError(path, "missing or cut", hint="-f starts over")
    return info


def unfinished(folder: Path) -> Identity | None:
    """Return the identity of what a folder's state is of; None if it has none."""
    try:
        return Identity.from_json(index.read_json(folder / JOB))
    except (OSError, CodesError):
        return None


def _begin(staging: Staging, wanted: Identity, known: Sequence[str]) -> None:
    # The state folder marks a folder as ours: only one that was empty ever gets it.
    folder, own = staging.folder, format.named(wanted.format)
    others = sorted(path.name for path in folder.iterdir() if path != staging.state)
    if others and not staging.state.is_dir():
        raise UsageError(
            folder,
            f"neither empty nor a corpus (it holds {others[0]})",
            hint="choose another folder",
        )
    if others:
        # A corpus that was discarded may have left others' files behind: they are not ours to take.
        refuse_taken(folder, _files(own, range(wanted.shards)))
        refuse_taken(folder, item_files(own, staging, range(wanted.count)))
    clear(staging)
    mark(staging, wanted, known if own.item_files else None)


def refuse_taken(folder: Path, paths: Iterable[str]) -> None:
    """Refuse to write where files of others are.

    Raises:
        UsageError: naming the first.
    """
    for path in paths:
        if os.path.lexists(folder / path):
            raise UsageError(folder / path, "in the way", hint="choose another folder")


def clear(staging: Staging) -> None:
    """Make the state folder, or empty it."""
    state = disk.subfolder(staging.folder, (STATE,))
    for left in sorted(state.iterdir()):
        disk.remove(left)
    disk.sync_folder(staging.folder)


def mark(staging: Staging, wanted: Identity, known: Sequence[str] | None) -> None:
    """Write down whose the state is, and names if they are wanted; from here on it counts."""
    state = staging.state
    if known is not None:
        with disk.Output(state / NAMES) as out:
            for name in known:
                out.write(json.dumps(name).encode() + b"\n")
            out.sync()
    text = json.dumps(wanted.to_json(), sort_keys=True, indent=1) + "\n"
    disk.put(staging.folder / JOB, text.encode(), by_way_of=state / "new-job")


def known_names(folder: Path) -> list[str]:
    """Read the names that the state of a corpus holds.

    Raises:
        CodesError: damaged.
        OSError: it holds none.
    """
    with disk.regular(folder / STATE / NAMES) as stream:
        return [names.read(json.loads(line)) for line in stream]


def _files(own: Format, shards: Iterable[int]) -> Iterator[str]:
    """Yield the files that a corpus of a format may have beside those of its items."""
    yield INDEX  # first to be deleted: what lacks anything must not look complete
    yield from (FAILED, HISTOGRAM, *own.growing, *own.derived)
    if not own.growing:
        yield from shard_files(own, shards)


def shard_files(own: Format, shards: Iterable[int]) -> Iterator[str]:
    """Yield the files of shards, where each has its own."""
    if not own.growing:
        for shard in shards:
            yield from own.shard_files(shard)


def item_files(own: Format, staging: Staging, numbers: Iterable[int]) -> Iterator[str]:
    """Yield the files of items, where each has its own."""
    if own.item_files:
        for number in numbers:
            for suffix in own.all_suffixes(staging.carry):
                yield staging.keys[number] + suffix


def discard(folder: Path) -> None:
    """Write down what the corpus in the folder owns, then delete it.

    Raises:
        CodesError: its index or state is damaged, so that nobody knows what it owns.
    """
    state = disk.subfolder(folder, (STATE,))
    with disk.Output(state / "new-plan") as out:
        for path in _owned(folder):
            out.write(json.dumps(path).encode() + b"\n")
        out.sync()
    disk.move(state / "new-plan", state / _PLAN)
    _go_on_discarding(folder)


def _go_on_discarding(folder: Path) -> None:
    """Delete what was written down, if anything was."""
    state = folder / STATE
    if not (state / _PLAN).is_file():
        return
    with disk.regular(state / _PLAN) as stream:
        for line in stream:
            _delete(folder, names.read(json.loads(line)))
    for path in sorted(state.iterdir()):
        if path.name != _PLAN:
            disk.remove(path)
    disk.sync_folder(state)
    disk.remove(state / _PLAN)


def _owned(folder: Path) -> Iterator[str]:
    found = []
    for path in (folder / INDEX, folder / JOB):  # both: a corpus that was growing
        try:
            if path.is_file():
                identity = Identity.from_json(index.read_json(path))
                found.append((path, identity, format.named(identity.format)))
        except CodesError as error:
            raise CodesError(path, error.reason, hint="delete the folder yourself") from error
    for _, identity, own in found:
        yield from _files(own, range(identity.shards))
    for path, identity, own in found:
        if own.item_files and path.name == INDEX:
            yield from _listed(folder, own, identity)
        elif own.item_files:
            known = known_names(folder)
            keys = keys_of(own, known, identity.parts, identity.carry)
            staging = Staging(
                folder, identity.spec, Vocabulary(identity.spec), keys, identity.carry
            )
            yield from item_files(own, staging, range(len(known)))


def _listed(folder: Path, own: Format, identity: Identity) -> Iterator[str]:
    size = (folder / ITEMS).stat().st_size
    for line in items.lines(folder / ITEMS, start=0, size=size):
        # The listing may be anyone's: it must not name the files of others for us to delete.
        safe = names.read(line.get("path"))
        if not safe.endswith(own.suffixes[0]):
            raise CodesError(f"unsafe path {safe!r} in {ITEMS}")
        yield safe
        key, carried = safe.removesuffix(own.suffixes[0]), line.get("carried")
        if isinstance(carried, dict):
            yield from (key + suffix for kind, suffix in own.beside.items() if kind in carried)


def keys_of(own: Format, names: Sequence[str], parts: Sequence[int], carry: Sequence[str]) -> Keys:
    """Make the keys of a corpus' items.

    Raises:
        UsageError: names that are not unique and relative.
    """
    suffixes = own.all_suffixes(carry)
    in_folder = own.item_files and suffixes != own.suffixes
    return Keys(names, dots=own.dots, suffixes=suffixes, parts=parts, in_folder=in_folder)


def _delete(folder: Path, path: str) -> None:
    *above, _ = path.split("/")
    parents = [folder.joinpath(*above[:depth]) for depth in range(1, len(above) + 1)]
    if any(parent.is_symlink() or not parent.is_dir() for parent in parents):
        return  # gone already, or somewhere else
    disk.remove(folder / path)
    for parent in reversed(parents):
        with suppress(OSError):  # others' files in it: it stays
            os.rmdir(parent)  # noqa: PTH106
