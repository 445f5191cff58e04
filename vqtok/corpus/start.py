"""Opening a folder to write a corpus into: is it empty, this job's, another's, or no corpus?"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from vqtok.codes.spec import CodeSpec
from vqtok.corpus import discard, disk, index, kinds, names
from vqtok.corpus.identity import Identity
from vqtok.corpus.info import CorpusInfo
from vqtok.corpus.kinds import INDEX, JOB
from vqtok.corpus.log import Log
from vqtok.corpus.place import Place
from vqtok.corpus.tree import SUFFIX
from vqtok.errors import CodesError, UsageError


def identity(
    format: str, known: Sequence[str], spec: CodeSpec, job: Mapping[str, Any], shard_items: int
) -> Identity:
    """What a later run must share to go on with this one.

    Raises:
        UsageError: a job that is no JSON.
    """
    try:
        plain = json.loads(json.dumps(dict(job), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(f"job: not JSON: {error}") from error
    return Identity(
        format=format,
        spec=CodeSpec.from_json(json.loads(json.dumps(spec.to_json()))),
        job=plain,
        names=names.digest(known),
        count=len(known),
        shard_items=shard_items,
    )


def prepare(
    where: Place, wanted: Identity, known: Sequence[str], *, restart: bool
) -> CorpusInfo | None:
    """Make the folder ready for writing.

    Returns:
        What it holds if this very job was finished, else None.

    Raises:
        UsageError: the folder holds something else.
        CodesError: what it holds is damaged.
        OSError: it cannot be written.
    """
    discard.resume(where.folder)
    if restart and index.is_corpus(where.folder):
        discard.begin(where.folder)
    if (where.folder / INDEX).exists() and index.is_corpus(where.folder):
        return _complete(where, wanted)
    if (where.state / JOB).exists():
        _compare(where, Identity.from_json(index.read_json(where.state / JOB)), wanted)
        return None
    _begin(where, wanted, known)
    return None


def check(where: Place, log: Log) -> None:
    """Refuse to go on where files of committed shards are gone.

    Raises:
        CodesError: naming the file.
    """
    grown = {name: size for name, size in log.lengths.items() if size}
    for name, size in grown.items():
        found = [place for place in (where.state / name, where.folder / name) if place.exists()]
        if not found or found[0].stat().st_size < size:
            raise CodesError(f"{where.folder / name}: missing or cut", hint="-f starts over")
    for shard in log.shards:
        for extent in shard.extents:
            path = where.folder / extent.path
            if extent.path not in grown and _size(path) != extent.bytes:
                raise CodesError(f"{path}: missing or changed", hint="-f starts over")


def _complete(where: Place, wanted: Identity) -> CorpusInfo:
    info = index.read(where.folder)
    _compare(where, info.identity, wanted)
    disk.remove_tree(where.state)  # the last step of finishing may have been cut short
    for extent in (*info.sides, *(each for shard in info.shards for each in shard.extents)):
        path = where.folder / extent.path
        if _size(path) < extent.start + extent.bytes:
            raise CodesError(f"{path}: missing or cut", hint="-f starts over")
    return info


def _size(path: os.PathLike[str]) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except FileNotFoundError:
        return -1


def _compare(where: Place, found: Identity, wanted: Identity) -> None:
    if found == wanted:
        return
    theirs, ours = found.to_json(), wanted.to_json()
    other = sorted(key for key in ours if theirs.get(key) != ours[key])
    what = {"count": "number of items", "names": "names", "shard_items": "shard size"}
    listed = ", ".join(what.get(key, key) for key in other)
    raise UsageError(
        f"{where.folder}: holds a corpus of another job (other {listed})",
        hint="-f deletes it and starts over; or choose another folder",
    )


def _begin(where: Place, wanted: Identity, known: Sequence[str]) -> None:
    # The state folder marks a folder as ours: only one that was empty ever gets it.
    others = sorted(path.name for path in where.folder.iterdir() if path != where.state)
    if others and not where.state.is_dir():
        raise UsageError(
            f"{where.folder}: neither empty nor a corpus (it holds {others[0]})",
            hint="choose another folder",
        )
    if others:
        _refuse_collisions(where, wanted)
    state = disk.subfolder(where.folder, (kinds.STATE,))
    for path in sorted(state.iterdir()):
        disk.remove(path)
    disk.sync_folder(where.folder)
    if where.format == "files":
        with disk.Output(state / discard.NAMES) as out:
            for name in known:
                out.write(json.dumps(name).encode() + b"\n")
            out.sync()
    text = json.dumps(wanted.to_json(), sort_keys=True, indent=1) + "\n"
    disk.put(state / JOB, text.encode(), by_way_of=state / "new-job")


def _refuse_collisions(where: Place, wanted: Identity) -> None:
    """A corpus that was discarded may have left others' files behind: they are not ours to take."""
    planned = kinds.sides(where.format)
    if where.format == "files":
        planned += [where.keys[number] + SUFFIX for number in range(wanted.count)]
    elif where.format != "bin":
        planned += [path for n in range(wanted.shards) for path in kinds.paths(where.format, n)]
    for path in planned:
        if os.path.lexists(where.folder / path):
            raise UsageError(f"{where.folder / path}: in the way", hint="choose another folder")
