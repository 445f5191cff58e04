"""A finished corpus grows: what is in it stays as it is, what is new becomes shards of its own.

The corpus stays complete and readable until the new items are; then its index is replaced. What the
state of an unfinished corpus holds is made from what the finished one says, and from there on
writing, killing and going on are those of any corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vqtok.corpus import disk, folder, index
from vqtok.corpus.format import Staging, named
from vqtok.corpus.index import compare
from vqtok.corpus.info import CorpusInfo, Identity
from vqtok.corpus.items import LABEL, label_of
from vqtok.corpus.log import Log, Totals
from vqtok.corpus.names import FAILED, INDEX, digest
from vqtok.corpus.reader import CorpusReader
from vqtok.corpus.vocabulary import Histogram, Vocabulary
from vqtok.errors import CodesError, UsageError


@dataclass(frozen=True)
class Growth:
    """Says what a corpus holds, and what is added.

    Attributes:
        names: All, those that it holds first.
        parts: Items of each run.
        later: New items that are not added yet: an earlier run that was cut short comes first.
        info: Of the corpus that grows; None if what was begun goes on.
        totals: Over what it holds.
        histogram: Over what it holds.
    """

    names: Sequence[str]
    parts: tuple[int, ...]
    later: int = 0
    info: CorpusInfo | None = None
    totals: Totals = field(default_factory=Totals)
    histogram: Histogram | None = None

    @property
    def new(self) -> int:
        """Count the items that are added."""
        if self.info is not None:
            return len(self.names) - self.info.identity.count
        return self.parts[-1] if self.parts else len(self.names)

    def identity(self, wanted: Identity) -> Identity:
        """Return the identity of the corpus with what is added."""
        parts = self.parts if len(self.parts) > 1 else ()
        count, names = len(self.names), digest(self.names)
        return replace(wanted, names=names, count=count, parts=parts)


def grow(place: Path, wanted: Sequence[str]) -> Growth:
    """Find what is new.

    Args:
        place: Folder of the corpus.
        wanted: Names of items, new ones and others.

    Raises:
        UsageError: no finished corpus.
        CodesError: it is damaged.
    """
    begun = folder.unfinished(place)
    info = index.read(place) if (place / INDEX).is_file() else None
    if begun is not None and begun.parts and (info is None or info.identity != begun):
        return _going_on(place, begun, wanted)
    if info is None:
        what = "not a corpus" if begun is None else "an unfinished corpus"
        hint = "leave --append out to make it" if begun is None else "finish it without --append"
        raise UsageError(place, what, hint=hint)
    names, totals, histogram = _contents(place)
    if len(names) != info.identity.count or digest(names) != info.identity.names:
        raise CodesError(place, "damaged: its items are not those of its index")
    have = set(names)
    new = [name for name in wanted if name not in have]
    parts = info.identity.parts or (info.identity.count,)
    return Growth([*names, *new], (*parts, len(new)) if new else parts, 0, info, totals, histogram)


def _going_on(place: Path, begun: Identity, wanted: Sequence[str]) -> Growth:
    names = folder.known_names(place)
    first = begun.count - begun.parts[-1]
    have, pending = set(names[:first]), names[first:]
    new = {name for name in wanted if name not in have}
    missing = [name for name in pending if name not in new]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UsageError(
            place,
            f"items are being added that are not among these: {missing[0]}{more}",
            hint="name them too, or -f starts over",
        )
    return Growth(names, begun.parts, len(new) - len(pending))


def _contents(place: Path) -> tuple[list[str], Totals, Histogram]:
    """Read the whole corpus: its names in order, sums and counts; checksums are checked."""
    reader = CorpusReader(place)
    failures = (name for name, _ in reader.failures())
    names: list[str] = []
    totals, histogram = Totals(), Histogram(Vocabulary(reader.info.spec))
    labels = LABEL in reader.info.identity.carry
    try:
        for entry in reader:
            while len(names) < entry.number:
                names.append(next(failures))
            names.append(entry.name)
            carried = (*entry.carried, *([LABEL] if labels and label_of(entry.name) else []))
            totals.add(entry.codes, carried=carried)
            histogram.add(entry.codes)
    except StopIteration as error:
        raise CodesError(place, "damaged: items are missing") from error
    names += failures
    totals.failed = reader.info.failed
    return names, totals, histogram


def begin(staging: Staging, growth: Growth, wanted: Identity) -> CorpusInfo | None:
    """Make the state that adding goes on from, unless there is nothing to add.

    Returns:
        What the corpus holds if it has everything already.

    Raises:
        UsageError: a corpus of another job, or files of others in the way.
        OSError: it cannot be written.
    """
    info, place = growth.info, staging.folder
    if info is None or growth.histogram is None:
        begun = folder.unfinished(place)
        if begun is not None:
            compare(place, begun, wanted)
        return None
    compare(place, info.identity, wanted, grows=True, hint="a corpus grows with its own settings")
    if not growth.new:
        disk.remove_tree(staging.state)
        return info
    own, before = named(wanted.format), info.identity
    folder.refuse_taken(place, folder.shard_files(own, range(before.shards, wanted.shards)))
    numbers = range(before.count, wanted.count)
    folder.refuse_taken(place, folder.item_files(own, staging, numbers))
    folder.clear(staging)
    lengths = dict.fromkeys(own.growing, 0)
    for each in (each for shard in info.shards for each in shard.ranges if each.path in lengths):
        lengths[each.path] = max(lengths[each.path], each.start + each.bytes)
    lengths |= {side.path: side.bytes for side in info.sides if side.path == FAILED}
    for name, size in lengths.items():
        with disk.Output(staging.state / name) as out, disk.regular(place / name) as source:
            while rest := size - out.size:
                data = source.read(min(rest, 1 << 20))
                if not data:
                    raise CodesError(place / name, "truncated")
                out.write(data)
            out.sync()
    log = Log(staging.state)
    log.totals = growth.totals
    log.take_up(info.shards, lengths, growth.histogram)
    disk.sync_folder(staging.state)
    folder.mark(staging, wanted, growth.names)
    return None
