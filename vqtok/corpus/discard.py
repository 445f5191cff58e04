"""Starting over: deleting what a corpus owns and nothing else, even if that is cut short.

What is to go is written down first; whoever opens the folder next goes on with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vqtok.corpus import disk, index, items, kinds, names
from vqtok.corpus.identity import Identity
from vqtok.corpus.kinds import INDEX, ITEMS, JOB, STATE
from vqtok.corpus.names import Keys
from vqtok.corpus.tree import SUFFIX
from vqtok.errors import CodesError

NAMES = "names.jsonl"
"""In the state of an unfinished corpus of format "files": its names."""

_PLAN = "discard.jsonl"


def begin(folder: Path) -> None:
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
    resume(folder)


def resume(folder: Path) -> None:
    """Go on with what was written down, if anything was."""
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
    yield INDEX  # first: what lacks anything must not look complete
    complete = (folder / INDEX).is_file()
    place = folder / INDEX if complete else folder / STATE / JOB
    try:
        identity = Identity.from_json(index.read_json(place))
    except CodesError as error:
        raise CodesError(f"{place}: {error}", hint="delete the folder yourself") from error
    if identity.format == "files":
        yield from _files(folder, complete=complete)
    elif identity.format != "bin":
        for shard in range(identity.shards):
            yield from kinds.paths(identity.format, shard)
    yield from kinds.sides(identity.format)


def _files(folder: Path, *, complete: bool) -> Iterator[str]:
    if complete:
        path = folder / ITEMS
        with disk.regular(path) as stream:
            for line in items.lines(stream, start=0, size=path.stat().st_size):
                yield _ours(line.get("path"))
        return
    path = folder / STATE / NAMES
    with disk.regular(path) as stream:
        known = [names.read(json.loads(line)) for line in stream]
    keys = Keys(known, dots=True, suffixes=(SUFFIX,))
    for number in range(len(known)):
        yield keys[number] + SUFFIX


def _ours(path: object) -> str:
    # The listing may be anyone's: it must not name the files of others for us to delete.
    safe = names.read(path)
    if not safe.endswith(SUFFIX):
        raise CodesError(f"unsafe path {safe!r} in {ITEMS}")
    return safe


def _delete(folder: Path, path: str) -> None:
    *above, _ = path.split("/")
    parents = [folder.joinpath(*above[:depth]) for depth in range(1, len(above) + 1)]
    if any(parent.is_symlink() or not parent.is_dir() for parent in parents):
        return  # gone already, or somewhere else
    disk.remove(folder / path)
    for parent in reversed(parents):
        with suppress(OSError):  # others' files in it: it stays
            os.rmdir(parent)  # noqa: PTH106
