"""A context model without torch: frequencies of codes given those of the passes before.

The network is a perceptron over the codes around a position (``interlaced``): entries of an
embedding, a first layer for each pass, residual blocks, then a cell of the codebook by a softmax,
and the entry in the cell by its product with a query. ``priors/context`` trains it.

Every number is an integer held in float32, or in float64 where a sum of products could pass 2^24:
sums are exact in whatever order they are added, divisions by powers of two are followed by a floor,
the exponential is a table of integers. So the frequencies, and the bytes, are the same on every
machine, with any threads and any library.
"""

from __future__ import annotations

import decimal
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from vqtok import atomic, regular
from vqtok.codes.container import Codes
from vqtok.codes.packed import CONTEXT, interlaced, rans
from vqtok.codes.spec import CodeSpec
from vqtok.errors import CheckpointError, CodesError, VqtokError

FILE = CONTEXT

KIND = "context"
FORMAT = 1
MOST_BYTES = 64 << 20

EMBEDDING_BITS = 5  # after the binary point, as below
STREAM_BITS = 8
ACTIVATION_BITS = 5
QUERY_BITS = 5
LOGIT_BITS = 6
ACTIVATION_TOP = 255
QUERY_TOP = 127

_CHUNK = 4096
"""Positions at a time: bounds memory, and changes nothing else."""


@dataclass(frozen=True)
class Scaled:
    """Integers and how many of their bits lie after the binary point."""

    values: np.ndarray
    bits: int


def rounded(values: np.ndarray, *, most: int = 127) -> Scaled:
    """Round to integers of at most ``most``, with as many bits after the point as that allows."""
    largest = float(np.abs(values).max()) if values.size else 0.0
    bits = 12
    while bits > -8 and round(largest * 2.0**bits) > most:
        bits -= 1
    return Scaled(np.rint(values * 2.0**bits).clip(-most, most), bits)


