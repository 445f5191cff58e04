"""What lies in a file or directory that somebody else's program wrote: numbers by name, no code.

safetensors, also in shards; files of ``torch.save`` by ``torch.load(weights_only=True)``, or where
that finds more than numbers by ``_pickles``, which runs nothing either. The numbers stay in the
file until they are used.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqtok.checkpoints.foreign import _pickles
from vqtok.checkpoints.weight_files import weights_in
from vqtok.checkpoints.weights import read as read_safetensors
from vqtok.errors import CheckpointError, ConfigError

_CONTAINERS = ("ema", "state_dict", "model", "best_state", "generator", "net")
"""Keys under which training programs keep the weights, the better first: averages before all."""

_PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""


_DEEP, _MAPPINGS = 10, 10_000
"""How deep mappings of weights are looked into, and how many at most."""


@dataclass(frozen=True)
class Found:
    """The content of a stranger's checkpoint.

    Attributes:
        path: The file or directory as it was named.
        tensors: By name, without the prefixes of wrappers.
        config: ``config.json`` beside them; empty if there is none.
        extra: What else the file holds, such as {"metadata": {…}}; no tensors.
        parts: Tensors of each further file, by its stem: DALL-E's "encoder" and "decoder".
    """

    path: Path
    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor; () if there is none of that name."""
        return tuple(self.tensors[name].shape) if name in self.tensors else ()

    def has(self, *names: str) -> bool:
        """Checks whether all of these are there."""
        return all(name in self.tensors for name in names)

    def count(self, pattern: str) -> int:
        """States how many in a row of "down.{}.conv.weight", from 0, are there.

        A pattern that ends in a dot stands for any name that begins so.
        """
        number = 0
        while self._any(pattern.format(number)):
            number += 1
        return number

    def without(self, *prefixes: str) -> dict[str, Tensor]:
        """Returns the tensors but for those whose names begin so."""
        return {k: v for k, v in self.tensors.items() if not k.startswith(prefixes)}

    def _any(self, name: str) -> bool:
        if not name.endswith("."):
            return name in self.tensors
        return any(each.startswith(name) for each in self.tensors)


def read(path: Path) -> Found:
    """Read a checkpoint file, or the one in a directory.

    Raises:
        CheckpointError: nothing to read, several to choose from, damaged, or refused.
    """
    files = weights_in(path)
    config = _config(files[0].parent if path.is_dir() else path.parent, named=path)
    if len(files) > 1:
        parts = {each.stem: _unwrapped(_one(each)[0]) for each in files}
        joined = {f"{stem}.{k}": v for stem, part in parts.items() for k, v in part.items()}
        return Found(path, joined, config, {}, parts)
    tensors, extra = _one(files[0])
    return Found(path, _unwrapped(tensors), config, extra)


def _one(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """Tensors of a file, and what else it holds."""
    if path.name.endswith(".index.json"):
        return _sharded(path), {}
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise CheckpointError(path, f"cannot read: {error.strerror or error}") from error
    if head[8:9] == b"{":
        return read_safetensors(path), {}
    if head[:4] == b"PK\x03\x04" or head[:1] == b"\x80":
        return _split(path, _torch(path))
    raise CheckpointError(
        path,
        "not a checkpoint: neither safetensors nor of torch.save",
        hint="formats of other frameworks must be converted by their own tools first",
    )


def _torch(path: Path) -> Any:
    """Returns the object in a file of ``torch.save``; nothing in it is run."""
    if _pickles.is_scripted(path):  # torch before 2.6 would load its code, whatever it is asked
        return _pickles.read(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old formats; errors are what counts
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:  # files of torch before 1.6 cannot be mapped
                return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # damaged files fail in any way that there is
        return _pickles.read(path)  # which says what is wrong, if anything is


def _split(path: Path, found: Any) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """Returns the tensors of the best container, and everything that is not one."""
    if isinstance(found, _pickles.Inert):
        found = dict(_pickles.modules(found))
    if not isinstance(found, Mapping):
        kind = type(found).__name__
        raise CheckpointError(path, f"no weights by name in it, but one {kind}")
    tensors: dict[str, Tensor] = {}
    for key in _CONTAINERS:
        tensors = _flat(found[key]) if isinstance(found.get(key), Mapping) else {}
        if tensors:
            break
    extra = {str(key): each for key, each in found.items() if not _is_weights(each)}
    tensors = tensors or _flat(found)
    for name, tensor in tensors.items():
        stored = tensor.untyped_storage().nbytes() if tensor.layout == torch.strided else 0
        # Strides of zero make a terabyte of one number.
        if tensor.numel() * tensor.element_size() > stored:
            raise CheckpointError(path, f"damaged: {name} is larger than its numbers")
    return tensors, extra


def _flat(found: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Tensors in nested mappings, by the names that lead to them."""
    flat: dict[str, Tensor] = {}
    waiting: list[tuple[str, Mapping[Any, Any]]] = [("", found)]
    # One mapping may be held many times, by mappings that are held many times.
    for _ in range(_MAPPINGS):
        if not waiting:
            break
        prefix, mapping = waiting.pop()
        for key, value in mapping.items():
            if isinstance(value, Tensor):
                flat[f"{prefix}{key}"] = value
            elif isinstance(value, Mapping) and prefix.count(".") < _DEEP:
                waiting.append((f"{prefix}{key}.", value))
    return flat


def _is_weights(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(isinstance(each, Tensor) for each in value.values())
    return isinstance(value, Tensor)


def _unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what wrappers put before all of them."""
    found = dict(tensors)
    for prefix in _PREFIXES:
        if found and all(name.startswith(prefix) for name in found):
            found = {name[len(prefix) :]: tensor for name, tensor in found.items()}
    return found


def _sharded(index: Path) -> dict[str, Tensor]:
    try:
        table = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted({str(each) for each in table.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(index, "damaged: not an index of shards") from error
    tensors: dict[str, Tensor] = {}
    for name in shards:
        if Path(name).name != name:  # an index must not lead out of its directory
            raise CheckpointError(index, f"damaged: {name!r} is not a file beside it")
        tensors.update(read_safetensors(index.parent / name))
    return tensors


def _config(folder: Path, *, named: Path) -> Mapping[str, Any]:
    """Returns ``config.json`` of a directory; a file that was named itself stands for itself."""
    path = folder / "config.json"
    if not path.is_file():
        return {}
    from vqtok.config import read_json

    try:
        return read_json(path)
    except ConfigError:
        if named.is_dir():
            raise
        return {}
