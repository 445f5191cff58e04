"""Model directories: a tokenizer's config and weights on disk and back, without pickle.

Nothing in a directory is ever executed: the config names one of our own classes, and the weights
are numbers. torch is imported by ``save`` and ``load`` only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vqtok import atomic
from vqtok import config as configs
from vqtok.checkpoints.facts import (
    CARD,
    CONFIG,
    FORMAT,
    TRAINING,
    WEIGHTS,
    ModelInfo,
    fingerprint,
    name_of,
    read_config,
    read_spec,
)
from vqtok.checkpoints.registry import (
    available,
    describe,
    find,
    names,
    resolve,
    search_path,
    survey,
)
from vqtok.errors import CheckpointError, ConfigError, VqtokError
from vqtok.protocols import Config

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vqtok.protocols import Tokenizer

__all__ = [
    "ModelInfo",
    "available",
    "describe",
    "find",
    "fingerprint",
    "load",
    "names",
    "resolve",
    "save",
    "search_path",
    "survey",
]

_TRAINING_ONLY = "learning"
"""Submodules of this name hold what only training needs; their tensors are not saved."""


def save(
    directory: str | Path,
    tokenizer: Tokenizer,
    *,
    training: Mapping[str, Any] | None = None,
    card: str | None = None,
    half: bool = False,
    reads: Sequence[str] = (),
) -> None:
    """Write a tokenizer as a model directory.

    A kill at any moment leaves the old model or the new one, whole. A directory that is new, or
    held another config, is replaced by one rename, files that are not ours carried along. During a
    training the config stays as it is, and the weights are the one file that the rename commits.

    Args:
        directory: Made if missing.
        tokenizer: Its state that only training needs is left out.
        training: For ``training.json``: data, seed, versions, metrics. None: no such file.
        card: Text for ``README.md``. None: no such file, or the one that is there stays.
        half: Store floating-point tensors, codebooks included, as float16. The stored numbers are
            the model: codes are the same everywhere, but not always those of the unrounded weights.
        reads: Fingerprints of models with the same encoder and codebook: their codes are this
            one's too.

    Raises:
        CheckpointError: NaN or infinite weights, or a directory that cannot be written.
    """
    directory = Path(directory)
    tensors = _storable(cast("nn.Module", tokenizer), half=half, subject=directory)
    spec = {k: v for k, v in tokenizer.spec.to_json().items() if k != "fingerprint"}
    data = {"vqtok": FORMAT, "spec": spec, "model": configs.dump(tokenizer.config)}
    if reads:
        data["reads"] = list(reads)
    texts = {CONFIG: configs.to_json(data)}
    if training is not None:
        texts[TRAINING] = configs.to_json(training)
    if card is not None:
        texts[CARD] = card
    try:
        if _same_config(directory, texts[CONFIG]):
            for name in (TRAINING, CARD):
                if name in texts:
                    with atomic.file(directory / name) as temporary:
                        temporary.write_text(texts[name], encoding="utf-8")
            with atomic.file(directory / WEIGHTS) as temporary:
                _write_weights(temporary, tensors)
            return
        with atomic.directory(directory) as temporary:
            if directory.is_dir():
                _carry(directory, temporary)
            for name, text in texts.items():
                (temporary / name).write_text(text, encoding="utf-8")
            _write_weights(temporary / WEIGHTS, tensors)
    except OSError as error:
        raise CheckpointError(f"{directory}: cannot write: {error.strerror or error}") from error


def load(name: str | Path, *, device: str = "cpu") -> Tokenizer:
    """Make a tokenizer from its directory, ready to use: evaluation mode, float32, no gradients.

    Args:
        name: NAME of a model, or a directory.
        device: Where the weights go, as torch names devices.

    Returns:
        The tokenizer; its spec carries the fingerprint and its ``name`` is the directory's.

    Raises:
        UsageError: no such model.
        ConfigError: a config that does not fit, with the place in it.
        CheckpointError: files missing or damaged, or weights that do not fit the config.
    """
    import torch

    directory = resolve(name) if isinstance(name, str) else name
    data = read_config(directory)
    place = directory / CONFIG
    config = configs.parse(data["model"], Config, where=f"{place}: model")
    if not configs.type_name(config).startswith("tokenizers/"):
        raise CheckpointError(f"{place}: {configs.type_name(config)} is no tokenizer")
    from vqtok.checkpoints.budget import Budget

    weights = _read_weights(directory / WEIGHTS)
    try:
        # Fresh weights are drawn only to be replaced: the caller's random numbers stay his own.
        with torch.random.fork_rng(devices=[]), Budget(weights, place=str(place)):
            tokenizer = config.build()
    except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        raise ConfigError(f"{place}: model: cannot be built: {error}") from error
    if read_spec(directory, data) != tokenizer.spec.with_fingerprint(""):
        raise CheckpointError(
            f"{place}: the spec is not that of the model",
            hint="one of the two was edited; restore the file",
        )
    _restore(tokenizer, weights, directory / WEIGHTS)
    tokenizer.spec = tokenizer.spec.with_fingerprint(fingerprint(directory))
    tokenizer.name = name_of(directory)
    tokenizer.float().to(device).eval().requires_grad_(False)
    return cast("Tokenizer", tokenizer)


def _storable(module: nn.Module, *, half: bool, subject: Path) -> dict[str, Tensor]:
    """Copies of everything that inference needs, on the CPU, checked."""
    import torch

    out = {}
    for name, tensor in module.state_dict().items():
        if _TRAINING_ONLY in name.split("."):
            continue
        stored = tensor.detach().cpu()
        if stored.is_floating_point():
            stored = stored.to(torch.float16 if half else torch.float32)
            if not bool(torch.isfinite(stored).all()):
                raise CheckpointError(f"{subject}: not saved: {name} holds NaN or infinite values")
        # safetensors refuses tensors that share memory.
        out[name] = stored.clone().contiguous()
    return out


def _write_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(dict(tensors), path)
        path.chmod(mode)  # safetensors puts a file there that only its owner may read
    except SafetensorError as error:  # its own wrapping of a full disk
        raise OSError(str(error)) from error


def _same_config(directory: Path, text: str) -> bool:
    try:
        return configs.to_json(read_config(directory)) == text and (directory / WEIGHTS).is_file()
    except VqtokError:
        return False


def _carry(old: Path, new: Path) -> None:
    """Bring logs and previews of the old directory into the new one."""
    ours = shutil.ignore_patterns(CONFIG, WEIGHTS, TRAINING)

    def link(source: str, target: str) -> None:
        # The same file, not a copy: a log that is open goes on being written.
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    shutil.copytree(old, new, ignore=ours, copy_function=link, dirs_exist_ok=True)


def _restore(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put weights in, every one of them checked, none too many and none too few."""
    wanted = module.state_dict()
    needed = {name for name in wanted if _TRAINING_ONLY not in name.split(".")}
    _check_names(path, tensors, needed=needed, wanted=set(wanted))
    for name in sorted(needed):
        found, expected = tuple(tensors[name].shape), tuple(wanted[name].shape)
        if found != expected:
            raise CheckpointError(f"{path}: {name}: shape {found} found, {expected} expected")
        _check_values(path, name, tensors[name], floating=wanted[name].is_floating_point())
    module.load_state_dict({name: tensors[name] for name in needed}, strict=False)


def _read_weights(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError as error:
        reason = f"incomplete model directory: no {path.name}"
        raise CheckpointError(f"{path.parent}: {reason}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path}: truncated or damaged: {error}") from error


def _check_names(
    path: Path, found: Mapping[str, Tensor], *, needed: set[str], wanted: set[str]
) -> None:
    missing, extra = sorted(needed - set(found)), sorted(set(found) - wanted)
    hint = "weights and config.json are not of one model" if missing or extra else None
    if missing:
        raise CheckpointError(f"{path}: missing: {_some(missing)}", hint=hint)
    if extra:
        raise CheckpointError(f"{path}: unknown: {_some(extra)}", hint=hint)


def _check_values(path: Path, name: str, tensor: Tensor, *, floating: bool) -> None:
    import torch

    if tensor.is_floating_point() != floating:
        kind = "floating-point" if floating else "integer"
        raise CheckpointError(f"{path}: {name}: {tensor.dtype} found, {kind} values expected")
    if floating and not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(f"{path}: {name}: NaN or infinite values")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
