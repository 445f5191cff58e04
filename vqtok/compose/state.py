"""The folder of a stream that is being composed: killed at any moment, it goes on exactly.

What is unfinished lies in a state folder. Units of work are appended to growing files there, in
order, and count once their line is in the log; what lies behind the last line is cut off.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from vqtok.codes.spec import integer
from vqtok.compose.block import Merged
from vqtok.corpus import disk, items
from vqtok.corpus.disk import ByteRange, Output
from vqtok.corpus.folder import Lock
from vqtok.corpus.index import is_corpus, read_json
from vqtok.corpus.items import checking
from vqtok.corpus.log import LOG
from vqtok.corpus.names import COMMAND, INDEX, STATE
from vqtok.errors import CodesError, UsageError

MARK = "composed"
"""Key of ``index.json`` that tells a stream from a corpus."""

JOB = "job.json"


_OWN = re.compile(
    r"(tokens|train|validation)(\.bin|\.idx|\.jsonl|\.boundaries\.npy|-\d{5}\.(parquet|arrow|tar))"
    r"|(missing|failed|unused)\.jsonl|(vocabulary|tokenizer|merges)\.json"
)
"""Names of all files that a stream can have beside its index."""


@dataclass
class Totals:
    """Sums up documents.

    Attributes:
        documents: In the stream.
        tokens: Of them.
        longest: Of one.
        kinds: Tokens of each kind.
        items: Blocks of each modality.
        failed: Items that could not be composed.
        missing: Items without text.
        unused: Texts without an item.
        merged: Of each tokenizer whose codes were merged, by its number: "items", "samples" of
            sound, "codes", the "tokens" that these became, and nominal "bits" of the codes.
    """

    documents: int = 0
    tokens: int = 0
    longest: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    missing: int = 0
    unused: int = 0
    merged: dict[str, dict[str, int]] = field(default_factory=dict)

    def add_merged(
        self, tokenizer: int, modality: str, extent: Sequence[int], merged: Merged | None
    ) -> None:
        """Count an item whose codes were merged.

        Args:
            tokenizer: Its number.
            modality: Of the item.
            extent: Of the item.
            merged: What merging did; None: nothing.
        """
        if merged is None:
            return
        own = self.merged.setdefault(str(tokenizer), {})
        samples = extent[0] if modality == "audio" else 0
        for name, count in {"items": 1, "samples": samples, **merged._asdict()}.items():
            own[name] = own.get(name, 0) + count

    @classmethod
    def from_json(cls, data: Any) -> Totals:
        """Read what ``asdict`` gives.

        Raises:
            CodesError: something else.
        """
        with checking():
            found: dict[str, Any] = {}
            for each in fields(cls):
                value = data.get(each.name, {}) if each.name == "merged" else data[each.name]
                if each.name in ("kinds", "items"):
                    found[each.name] = _counts(value)
                elif each.name == "merged":
                    found[each.name] = {str(key): _counts(own) for key, own in value.items()}
                else:
                    found[each.name] = integer(value, each.name, low=0)
        return cls(**found)


def _counts(data: Mapping[str, Any]) -> dict[str, int]:
    return {str(key): integer(value, key, low=0) for key, value in data.items()}


class State:
    """Holds the folder of a stream, and its lock.

    Args:
        folder: Made if missing.
        job: Identity of what is done: JSON.
        growing: Names of the files that units are appended to.
        restart: Delete the stream that the folder holds.
        command: What a person types to go on.

    Attributes:
        complete: An earlier run finished this very job.
        done: Units that count.
        totals: Over them.

    Raises:
        UsageError: the folder holds something else, or another process writes there.
        CodesError: what it holds is damaged.
        OSError: it cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        job: Mapping[str, Any],
        growing: tuple[str, ...],
        *,
        restart: bool,
        command: str,
    ) -> None:
        self.folder, self.path = folder, folder / STATE
        self._growing = growing
        self.done, self.totals = 0, Totals()
        self.lengths = dict.fromkeys(growing, 0)
        self._length = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(folder)
        try:
            ours = restart and self._discard()
            self.complete = self._begin(job, ours=ours)
            if not self.complete:
                self._load()
                if not self.done:  # a stream without units has its files too
                    for name in growing:
                        Output(self.path / name).close()
                disk.put(self.path / COMMAND, command.encode(), by_way_of=self.path / "new-command")
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Let others write."""
        self._lock.release()

    def append(self, data: Mapping[str, bytes]) -> None:
        """Make a unit count for good; ``totals`` are those with it."""
        for name in self._growing:
            with Output(self.path / name, start=self.lengths[name]) as out:
                out.write(data.get(name, b""))
                out.sync()
            self.lengths[name] += out.size
        line = {"lengths": self.lengths, "totals": asdict(self.totals), "unit": self.done}
        with Output(self.path / LOG, start=self._length) as out:
            out.write(items.dump(line).encode() + b"\n")
            out.sync()
        self._length += out.size
        self.done += 1

    @contextmanager
    def fresh(self, name: str) -> Iterator[Output]:
        """Write a file that gets its name when it is whole."""
        unfinished = self.path / f"new-{name}"
        with Output(unfinished, name=name) as out:
            yield out
            out.sync()
        disk.move(unfinished, self.folder / name)

    def publish(self, name: str, target: str) -> ByteRange:
        """Move a growing file into the folder, unless an earlier run did."""
        if (self.path / name).exists():
            disk.move(self.path / name, self.folder / target)
        return disk.measure(self.folder, target, size=self.lengths[name])

    def finish(self, index: Mapping[str, Any]) -> None:
        """Write the index, after which the stream is complete, and delete the state."""
        text = json.dumps(index, sort_keys=True, indent=1, allow_nan=False) + "\n"
        disk.put(self.folder / INDEX, text.encode(), by_way_of=self.path / "new-index")
        disk.remove_tree(self.path)
        self.complete = True

    def _begin(self, job: Mapping[str, Any], *, ours: bool) -> bool:
        """Take the folder, or go on; True if all is done."""
        whole = json.loads(json.dumps(job))
        if (self.folder / INDEX).exists():
            found = _job_in(self.folder / INDEX)
            if found is None:
                raise UsageError(self.folder, "holds something else", hint="choose another folder")
            _compare(self.folder, found, whole)
            disk.remove_tree(self.path)  # the last step may have been cut short
            return True
        if (self.path / JOB).exists() and not ours:
            found = _job_in(self.path / JOB)
            if found is None:
                raise UsageError(
                    self.folder, "holds an unfinished corpus", hint="choose another folder"
                )
            _compare(self.folder, found, whole)
            return False
        others = sorted(path.name for path in self.folder.iterdir() if path != self.path)
        if others and not ours:
            raise UsageError(
                self.folder,
                f"neither empty nor a stream (it holds {others[0]})",
                hint="choose another folder",
            )
        disk.subfolder(self.folder, (STATE,))
        for left in sorted(self.path.iterdir()):
            if left.name != JOB:
                disk.remove(left)
        disk.sync_folder(self.folder)
        self._mark({"job": whole})
        return False

    def _mark(self, data: Mapping[str, Any]) -> None:
        text = json.dumps({MARK: 1, **data}, sort_keys=True, indent=1) + "\n"
        disk.put(self.path / JOB, text.encode(), by_way_of=self.path / "new-job")

    def _discard(self) -> bool:
        """Delete the stream that the folder holds, and no other files; False if there is none.

        What is deleted is written down first, so that whoever is killed here goes on with it.
        """
        index = self.folder / INDEX
        if is_corpus(self.folder):
            raise UsageError(self.folder, "holds a corpus", hint="choose another folder")
        if _job_in(index) is not None:
            listed = read_json(index).get("files", [])
            names = [str(each.get("path")) for each in listed if isinstance(each, dict)]
            disk.subfolder(self.folder, (STATE,))
            self._mark({"job": {}, "discard": names})
            disk.remove(index)
        if _job_in(self.path / JOB) is None:
            return False
        known = read_json(self.path / JOB)
        for name in (*known.get("discard", []), *self._leftovers()):
            if isinstance(name, str) and _OWN.fullmatch(name):
                disk.remove(self.folder / name)
        return True

    def _leftovers(self) -> list[str]:
        """Return the files in the folder that finishing a stream makes."""
        return [path.name for path in self.folder.iterdir() if _OWN.fullmatch(path.name)]

    def _load(self) -> None:
        path = self.path / LOG
        if not path.is_file():
            return
        with disk.regular(path) as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                try:
                    data = items.load(line)
                    with checking(path):
                        lengths = {
                            name: integer(data["lengths"][name], name, low=0)
                            for name in self._growing
                        }
                        if data["unit"] != self.done:
                            raise CodesError(path, "damaged: units out of order")
                    self.totals = Totals.from_json(data["totals"])
                except CodesError as error:
                    error.hint = "-f starts over"
                    raise
                self.lengths = lengths
                self._length += len(line)
                self.done += 1


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with disk.regular(path) as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def is_stream(folder: Path) -> bool:
    """Tell whether a folder holds a composed stream, complete or unfinished."""
    return any(_job_in(path) is not None for path in (folder / INDEX, folder / STATE / JOB))


def _job_in(path: Path) -> Mapping[str, Any] | None:
    try:
        data = read_json(path)
    except (OSError, CodesError):
        return None
    return data.get("job", {}) if MARK in data else None


def _compare(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    other = [key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)]
    if other:
        raise UsageError(
            folder,
            f"holds what was composed otherwise: {', '.join(other)}",
            hint="choose another folder, or -f starts over",
        )
