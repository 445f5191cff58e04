"""What a codes file says about itself: the JSON header, its schema and its version.

The header is untrusted input: every value is checked for type and size before anything is computed
from it. Keys that this version does not know are left alone, so that later versions may add some
without a new format number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vqtok.codes.spec import LONGEST, CodeSpec, integer
from vqtok.errors import CodesError

FORMAT = 1
"""Raised only when an older reader would misread a newer file."""

OPENING = '{"stream":1,'
"""What a stream's opening record begins with."""


@dataclass(frozen=True)
class Effort:
    """How hard codes were searched, or are to be.

    Attributes:
        level: 0: they are the nearest entries; up to 9: more time, closer pixels.
        metric: What the search makes smaller: "mse", or "ssim" for what SSIM lacks to 1.
    """

    level: int = 0
    metric: str = "mse"

    def __str__(self) -> str:
        """Write it as reports do: "3", or "3 for ssim"."""
        return str(self.level) if self.metric == "mse" else f"{self.level} for {self.metric}"


NO_EFFORT = Effort()
"""The nearest entries."""


@dataclass(frozen=True)
class Source:
    """Describes what the codes were made from, so that it is restored exactly.

    Attributes:
        name: File name without its folder ("cat.png"); "" for standard input.
        rate: Audio: original sampling rate in Hz.
        length: Audio: original samples per channel at that rate.
        mode: Image: "RGB" or "L" (grey originals are restored as grey).
        format: "PNG", "WAV", …; informative.
        channels: Audio: original channels, where several are coded together.
        loudness_db: Audio: of each item of codes, where decoding is to restore it.
    """

    name: str = ""
    rate: int | None = None
    length: int | None = None
    mode: str | None = None
    format: str | None = None
    channels: int | None = None
    loudness_db: tuple[float, ...] = ()


@dataclass(frozen=True)
class Header:
    """Holds everything that a decoder needs besides the integers.

    Attributes:
        spec: What the integers mean, with the fingerprint of the model that made them.
        extent: Original (H, W), (L,) or (T, H, W), before padding; () in the opening record of a
            stream, whose length is not known yet.
        model: NAME of that model, as ``-m`` takes it; "" if unknown.
        channels: Audio channels, each coded for itself: the batch axis of the codes.
        source: What was encoded.
        vqtok: Version that wrote the file; "" for arrays made by other programs.
        effort: Level of the search that chose the codes; 0: they are the nearest entries.
        effort_metric: What that search made smaller; "" without one.
    """

    spec: CodeSpec
    extent: tuple[int, ...]
    model: str = ""
    channels: int = 1
    source: Source = field(default_factory=Source)
    vqtok: str = ""
    effort: int = 0
    effort_metric: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return JSON data; ``from_json`` reads it back."""
        source = {
            "name": _clean(self.source.name),
            "rate": self.source.rate,
            "length": self.source.length,
            "mode": self.source.mode,
            "format": self.source.format,
            "channels": self.source.channels,
            "loudness_db": list(self.source.loudness_db),
        }
        return {
            "format": FORMAT,
            **self.spec.to_json(),
            "extent": list(self.extent),
            "model": _clean(self.model),
            "channels": self.channels,
            "source": {key: value for key, value in source.items() if value not in (None, "", [])},
            "vqtok": self.vqtok,
            **({"effort": self.effort, "effort_metric": self.effort_metric} if self.effort else {}),
        }

    @classmethod
    def from_json(cls, data: object, *, opening: bool = False) -> Header:
        """Read what ``to_json`` wrote, tolerating unknown keys.

        Args:
            data: The JSON data.
            opening: Of a stream's opening record: its extent is left empty.

        Raises:
            CodesError: not an object, a newer format, or a key that is missing or of the wrong
                type.
        """
        if not isinstance(data, Mapping):
            raise CodesError("damaged header: not an object")
        try:
            found = integer(data["format"], "format", low=1)
            if found > FORMAT:
                raise CodesError(
                    f"format {found} of a newer vqtok; this one reads up to {FORMAT}",
                    hint="pip install --upgrade vqtok",
                )
            spec = CodeSpec.from_json(data)
            sizes = [] if opening else _list(data["extent"], "extent")
            extent = tuple(integer(size, "extent") for size in sizes)
            if not opening:
                spec.shapes(extent)
            return cls(
                spec=spec,
                extent=extent,
                model=_name(data.get("model", ""), "model"),
                channels=integer(data.get("channels", 1), "channels"),
                source=_source(data.get("source", {})),
                vqtok=_text(data.get("vqtok", ""), "vqtok"),
                effort=integer(data.get("effort", 0), "effort", low=0, high=99),
                effort_metric=_text(data.get("effort_metric", ""), "effort_metric"),
            )
        except KeyError as error:
            raise CodesError(f"damaged header: {error} is missing") from error
        except ValueError as error:
            raise CodesError(f"damaged header: {error}") from error


def encode(header: Header) -> str:
    """Write a header in the one form that files have: ASCII, sorted, without spaces."""
    return json.dumps(header.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)


def encode_opening(header: Header) -> str:
    """Write the text of a stream's opening record: what is known before the end."""
    data = header.to_json()
    del data["extent"]
    for key in ("length", "loudness_db"):
        data["source"].pop(key, None)
    # The mark comes first, so that a stream is known by its first bytes.
    return OPENING + json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)[1:]


def decode(text: str | bytes, *, opening: bool = False) -> Header:
    """Read a header's text, that of a stream's opening record if ``opening``.

    Raises:
        CodesError: not JSON, or not a header.
    """
    try:
        data = json.loads(text if isinstance(text, str) else text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CodesError("damaged header: not JSON") from error
    return Header.from_json(data, opening=opening)


def _source(data: object) -> Source:
    if not isinstance(data, Mapping):
        raise ValueError("source is not an object")
    rate, length = data.get("rate"), data.get("length")
    mode, format_ = data.get("mode"), data.get("format")
    channels, loudness = data.get("channels"), data.get("loudness_db", [])
    return Source(
        name=_name(data.get("name", ""), "source.name"),
        rate=None if rate is None else integer(rate, "source.rate"),
        length=None if length is None else integer(length, "source.length"),
        mode=None if mode is None else _text(mode, "source.mode"),
        format=None if format_ is None else _text(format_, "source.format"),
        channels=None if channels is None else integer(channels, "source.channels", high=64),
        loudness_db=tuple(_decibels(each) for each in _list(loudness, "source.loudness_db")),
    )


def _decibels(value: object) -> float:
    # Far beyond what samples can be: a gain made of it must stay a number.
    if type(value) not in (int, float) or not -200.0 <= float(value) <= 100.0:  # type: ignore[arg-type]
        raise ValueError("source.loudness_db is not a list of decibels")
    return float(value)  # type: ignore[arg-type]


def _list(value: object, key: str) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"{key} is not a list")
    return value


def _text(value: object, key: str) -> str:
    if not isinstance(value, str) or len(value) > LONGEST or value != _clean(value):
        raise ValueError(f"{key} is not text")
    return value


def _name(value: object, key: str) -> str:
    # Output paths are built from these names: a folder in one could lead a decoder anywhere.
    text = _text(value, key)
    if text in (".", "..") or "/" in text or "\0" in text:
        raise ValueError(f"{key} is not a plain name")
    return text


def _clean(text: str) -> str:
    # File names that are not UTF-8 reach Python as lone surrogates, which no terminal can print;
    # control characters would be obeyed by one.
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