class ContextModel:
    """Makes frequencies of the codes of one tokenizer.

    Args:
        spec: Of the codes.
        near: As ``interlaced.passes_of`` takes it.
        across: As ``interlaced.passes_of`` takes it.
        bits: Bits after the point of each tensor of weights.
        tensors: Integers.

    Raises:
        CheckpointError: tensors that are not those of such a network.
    """

    def __init__(
        self,
        spec: CodeSpec,
        *,
        near: int,
        across: int,
        bits: Mapping[str, int],
        tensors: Mapping[str, np.ndarray],
    ) -> None:
        self.spec, self.near, self.across = spec, near, across
        self.bits, self.tensors = dict(bits), dict(tensors)
        self.streams = interlaced.streams_of(spec)
        self.passes = interlaced.passes_of(self.streams, near=near, across=across)
        self._check()
        sizes = [stream.size for stream in self.streams]
        self._starts = np.cumsum([0, *sizes])
        self._embedding = tensors["embedding"].astype(np.float32)
        self._layers: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._orders: dict[int, np.ndarray] = {}

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that tell this model from any other."""
        return hashlib.sha256(self.dump()).hexdigest()[:16]

    def dump(self) -> bytes:
        """Return the bytes of its file; the same model always makes the same."""
        facts = {
            "kind": KIND,
            "format": FORMAT,
            "spec": self.spec.to_json(),
            "near": self.near,
            "across": self.across,
            "bits": self.bits,
        }
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return save_tensors(self.tensors, {"vqtok": text})

    def write(self, path: Path) -> None:
        """Write its file, whole or not at all."""
        with atomic.file(path) as temporary:
            temporary.write_bytes(self.dump())

    def symbols(self, codes: Codes) -> int:
        """Count the symbols that codes become: two each.

        Raises:
            CodesError: codes of another tokenizer.
        """
        ours, theirs = self.spec, codes.spec
        if ours.levels != theirs.levels or ours.fingerprint != theirs.fingerprint:
            what = f"this context model is of codes of {ours.fingerprint or 'another tokenizer'}"
            raise CodesError(f"{what}, these are of {theirs.fingerprint or 'an unknown one'}")
        return 2 * codes.tokens

    def code(self, coder: rans.Coder, codes: Codes) -> None:
        """Code numpy codes, int64, in place, channel after channel: a reader fills them."""
        self.symbols(codes)
        for channel in range(len(codes)):
            levels = tuple(array[channel] for array in codes.levels)
            grids = interlaced.Grids.of(self.streams, [array.shape for array in levels])
            sequence = np.concatenate([self._part(levels, number) for number in range(self._count)])
            self._code(coder, grids, sequence)
            for number in range(self._count):
                part = self._part(levels, number, view=True)
                start, stop = grids.starts[number : number + 2]
                if start < stop:
                    part[...] = sequence[start:stop].reshape(part.shape)

    @property
    def _count(self) -> int:
        return len(self.streams)

    def _part(self, levels: tuple[np.ndarray, ...], number: int, *, view: bool = False) -> Any:
        """Returns the codes of a stream, flat or as they lie; none of a stage that is absent."""
        stream = self.streams[number]
        array = levels[stream.level]
        if stream.stage is not None:
            array = array[stream.stage] if stream.stage < len(array) else array[:0]
        return array if view else array.reshape(-1)

    def _code(self, coder: rans.Coder, grids: interlaced.Grids, sequence: np.ndarray) -> None:
        """Code one sequence, as ``interlaced.Grids`` has it, in place."""
        seen = np.zeros(len(sequence) + 1, dtype=np.int64)  # rows of the embedding
        seen[-1] = self._starts[-1]
        for number, each in enumerate(self.passes):
            positions = grids.positions(each)
            for start in range(0, len(positions), _CHUNK):
                part = positions[start : start + _CHUNK]
                cells = grids.cells(each, part)
                given = self._embedding[seen[grids.given(each, part)]]
                codes = self._pass(coder, number, given.reshape(len(part), -1), sequence[cells])
                sequence[cells] = codes
                seen[cells] = self._starts[each.stream] + codes

    def _pass(
        self, coder: rans.Coder, number: int, given: np.ndarray, codes: np.ndarray
    ) -> np.ndarray:
        """Code positions of a pass.

        Args:
            coder: Either direction.
            number: Of the pass.
            given: (n, contexts · E) embedded.
            codes: (n,).
        """
        stream = self.passes[number].stream
        size = self.streams[stream].size
        cells, each = interlaced.split_bits(size)
        rank = self.tensors[f"rank{stream}"].astype(np.int64)
        ranks = rank[np.clip(codes, 0, size - 1)]
        state = self._layer(f"first{number}", given, EMBEDDING_BITS, STREAM_BITS)
        hidden = _activated(state)
        for block in range(self._blocks):
            state = state + self._layer(f"block{block}", hidden, ACTIVATION_BITS, STREAM_BITS)
            hidden = _activated(state)
        offset = self.tensors["offset"][number].astype(np.float32)
        logits = self._layer(f"cell{stream}", hidden, ACTIVATION_BITS, LOGIT_BITS)
        high = coder.code(_frequencies(logits + offset[:cells]), ranks // each)
        query = self._layer(f"query{stream}", hidden, ACTIVATION_BITS, QUERY_BITS)
        query = query + self.tensors[f"turn{stream}"][high].astype(np.float32)
        query = query.clip(-QUERY_TOP, QUERY_TOP)
        keys, bias = self._keys(stream)
        products = np.matmul(keys[high], query[:, :, None])[:, :, 0]
        scale = 2.0 ** (LOGIT_BITS - QUERY_BITS - self.bits[f"keys{stream}"])
        low = coder.code(_frequencies(np.floor(products * scale) + bias[high]), ranks % each)
        found: np.ndarray = self._order(stream)[high * each + low]
        if (found < 0).any():
            raise CodesError("damaged: an entry that the codebook does not have")
        return found

    @property
    def _blocks(self) -> int:
        return sum(name.startswith("block") for name in self.tensors) // 2

    def _layer(self, name: str, x: np.ndarray, bits: int, wanted: int) -> np.ndarray:
        """Multiply, add the bias, and floor to as many bits after the point as are wanted."""
        if name not in self._layers:
            weight, bias = (self.tensors[f"{name}.{part}"] for part in ("weight", "bias"))
            # The largest sum that there can be, whatever is added first.
            most = np.abs(weight).astype(np.int64).sum(axis=0) * 255 + np.abs(bias.astype(np.int64))
            kind = np.float32 if most.max(initial=0) < 1 << 24 else np.float64
            self._layers[name] = weight.astype(kind), bias.astype(kind)
        weight, bias = self._layers[name]
        sums = x.astype(weight.dtype, copy=False) @ weight + bias
        made: np.ndarray = np.floor(sums * 2.0 ** (wanted - bits - self.bits[name]))
        return made.astype(np.float32)

    def _keys(self, stream: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns (cells, entries, D) keys of entries, and their (cells, entries) logits."""
        name = f"keys{stream}"
        if name not in self._layers:
            cells, each = interlaced.split_bits(self.streams[stream].size)
            keys = self.tensors[name].astype(np.float32).reshape(cells, each, -1)
            bias = self.tensors[f"bias{stream}"].astype(np.float32).reshape(cells, each)
            bias = np.where(self._order(stream).reshape(cells, each) < 0, np.float32(-1e6), bias)
            self._layers[name] = keys, bias
        return self._layers[name]

    def _order(self, stream: int) -> np.ndarray:
        """Returns the code of each rank, -1 where there is none."""
        if stream not in self._orders:
            rank = self.tensors[f"rank{stream}"].astype(np.int64)
            cells, each = interlaced.split_bits(len(rank))
            order = np.full(cells * each, -1, dtype=np.int64)
            order[rank] = np.arange(len(rank))
            self._orders[stream] = order
        return self._orders[stream]

    def _check(self) -> None:
        """Checks names, types and shapes of all tensors.

        Raises:
            CheckpointError: one that does not fit.
        """
        expected = shapes_of(self.streams, self.passes, self.tensors)
        if set(expected) != set(self.tensors):
            raise CheckpointError("context model: other tensors than such a network has")
        for name, shape in expected.items():
            tensor = self.tensors[name]
            if tensor.shape != shape or tensor.dtype.kind not in "iu":
                raise CheckpointError(f"context model: tensor {name} does not fit")
        for number, stream in enumerate(self.streams):
            cells, each = interlaced.split_bits(stream.size)
            rank = self.tensors[f"rank{number}"]
            if rank.max() >= cells * each or len(np.unique(rank)) != len(rank):
                raise CheckpointError(f"context model: rank{number} is no order of entries")
        layers = {name.removesuffix(".weight") for name in expected if name.endswith(".weight")}
        named = layers | {f"keys{number}" for number in range(len(self.streams))}
        sound = all(type(each) is int and -16 <= each <= 24 for each in self.bits.values())
        if set(self.bits) != named or not sound:
            raise CheckpointError("context model: scales that do not fit")


