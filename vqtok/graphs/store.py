"""Graphs in a model directory: written with their facts, read only if they belong to its weights.

``encoder.onnx`` and ``decoder.onnx`` hold structure, and refer to ``model.safetensors`` for their
numbers. ``graphs.json`` says which weights they are of, and how far float32 errs in them.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vqtok import atomic, regular
from vqtok.codes import safetensors
from vqtok.errors import CheckpointError, CodesError
from vqtok.graphs.graph import WEIGHTS, Graph, Weight

ENCODER, DECODER, FACTS = "encoder.onnx", "decoder.onnx", "graphs.json"

FILES = (ENCODER, DECODER, FACTS)

FORMAT = 1
"""Of ``graphs.json``."""

LARGEST = 1 << 24
"""Bytes of a graph that holds structure only."""

GAIN = 10.0
"""Of the vectors that labels give to blocks, as ``tokenizers/_labels`` has it."""

_KINDS = {"F32": False, "F16": True}

_BITS: dict[bool, tuple[Any, Any, int]] = {
    True: (np.dtype("<u2"), np.uint16(0x7FFF), 0x7C00),
    False: (np.dtype("<u4"), np.uint32(0x7FFFFFFF), 0x7F800000),
}
"""float16 or not → the integer of its bits, all but the sign, and infinity; NaN lies behind it."""
_BLOCK = 1 << 18
"""Numbers at once."""


@dataclass(frozen=True)
class Graphs:
    """Networks of one model.

    Attributes:
        encoder: Signals or features → latents.
        decoder: Quantized latents → signals or spectra.
        facts: What a coder needs besides: quantizers, labels, what networks see around a position.
    """

    encoder: Graph
    decoder: Graph
    facts: Mapping[str, Any]


class Stored:
    """Graphs of a model directory, and its numbers; a graph is read when it is asked for.

    Args:
        folder: Of the model.
        content: Of ``graphs.json``, checked.

    Raises:
        CheckpointError: damaged weights, or such that are not finite.
    """

    def __init__(self, folder: Path, content: Mapping[str, Any]) -> None:
        self._folder, self._content = folder, content
        self.facts: Mapping[str, Any] = content["facts"]
        """As of ``Graphs``."""
        self.errors: tuple[float, ...] = tuple(map(float, content["errors"]))
        """Of each level, the largest distance of float32 latents from float64 on the probe."""
        self._places, self.arrays = numbers(folder / WEIGHTS)
        """Tensors of the weights by name, as they lie in the file."""

    @cached_property
    def encoder(self) -> Graph:
        """Read the encoder.

        Raises:
            CheckpointError: missing, damaged, foreign, or of other weights.
        """
        return self._read(ENCODER)

    @cached_property
    def decoder(self) -> Graph:
        """Read the decoder.

        Raises:
            CheckpointError: as ``encoder``.
        """
        return self._read(DECODER)

    def _read(self, name: str) -> Graph:
        path = self._folder / name
        graph = _graph(path, self._content["sha256"][name])
        known = {(each.begin, each.half, each.size) for each in self._places.values()}
        for weight in graph.weights:
            if (weight.begin, weight.half, weight.size) not in known:
                raise CheckpointError(path, f"{weight.name}: not a tensor of {WEIGHTS}")
        return graph


def places(stream: BinaryIO, weights: Path) -> dict[str, Weight]:
    """Find where each float tensor of a weights file lies.

    Args:
        stream: The file, opened.
        weights: Its name.

    Raises:
        CheckpointError: a damaged file.
    """
    try:
        table = safetensors.table(stream, os.fstat(stream.fileno()).st_size)
        table.numbers()
    except CodesError as error:
        raise CheckpointError(weights, f"damaged: {error.reason}") from error
    return {
        name: Weight(
            name,
            tuple(entry["shape"]),
            _KINDS[entry["dtype"]],
            table.start + entry["data_offsets"][0],
        )
        for name, entry in table.tensors.items()
        if entry.get("dtype") in _KINDS
    }


def numbers(weights: Path) -> tuple[dict[str, Weight], dict[str, np.ndarray]]:
    """Map every tensor of a weights file that holds floats, all of them finite.

    Returns:
        Where each lies, and its numbers.

    Raises:
        CheckpointError: NaN or infinite values, or a file that is missing or damaged.
    """
    try:
        with regular.opened(weights) as stream:
            known = places(stream, weights)
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        reason = f"cannot read: {error.strerror or error}"
        raise CheckpointError(weights, reason) from error
    whole = np.frombuffer(mapped, np.uint8)
    arrays = {name: _array(weights, whole, place) for name, place in known.items()}
    if hasattr(mmap, "MADV_DONTNEED"):  # most of what was looked at is not needed again
        mapped.madvise(mmap.MADV_DONTNEED)
    return known, arrays


def _array(weights: Path, whole: np.ndarray, place: Weight) -> np.ndarray:
    data = np.asarray(whole[place.begin : place.begin + place.size])
    if len(data) != place.size:
        raise CheckpointError(weights, f"damaged: {place.name}")
    array = data.view("<f2" if place.half else "<f4").reshape(place.shape)
    kind, size, infinity = _BITS[place.half]
    bits = data.view(kind)
    for start in range(0, len(bits), _BLOCK):
        if (bits[start : start + _BLOCK] & size).max() >= infinity:
            raise CheckpointError(weights, f"{place.name}: NaN or infinite values")
    return array


def write(folder: Path, graphs: Graphs, *, fingerprint: str, errors: tuple[float, ...]) -> None:
    """Write graphs beside the weights, the facts last.

    Args:
        folder: Of the model.
        graphs: To be written.
        fingerprint: Of its config and weights.
        errors: Of each level, on the probe.

    Raises:
        OSError: a file cannot be written.
    """
    files = {ENCODER: graphs.encoder.to_bytes(), DECODER: graphs.decoder.to_bytes()}
    for name, data in files.items():
        with atomic.file(folder / name) as temporary:
            temporary.write_bytes(data)
    content = {
        "vqtok": FORMAT,
        "fingerprint": fingerprint,
        "errors": list(errors),
        "facts": dict(graphs.facts),
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    text = json.dumps(content | {"digest": _digest(content)}, indent=2, sort_keys=True)
    with atomic.file(folder / FACTS) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def find(folder: Path, *, fingerprint: str) -> Stored | None:
    """Read the graphs of a model directory; None if it has none of its config and weights.

    Raises:
        CheckpointError: damaged, or whose they are cannot be read.
    """
    if not (folder / FACTS).exists():
        return None
    content = _facts(folder / FACTS)
    return Stored(folder, content) if content["fingerprint"] == fingerprint else None


def read(folder: Path, *, fingerprint: str) -> Stored:
    """Read the graphs of a model directory, with every number that they refer to checked.

    Args:
        folder: Of the model.
        fingerprint: Of its config and weights.

    Raises:
        CheckpointError: missing, damaged, of other weights, or not of the kind that is written.
    """
    content = _facts(folder / FACTS)
    if content["fingerprint"] != fingerprint:
        raise CheckpointError(
            folder / FACTS,
            f"graphs of other weights: fingerprint {content['fingerprint']}, not {fingerprint}",
            hint=f"vqtok convert {folder} writes them anew; --backend torch does without",
        )
    return Stored(folder, content)


def _facts(path: Path) -> dict[str, Any]:
    hint = f"vqtok convert {path.parent} writes graphs; --backend torch needs none"
    try:
        content = json.loads(regular.read(path, most=LARGEST))
        digest = content.pop("digest")
    except FileNotFoundError as error:
        raise CheckpointError(path.parent, "a model without graphs", hint=hint) from error
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise CheckpointError(path, "damaged", hint=hint) from error
    if digest != _digest(content):
        raise CheckpointError(path, "damaged", hint=hint)
    if content["vqtok"] != FORMAT:
        hint = "pip install --upgrade vqtok"
        raise CheckpointError(path, f"version {content['vqtok']} of a newer vqtok", hint=hint)
    return dict(content)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _graph(path: Path, sha256: str) -> Graph:
    hint = f"vqtok convert {path.parent} writes it anew; --backend torch does without"
    try:
        data = regular.read(path, most=LARGEST)
        graph = Graph.from_bytes(data)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "no such file" if missing else f"cannot read: {error.strerror}"
        raise CheckpointError(path, reason, hint=hint) from error
    except CheckpointError as error:
        raise CheckpointError(path, error.reason, hint=hint) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CheckpointError(path, "damaged, or another model's", hint=hint)
    return graph
