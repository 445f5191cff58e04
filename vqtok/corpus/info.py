"""What a corpus is and holds: its identity, counts, statistics and the checksums of its shards.

Everything read is untrusted: types and ranges are checked before anything is computed from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from vqtok.codes import rates
from vqtok.codes.spec import CodeSpec, integer
from vqtok.corpus.disk import ByteRange
from vqtok.corpus.items import KINDS, LABEL, checking
from vqtok.corpus.vocabulary import Book
from vqtok.errors import CodesError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Built = TypeVar("Built", bound="DataclassInstance")

VERSION = 2
"""Raised only when an older reader would misread a newer corpus.

1 is what vqtok 0.1.0 reads; 2 are corpora that grew, or that carry what lay beside their items.
"""


@dataclass(frozen=True)
class Identity:
    """Holds what must be the same for a run to go on with a corpus.

    Attributes:
        format: One of ``FORMATS``.
        spec: Of all codes.
        job: JSON identity of what is done.
        names: SHA-256 of the list of names.
        count: Its length.
        shard_items: Items in a shard.
        parts: Items of each run that added some, each with shards of its own; (): one run.
        carry: What is carried beside the codes, sorted: of ``items.KINDS`` and ``LABEL``.
    """

    format: str
    spec: CodeSpec
    job: Mapping[str, Any]
    names: str
    count: int
    shard_items: int
    parts: tuple[int, ...] = ()
    carry: tuple[str, ...] = ()

    @property
    def shards(self) -> int:
        """Count the shards."""
        return sum(-(-part // self.shard_items) for part in self.parts or (self.count,))

    def spans(self) -> Iterator[tuple[int, int]]:
        """Yield the number of each shard's first item, and how many it has."""
        begin = 0
        for part in self.parts or (self.count,):
            for first in range(0, part, self.shard_items):
                yield begin + first, min(self.shard_items, part - first)
            begin += part

    def to_json(self) -> dict[str, Any]:
        """Return JSON data; ``from_json`` reads it back."""
        data = {**vars(self), "spec": self.spec.to_json(), "job": dict(self.job)}
        later = {key: list(data.pop(key)) for key in ("parts", "carry")}
        later = {key: value for key, value in later.items() if value}
        return {**data, **later, "corpus": VERSION if later else 1}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Identity:
        """Read what ``to_json`` wrote.

        Raises:
            CodesError: a newer version, or a value that is missing or of the wrong type.
        """
        with checking():
            if integer(data["corpus"], "corpus") > VERSION:
                raise CodesError("made by a newer vqtok", hint="pip install --upgrade vqtok")
            if not isinstance(data["job"], dict):
                raise ValueError("job is not an object")
            integer(data["shard_items"], "shard_items", low=1)
            parts = tuple(integer(each, "parts") for each in _list(data.get("parts", [])))
            if parts and sum(parts) != data["count"]:
                raise ValueError("its parts are at odds with its count")
            carry = tuple(_list(data.get("carry", [])))
            if not set(carry) <= {*KINDS, LABEL} or list(carry) != sorted(set(carry)):
                raise ValueError("it carries what no corpus does")
            spec = CodeSpec.from_json(data["spec"])
            return build(cls, data, spec=spec, job=data["job"], parts=parts, carry=carry)


def build(cls: type[Built], data: Any, **known: Any) -> Built:
    """Build a dataclass of numbers and texts from JSON, none of them negative.

    Args:
        cls: The dataclass.
        data: JSON data.
        known: Fields that are something else.

    Raises:
        KeyError, TypeError, ValueError: a value is missing or of the wrong type.
    """
    for each in fields(cls):
        if each.name not in known:
            value, (kind, *optional) = data[each.name], str(each.type).split(" | ")
            missing = value is None and bool(optional)
            known[each.name] = None if missing else _READERS[kind](value, each.name)
    return cls(**known)