def shapes_of(
    streams: tuple[interlaced.Stream, ...],
    passes: tuple[interlaced.Pass, ...],
    tensors: Mapping[str, np.ndarray],
) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor, by the widths that some of them show.

    Raises:
        CheckpointError: one of these is missing.
    """
    try:
        embedded = tensors["embedding"].shape[1]
        hidden = tensors["cell0.weight"].shape[0]
        wide = tensors["query0.weight"].shape[1]
    except (KeyError, IndexError) as error:
        raise CheckpointError("context model: tensors are missing") from error
    sizes = [stream.size for stream in streams]
    splits = [interlaced.split_bits(size) for size in sizes]
    out: dict[str, tuple[int, ...]] = {"embedding": (sum(sizes) + 1, embedded)}
    out["offset"] = (len(passes), max(cells for cells, _ in splits))
    layers = {f"first{i}": (len(p.context) * embedded, hidden) for i, p in enumerate(passes)}
    blocks = sum(name.startswith("block") and name.endswith("weight") for name in tensors)
    layers |= {f"block{i}": (hidden, hidden) for i in range(blocks)}
    for number, (cells, each) in enumerate(splits):
        layers |= {f"cell{number}": (hidden, cells), f"query{number}": (hidden, wide)}
        out[f"turn{number}"] = (cells, wide)
        out[f"keys{number}"] = (cells * each, wide)
        out[f"bias{number}"] = (cells * each,)
        out[f"rank{number}"] = (sizes[number],)
    for name, shape in layers.items():
        out[f"{name}.weight"], out[f"{name}.bias"] = shape, shape[1:]
    return out


def read(path: Path) -> ContextModel:
    """Read a context model.

    Raises:
        CheckpointError: not there, damaged, or none.
    """
    try:
        with regular.opened(path) as stream:
            data = stream.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise CheckpointError(path, "too large for a context model")
        length = int.from_bytes(data[:8], "little")
        facts = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["vqtok"])
        if facts["kind"] != KIND or facts["format"] != FORMAT:
            raise ValueError("another kind or format")
        return ContextModel(
            CodeSpec.from_json(facts["spec"]),
            near=_count(facts["near"]),
            across=_count(facts["across"]),
            bits=facts["bits"],
            tensors=load_tensors(data),
        )
    except OSError as error:
        raise CheckpointError(path, f"cannot read: {error.strerror}") from error
    except VqtokError as error:
        raise CheckpointError(path, str(error)) from error
    except Exception as error:  # whatever its bytes make of the readers
        raise CheckpointError(path, "not a context model, or a damaged one") from error


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= 1000:
        raise ValueError("not a count")
    return value


def _activated(state: np.ndarray) -> np.ndarray:
    made: np.ndarray = np.floor(state * 2.0 ** (ACTIVATION_BITS - STREAM_BITS))
    return made.clip(0, ACTIVATION_TOP)


def _frequencies(logits: np.ndarray) -> np.ndarray:
    """Make frequencies of logits in units of 2^-LOGIT_BITS nats: (n, S)."""
    table = _exponential()
    below = (logits.max(axis=1, keepdims=True) - logits).clip(0, len(table) - 1)
    return rans.frequencies(table[below.astype(np.int64)])


@cache
def _exponential() -> np.ndarray:
    """Returns 2^20 · exp(-i / 2^LOGIT_BITS), rounded: by decimal arithmetic, which is exact."""
    with decimal.localcontext(prec=30):
        values = (
            decimal.Decimal(1 << 20) * (decimal.Decimal(-i) / (1 << LOGIT_BITS)).exp()
            for i in range(16 << LOGIT_BITS)
        )
        return np.array([int(value.to_integral_value()) for value in values], dtype=np.int64)
