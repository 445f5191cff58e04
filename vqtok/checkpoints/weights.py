"""The one file of numbers in a model directory: written and read, every tensor checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vqtok import regular
from vqtok.codes import safetensors
from vqtok.errors import CheckpointError, of_writing

if TYPE_CHECKING:
    from torch import Tensor, nn

_TRAINING_ONLY = "learning"
"""Submodules of this name hold what only training needs; their tensors are not saved."""


def storable(module: nn.Module, *, half: bool, subject: Path) -> dict[str, Tensor]:
    """Copies of everything that inference needs, on the CPU, checked."""
    import torch

    out = {}
    for name, tensor in module.state_dict().items():
        if _TRAINING_ONLY in name.split("."):
            continue
        stored = tensor.detach().cpu()
        if stored.is_floating_point():
            stored = stored.to(torch.float16 if half else torch.float32)
            if not _is_finite(stored):
                raise CheckpointError(subject, f"not saved: {name} holds NaN or infinite values")
        # safetensors refuses tensors that share memory.
        out[name] = stored.clone().contiguous()
    return out


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, with the mode that other files there get.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(dict(tensors), path)
        path.chmod(mode)  # safetensors puts a file there that only its owner may read
    except SafetensorError as error:  # its own wrapping of a full disk
        raise of_writing(OSError(str(error)), path) from error


def signature(config: str, tensors: Mapping[str, Tensor]) -> tuple[str, int]:
    """Fingerprint of the directory that these would be, and the size of its weights file.

    The file is not made: its numbers are hashed where they lie.

    Args:
        config: Text of its ``config.json``.
        tensors: As ``storable`` gives them.
    """
    import torch

    digest = hashlib.sha256(config.encode() + b"\0")
    head, order = _head(tensors)
    digest.update(head)
    size = len(head)
    for name in order:
        data = tensors[name].reshape(-1).view(torch.uint8).numpy().data
        digest.update(data)
        size += data.nbytes
    return digest.hexdigest()[:16], size


def restore(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put weights in, every one of them checked, none too many and none too few."""
    wanted = module.state_dict()
    needed = {name for name in wanted if _TRAINING_ONLY not in name.split(".")}
    _check_names(path, tensors, needed=needed, wanted=set(wanted))
    for name in sorted(needed):
        found, expected = tuple(tensors[name].shape), tuple(wanted[name].shape)
        if found != expected:
            raise CheckpointError(path, f"{name}: shape {found} found, {expected} expected")
        _check_values(path, name, tensors[name], floating=wanted[name].is_floating_point())
    module.load_state_dict({name: tensors[name] for name in needed}, strict=False)


def read(path: Path) -> dict[str, Tensor]:
    """Read all tensors.

    Raises:
        CheckpointError: missing, truncated or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        regular.opened(path).close()
        return load_file(path)
    except FileNotFoundError as error:
        reason = f"incomplete model directory: no {path.name}"
        raise CheckpointError(path.parent, reason) from error
    except OSError as error:
        raise CheckpointError(path, f"cannot read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise CheckpointError(path, f"truncated or damaged: {error}") from error


def _head(tensors: Mapping[str, Tensor]) -> tuple[bytes, list[str]]:
    """Builds the head that safetensors puts before these numbers, and their order."""
    from safetensors.torch import save

    # It is asked about empty tensors, so that order and names of dtypes are its own.
    empty = save({name: tensor.new_empty(0) for name, tensor in tensors.items()})
    table = json.loads(empty[8:])
    end = 0
    for name, entry in table.items():
        begin, end = end, end + tensors[name].numel() * tensors[name].element_size()
        entry.update(shape=list(tensors[name].shape), data_offsets=[begin, end])
    return safetensors.head(table), list(table)


def _check_names(
    path: Path, found: Mapping[str, Tensor], *, needed: set[str], wanted: set[str]
) -> None:
    missing, extra = sorted(needed - set(found)), sorted(set(found) - wanted)
    hint = "weights and config.json are not of one model" if missing or extra else None
    if missing:
        raise CheckpointError(path, f"missing: {_some(missing)}", hint=hint)
    if extra:
        raise CheckpointError(path, f"unknown: {_some(extra)}", hint=hint)


def _check_values(path: Path, name: str, tensor: Tensor, *, floating: bool) -> None:

    if tensor.is_floating_point() != floating:
        kind = "floating-point" if floating else "integer"
        raise CheckpointError(path, f"{name}: {tensor.dtype} found, {kind} values expected")
    if floating and not _is_finite(tensor):
        raise CheckpointError(path, f"{name}: NaN or infinite values")


def _is_finite(tensor: Tensor) -> bool:
    """Checks whether no value is NaN or infinite."""
    # A sum passes over the numbers once and needs no memory. One such value makes it another; that
    # of large numbers may overflow all the same, hence the second look.
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