@dataclass(frozen=True)
class ShardInfo:
    """Describes the shard of items [first, first + count) of the list of names.

    Attributes:
        first: Number of the first item.
        count: Items that belong here, failed ones among them.
        failed: Items without codes.
        ranges: The bytes that hold the others; "extents" in JSON.
    """

    first: int
    count: int
    failed: int
    ranges: tuple[ByteRange, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON data; ``from_json`` reads it back."""
        data = asdict(self)
        data["extents"] = data.pop("ranges")
        return data

    @classmethod
    def from_json(cls, data: Any) -> ShardInfo:
        """Read what ``to_json`` wrote.

        Raises:
            KeyError, TypeError, ValueError: a value is missing or of the wrong type.
        """
        ranges = tuple(build(ByteRange, each) for each in _list(data["extents"]))
        return build(cls, data, ranges=ranges)


@dataclass(frozen=True)
class CodebookUse(Book):
    """Counts how often one codebook was used.

    Attributes:
        codes: Codes made with it.
        used: Entries used at least once.
    """

    codes: int
    used: int


@dataclass(frozen=True)
class CorpusInfo:
    """Holds what ``index.json`` says.

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
        carried: Items that have each of what is carried.
    """

    identity: Identity
    items: int
    failed: int
    tokens: int
    bits: float
    pixels: int | None
    seconds: float | None
    shards: tuple[ShardInfo, ...]
    sides: tuple[ByteRange, ...]
    codebooks: tuple[CodebookUse, ...]
    layout: Mapping[str, Any] | None
    carried: Mapping[str, int] = field(default_factory=dict)

    @property
    def format(self) -> str:
        """Name the format, one of ``FORMATS``."""
        return self.identity.format

    @property
    def spec(self) -> CodeSpec:
        """Return the spec of all codes."""
        return self.identity.spec

    @property
    def job(self) -> Mapping[str, Any]:
        """Return the identity of what was done, as given to the writer."""
        return self.identity.job

    @property
    def amount(self) -> float:
        """Return the pixels, or the seconds of audio."""
        return float(self.pixels or self.seconds or 0)

    @property
    def rate(self) -> float:
        """Return nominal bits per pixel, or kbit/s; 0 if nothing was encoded."""
        return rates.rate(self.bits, self.amount, self.spec.modality)

    @property
    def model(self) -> str:
        """Name the model, the job's "model"; "" if it has none."""
        name = self.job.get("model", "")
        return name if isinstance(name, str) else ""

    def to_json(self) -> dict[str, Any]:
        """Return JSON data; ``from_json`` reads it back."""
        return {
            **self.identity.to_json(),
            "model": self.model,
            "items": self.items,
            "failed": self.failed,
            "tokens": self.tokens,
            "bits": self.bits,
            "pixels": self.pixels,
            "seconds": self.seconds,
            "shards": [each.to_json() for each in self.shards],
            "sides": [asdict(each) for each in self.sides],
            "codebooks": [asdict(each) for each in self.codebooks],
            "layout": self.layout,
            **({"carried": dict(self.carried)} if self.identity.carry else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CorpusInfo:
        """Read what ``to_json`` wrote.

        Raises:
            CodesError: a newer version, or values that are missing, of the wrong type or at odds.
        """
        with checking():
            return build(
                cls,
                data,
                identity=Identity.from_json(data),
                shards=tuple(ShardInfo.from_json(each) for each in _list(data["shards"])),
                sides=tuple(build(ByteRange, each) for each in _list(data["sides"])),
                codebooks=tuple(build(CodebookUse, each) for each in _list(data["codebooks"])),
                layout=data["layout"],
                carried=counts(data.get("carried", {})),
            )


def counts(data: Any) -> dict[str, int]:
    """Read numbers by name.

    Raises:
        AttributeError, ValueError: something else.
    """
    return {str(key): integer(value, "count", low=0) for key, value in data.items()}


def _number(value: object, key: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e30:
        raise ValueError(f"{key} is not a number")
    return float(value)


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("not a list")
    return value


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key} is not text")
    return value


_READERS: dict[str, Callable[[object, str], Any]] = {
    "int": partial(integer, low=0),
    "float": _number,
    "str": _text,
}
