"""The folder of a corpus that is written: whose it is, by whom, and how to start over.

What is to be deleted is written down first; whoever opens the folder next goes on with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from vqtok.corpus import disk, format, index, items, names
from vqtok.corpus.format import Format
from vqtok.corpus.index import JOB
from vqtok.corpus.info import CorpusInfo, Identity
from vqtok.corpus.log import Log
from vqtok.corpus.names import FAILED, HISTOGRAM, INDEX, ITEMS, STATE, Keys
from vqtok.corpus.staging import Staging
from vqtok.errors import CodesError, UsageError

_NAMES = "names.jsonl"
"""In the state of formats whose items are files of their own: the names of all."""

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
        _discard(folder)
    if (folder / INDEX).exists() and index.is_corpus(folder):
        return _complete(staging, wanted)
    if (folder / JOB).exists():
        _compare(folder, Identity.from_json(index.read_json(folder / JOB)), wanted)
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
    _compare(staging.folder, info.identity, wanted)
    disk.remove_tree(staging.state)  # the last step of finishing may have been cut short
    for each in (*info.sides, *(each for shard in info.shards for each in shard.ranges)):
        path = staging.folder / each.path
        if disk.size_of(path) < each.start + each.bytes:
            raise CodesError(path, "missing or cut", hint="-f starts over")
    return info


def _compare(folder: Path, found: Identity, wanted: Identity) -> None:
    if found == wanted:
        return
    theirs, ours = found.to_json(), wanted.to_json()
    other = sorted(key for key in ours if theirs.get(key) != ours[key])
    what = {"count": "number of items", "names": "names", "shard_items": "shard size"}
    listed = ", ".join(what.get(key, key) for key in other)
    raise UsageError(
        folder,
        f"holds a corpus of another job (other {listed})",
        hint="-f deletes it and starts over; or choose another folder",
    )


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
        for path in (*_files(own, wanted.shards), *_item_files(own, staging.keys, wanted.count)):
            if os.path.lexists(folder / path):
                raise UsageError(folder / path, "in the way", hint="choose another folder")
    state = disk.subfolder(folder, (STATE,))
    for left in sorted(state.iterdir()):
        disk.remove(left)
    disk.sync_folder(folder)
    if own.item_files:
        with disk.Output(state / _NAMES) as out:
            for name in known:
                out.write(json.dumps(name).encode() + b"\n")
            out.sync()
    text = json.dumps(wanted.to_json(), sort_keys=True, indent=1) + "\n"
    disk.put(folder / JOB, text.encode(), by_way_of=state / "new-job")


def _files(own: Format, shards: int) -> Iterator[str]:
    """Yield the files that a corpus of a format may have beside those of its items."""
    yield INDEX  # first to be deleted: what lacks anything must not look complete
    yield from (FAILED, HISTOGRAM, *own.growing, *own.derived)
    if not own.growing:
        for shard in range(shards):
            yield from own.shard_files(shard)


def _item_files(own: Format, keys: Keys, count: int) -> Iterator[str]:
    if own.item_files:
        for number in range(count):
            yield keys[number] + own.suffixes[0]


def _discard(folder: Path) -> None:
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
    complete = (folder / INDEX).is_file()
    path = folder / (INDEX if complete else JOB)
    try:
        identity = Identity.from_json(index.read_json(path))
        own = format.named(identity.format)
    except CodesError as error:
        raise CodesError(path, error.reason, hint="delete the folder yourself") from error
    yield from _files(own, identity.shards)
    if own.item_files and complete:
        size = (folder / ITEMS).stat().st_size
        for line in items.lines(folder / ITEMS, start=0, size=size):
            # The listing may be anyone's: it must not name the files of others for us to delete.
            safe = names.read(line.get("path"))
            if not safe.endswith(own.suffixes[0]):
                raise CodesError(f"unsafe path {safe!r} in {ITEMS}")
            yield safe
    elif own.item_files:
        with disk.regular(folder / STATE / _NAMES) as stream:
            known = [names.read(json.loads(line)) for line in stream]
        keys = Keys(known, dots=own.dots, suffixes=own.suffixes)
        yield from _item_files(own, keys, len(known))


def _delete(folder: Path, path: str) -> None:
    *above, _ = path.split("/")
    parents = [folder.joinpath(*above[:depth]) for depth in range(1, len(above) + 1)]
    if any(parent.is_symlink() or not parent.is_dir() for parent in parents):
        return  # gone already, or somewhere else
    disk.remove(folder / path)
    for parent in reversed(parents):
        with suppress(OSError):  # others' files in it: it stays
            os.rmdir(parent)  # noqa: PTH106
