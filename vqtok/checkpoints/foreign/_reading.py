"""What lies in a file or directory that somebody else's program wrote: numbers by name, no code.

safetensors, also in shards, and files of ``torch.save``, which ``_archives`` reads without running
anything. The numbers stay in the file until they are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from vqtok import regular
from vqtok.checkpoints.foreign import _archives
from vqtok.checkpoints.foreign._calls import Inert
from vqtok.checkpoints.foreign._nodes import Node, default, nodes, tree
from vqtok.checkpoints.weight_files import shards, weights_in
from vqtok.checkpoints.weights import read as read_safetensors
from vqtok.config import read_json
from vqtok.errors import CheckpointError, ConfigError

_LARGER = 8
"""Times its file: several names may share numbers, but a thousand names of a gigabyte do not."""

_SPARE_BYTES = 1 << 24


@dataclass(frozen=True)
class Found:
    """The content of a stranger's checkpoint.

    Attributes:
        path: The file or directory as it was named.
        tensors: By name, without the prefixes of wrappers.
        config: ``config.json`` beside them; empty if there is none.
        extra: What else the file holds, such as {"metadata": {…}}; no tensors.
        parts: Tensors of each further file, by its stem: DALL-E's "encoder" and "decoder".
        node: Where in the file the tensors lie; None of several files.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    node: Node | None = None

    def elsewhere(self) -> Iterator[Found]:
        """Returns all nodes of the file where weights may lie, the better first."""
        for node in () if self.node is None else nodes(self.node.root):
            yield _at(self.path, node, self.config)

    @property
    def where(self) -> str:
        """The keys that lead to the tensors, as people write them."""
        return ".".join(self.node.path) if self.node and self.node.path else "the whole file"

    @property
    def is_average(self) -> bool:
        """Whether these are moving averages of weights."""
        return self.node is not None and self.node.is_average

    def is_part_of(self, other: Found) -> bool:
        """Tell whether these lie inside of others and are not an average beside them."""
        ours, theirs = (each.node.path if each.node else () for each in (self, other))
        return ours[: len(theirs)] == theirs and self.is_average == other.is_average

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

    def widths(self, pattern: str) -> tuple[int, ...]:
        """Return the first sizes of these tensors, as many in a row as ``count`` finds."""
        return tuple(self.shape(pattern.format(i))[0] for i in range(self.count(pattern)))

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
        parts = {each.stem: default(_tree(each)).named() for each in files}
        joined = {f"{stem}.{k}": v for stem, part in parts.items() for k, v in part.items()}
        return Found(path, joined, config, {}, parts)
    return _at(path, default(_tree(files[0])), config)


def _at(path: Path, node: Node, config: Mapping[str, Any]) -> Found:
    return Found(path, node.named(), config, node.beside(), node=node)


def _tree(path: Path) -> Node:
    """Returns what a file holds, by name.

    Raises:
        CheckpointError: nothing by name, nested beyond all reason, or larger than the file.
    """
    found = _object(path)
    if not isinstance(found, Mapping | list | tuple | Inert):
        kind = type(found).__name__
        raise CheckpointError(path, f"no weights by name in it, but one {kind}")
    try:
        root = tree(found)
    except ValueError as error:
        raise CheckpointError(path, f"damaged: {error}") from error
    size = 0 if path.suffix == ".json" else path.stat().st_size  # shards hold nothing twice
    total = sum(each.numel() * each.element_size() for each in root.named().values())
    if size and total > _LARGER * size + _SPARE_BYTES:
        raise CheckpointError(path, f"damaged: {total} bytes of tensors in a file of {size}")
    return root


def _object(path: Path) -> Any:
    """Returns what a file holds; nothing in it is run."""
    if path.name.endswith(".index.json"):
        return _sharded(path)
    try:
        with regular.opened(path) as stream:
            head = stream.read(16)
    except OSError as error:
        raise CheckpointError(path, f"cannot read: {error.strerror or error}") from error
    if head[8:9] == b"{":
        return read_safetensors(path)
    if head[:4] == _archives.ZIP or head[:1] == b"\x80":
        return _archives.read(path)
    raise CheckpointError(
        path,
        "not a checkpoint: neither safetensors nor of torch.save",
        hint="formats of other frameworks must be converted by their own tools first",
    )


def _sharded(index: Path) -> dict[str, Tensor]:
    """Returns the tensors that are wanted; no other shards are opened, no other numbers read."""
    tensors: dict[str, Tensor] = {}
    for name, wanted in shards(index).items():
        held = _object(index.parent / name)
        if not isinstance(held, Mapping):
            raise CheckpointError(index.parent / name, "damaged: no weights by name in it")
        missing = [each for each in wanted if not isinstance(held.get(each), Tensor)]
        if missing:
            raise CheckpointError(index.parent / name, f"damaged: no {missing[0]} in it")
        tensors.update({each: held[each] for each in wanted})
    return tensors


def _config(folder: Path, *, named: Path) -> Mapping[str, Any]:
    """Returns ``config.json`` of a directory; a file that was named itself stands for itself."""
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        return read_json(path)
    except ConfigError:
        if named.is_dir():
            raise
        return {}
