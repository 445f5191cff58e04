"""What a corpus is the result of: the facts that a resumed run must share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vqtok.codes.spec import CodeSpec, integer
from vqtok.corpus.kinds import FORMATS
from vqtok.errors import CodesError

VERSION = 1
"""Raised only when an older reader would misread a newer corpus."""


@dataclass(frozen=True)
class Identity:
    """What must be the same for a run to go on with a corpus.

    Attributes:
        format: One of ``FORMATS``.
        spec: Of all codes.
        job: JSON identity of what is done.
        names: SHA-256 of the list of names.
        count: Its length.
        shard_items: Items in a shard.
    """

    format: str
    spec: CodeSpec
    job: Mapping[str, Any]
    names: str
    count: int
    shard_items: int

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.count // self.shard_items)

    def to_json(self) -> dict[str, Any]:
        """JSON data; ``from_json`` reads it back."""
        fields = {field: getattr(self, field) for field in _IDENTITY}
        return {**fields, "corpus": VERSION, "spec": self.spec.to_json(), "job": dict(self.job)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Identity:
        """Read what ``to_json`` wrote.

        Raises:
            CodesError: a newer version, or a value that is missing or of the wrong type.
        """
        with checking():
            if integer(data["corpus"], "corpus") > VERSION:
                raise CodesError("made by a newer vqtok", hint="pip install --upgrade vqtok")
            if data["format"] not in FORMATS or not isinstance(data["job"], dict):
                raise ValueError("format or job is impossible")
            return cls(
                format=data["format"],
                spec=CodeSpec.from_json(data["spec"]),
                job=data["job"],
                names=text(data["names"]),
                count=integer(data["count"], "count", low=0),
                shard_items=integer(data["shard_items"], "shard_items"),
            )


class checking:
    """Every way in which JSON can be something else, as one error."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyError):
            raise CodesError(f"damaged: {error} is missing") from error
        if isinstance(error, TypeError | ValueError | AttributeError):
            raise CodesError(f"damaged: {error}") from error


def text(value: object) -> str:
    """A string from JSON.

    Raises:
        ValueError: another type.
    """
    if not isinstance(value, str):
        raise ValueError("not text")
    return value


_IDENTITY = ("format", "names", "count", "shard_items")
