"""What a corpus is and holds: its identity, counts, statistics and the checksums of its shards.

Everything read is untrusted: types and ranges are checked before anything is computed from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vqtok.codes import rates
from vqtok.codes.spec import CodeSpec, integer
from vqtok.corpus.identity import Identity, checking, text
from vqtok.corpus.kinds import FAILED, HISTOGRAM, OFFSETS, paths
from vqtok.corpus.vocabulary import COUNTED, Book, Vocabulary


@dataclass(frozen=True)
class Extent:
    """A range of bytes of one of the corpus' files, and what they hash to."""

    path: str
    start: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardInfo:
    """Items [first, first + count) of the list of names.

    Attributes:
        first: Number of the first item.
        count: Items that belong here, failed ones among them.
        failed: Items without codes.
        extents: The bytes that hold the others.
    """

    first: int
    count: int
    failed: int
    extents: tuple[Extent, ...]


@dataclass(frozen=True)
class CodebookUse:
    """How often one codebook was used.

    Attributes:
        level: Name of the level.
        stage: Position on the "q" axis; None for levels without one.
        offset: Token id of code 0: where this codebook begins in the histogram and in tokens.bin.
        size: Entries, K.
        codes: Codes made with it.
        used: Entries used at least once.
    """

    level: str
    stage: int | None
    offset: int
    size: int
    codes: int
    used: int


@dataclass(frozen=True)
class CorpusInfo:
    """What ``index.json`` says.

    Attributes:
        identity: Format, spec, job and names.
        model: NAME of the model; "" if unknown.
        items: Items with codes.
        failed: Items without.
        tokens: Codes in all items, levels and channels (BOS tokens are not counted).
        bits: Their nominal cost, log2 K each.
        pixels: Image and video: of all items; None for audio.
        seconds: Audio: of all recordings, whatever their channels; None otherwise.
        shards: In item order.
        sides: Files beside the shards: failures, histogram, Megatron's index.
        codebooks: Levels coarse to fine, stages in order; empty if the vocabulary is too large to
            count (above 4 194 304 codes).
        layout: Format "bin": {"dtype", "bos", "vocabulary"}; otherwise None.
    """

    identity: Identity
    items: int
    failed: int
    tokens: int
    bits: float
    pixels: int | None
    seconds: float | None
    shards: tuple[ShardInfo, ...]
    sides: tuple[Extent, ...]
    codebooks: tuple[CodebookUse, ...]
    layout: Mapping[str, Any] | None

    @property
    def format(self) -> str:
        """One of ``FORMATS``."""
        return self.identity.format

    @property
    def spec(self) -> CodeSpec:
        """Of all codes."""
        return self.identity.spec

    @property
    def job(self) -> Mapping[str, Any]:
        """Identity of what was done, as given to the writer."""
        return self.identity.job

    @property
    def shard_items(self) -> int:
        """Items in a shard, but for the last."""
        return self.identity.shard_items

    @property
    def amount(self) -> float:
        """Pixels, or seconds of audio."""
        return float(self.pixels or self.seconds or 0)

    @property
    def rate(self) -> float:
        """Nominal bits per pixel, or kbit/s; 0 if nothing was encoded."""
        return rates.rate(self.bits, self.amount, self.spec.modality)

    @property
    def model(self) -> str:
        """NAME of the model, the job's "model"; "" if it has none."""
        name = self.job.get("model", "")
        return name if isinstance(name, str) else ""

    def to_json(self) -> dict[str, Any]:
        """JSON data; ``from_json`` reads it back."""
        return {
            **self.identity.to_json(),
            "model": self.model,
            "items": self.items,
            "failed": self.failed,
            "tokens": self.tokens,
            "bits": self.bits,
            "pixels": self.pixels,
            "seconds": self.seconds,
            "shards": [asdict(each) for each in self.shards],
            "sides": [asdict(each) for each in self.sides],
            "codebooks": [asdict(each) for each in self.codebooks],
            "layout": self.layout,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CorpusInfo:
        """Read what ``to_json`` wrote.

        Raises:
            CodesError: a newer version, or values that are missing, of the wrong type or at odds.
        """
        identity = Identity.from_json(data)
        with checking():
            seconds, pixels = data["seconds"], data["pixels"]
            info = cls(
                identity=identity,
                items=integer(data["items"], "items", low=0),
                failed=integer(data["failed"], "failed", low=0),
                tokens=integer(data["tokens"], "tokens", low=0),
                bits=_number(data["bits"]),
                pixels=None if pixels is None else integer(pixels, "pixels", low=0),
                seconds=None if seconds is None else _number(seconds),
                shards=tuple(shard_from_json(each) for each in _list(data["shards"])),
                sides=tuple(_extent(each) for each in _list(data["sides"])),
                codebooks=tuple(_codebook(each) for each in _list(data["codebooks"])),
                layout=data["layout"],
            )
            _check(info)
        return info


def shard_from_json(data: Any) -> ShardInfo:
    """Read one shard.

    Raises:
        KeyError, TypeError, ValueError: a value is missing or of the wrong type.
    """
    return ShardInfo(
        first=integer(data["first"], "first", low=0),
        count=integer(data["count"], "count"),
        failed=integer(data["failed"], "failed", low=0),
        extents=tuple(_extent(each) for each in _list(data["extents"])),
    )


def _check(info: CorpusInfo) -> None:
    own = info.identity
    if len(info.shards) != own.shards or info.items + info.failed != own.count:
        raise ValueError("its counts are at odds")
    for number, shard in enumerate(info.shards):
        first = number * own.shard_items
        whole = min(own.shard_items, own.count - first)
        if shard.first != first or shard.count != whole or shard.failed > whole:
            raise ValueError(f"shard {number} is at odds with the others")
        if [each.path for each in shard.extents] != paths(own.format, number):
            raise ValueError(f"shard {number} lies in other files than its format has")
    if sum(shard.failed for shard in info.shards) != info.failed:
        raise ValueError("its failures are at odds")
    if not {each.path for each in info.sides} <= {FAILED, HISTOGRAM, OFFSETS}:
        raise ValueError("a side file that no corpus has")
    _check_vocabulary(info, Vocabulary(own.spec))


def _check_vocabulary(info: CorpusInfo, vocabulary: Vocabulary) -> None:
    if info.layout != (vocabulary.layout if info.format == "bin" else None):
        raise ValueError("its layout is not that of its codes")
    # Their number first: a spec of few bytes may have millions.
    counted = len(vocabulary) if vocabulary.bos <= COUNTED else 0
    found = [Book(use.level, use.stage, use.offset, use.size) for use in info.codebooks]
    if len(found) != counted or (counted and found != vocabulary.books()):
        raise ValueError("its codebooks are not those of its codes")


def _extent(data: Any) -> Extent:
    return Extent(
        path=text(data["path"]),
        start=integer(data["start"], "start", low=0),
        bytes=integer(data["bytes"], "bytes", low=0),
        sha256=text(data["sha256"]),
    )


def _codebook(data: Any) -> CodebookUse:
    stage = data["stage"]
    return CodebookUse(
        level=text(data["level"]),
        stage=None if stage is None else integer(stage, "stage", low=0),
        offset=integer(data["offset"], "offset", low=0),
        size=integer(data["size"], "size"),
        codes=integer(data["codes"], "codes", low=0),
        used=integer(data["used"], "used", low=0),
    )


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e30:
        raise ValueError("not a number")
    return float(value)


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("not a list")
    return value
