"""Model directories: a tokenizer's config and weights on disk and back, without pickle.

Nothing in a directory is ever executed: the config names one of our own classes, and the weights
are numbers. torch is imported by ``save`` and ``load`` only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vqtok import atomic
from vqtok import config as configs
from vqtok.checkpoints import facts, foreign, weights
from vqtok.checkpoints.facts import (
    CARD,
    CONFIG,
    TRAINING,
    WEIGHTS,
    ModelInfo,
    fingerprint,
    name_of,
    parsed,
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
from vqtok.checkpoints.weight_files import is_foreign
from vqtok.codes.packed import context
from vqtok.errors import CheckpointError, UsageError, VqtokError
from vqtok.graphs import quantizers, sessions, store
from vqtok.protocols import Graphed, Packing

if TYPE_CHECKING:
    from torch import nn

    from vqtok.protocols import Config, Tokenizer

Model = TypeVar("Model")
"""A tokenizer, a prior or a classifier."""

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
    held another config, is replaced by one rename, files that are not ours kept. During a
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
    module = cast("nn.Module", tokenizer)
    data = content(tokenizer, reads=reads)
    write(Path(directory), module, data, training=training, card=card, half=half)


def content(tokenizer: Tokenizer, *, reads: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of a tokenizer's ``config.json``."""
    data = facts.content(tokenizer.spec, tokenizer.config)
    return data | ({"reads": list(reads)} if reads else {})


def write(
    directory: Path,
    module: nn.Module,
    data: Mapping[str, Any],
    *,
    training: Mapping[str, Any] | None = None,
    card: str | None = None,
    half: bool = False,
) -> None:
    """Write any model as ``save`` does, with the content of its ``config.json``.

    Raises:
        CheckpointError: as ``save``.
    """
    tensors = weights.storable(module, half=half, subject=directory)
    graphed = cast("Graphed", module) if isinstance(module, Graphed) else None
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
            # First, so that graphs of other weights never lie beside these.
            (directory / store.FACTS).unlink(missing_ok=True)
            with atomic.file(directory / WEIGHTS) as temporary:
                weights.write(temporary, tensors)
            if isinstance(module, Packing):
                module.packed().write(directory / context.FILE)
            if graphed:
                _add_graphs(directory, graphed, fingerprint(directory, data))
            return
        with atomic.directory(directory) as temporary:
            if directory.is_dir():
                _carry(directory, temporary)
            for name, text in texts.items():
                (temporary / name).write_text(text, encoding="utf-8")
            weights.write(temporary / WEIGHTS, tensors)
            if isinstance(module, Packing):
                module.packed().write(temporary / context.FILE)
            if graphed:
                _add_graphs(temporary, graphed, fingerprint(temporary, data))
    except OSError as error:
        raise CheckpointError(directory, f"cannot write: {error.strerror or error}") from error


def load(name: str | Path | ModelInfo, *, device: str = "cpu") -> Tokenizer:
    """Make a tokenizer from its directory, ready to use: evaluation mode, float32, no gradients.

    Args:
        name: NAME of a model, a directory, or a checkpoint that another program wrote; or its
            facts, then nothing is read or hashed twice. They can be loaded once.
        device: Where the weights go, as torch names devices.

    Returns:
        The tokenizer; its spec carries the fingerprint and its ``name`` is the directory's.

    Raises:
        UsageError: no such model.
        ConfigError: a config that does not fit, with the location in it.
        CheckpointError: files missing or damaged, or weights that do not fit the config.
    """
    from concurrent.futures import ThreadPoolExecutor

    info = name if isinstance(name, ModelInfo) else None
    directory = resolve(name) if isinstance(name, str) else info.path if info else Path(str(name))
    if info.foreign if info else is_foreign(directory):
        opened = None if info is None else info.read.open
        if info is not None and not info.read.stays:
            info.read.open = None  # its numbers must not stay in memory
        found = opened() if opened else foreign.open(directory)
        return cast("Tokenizer", cast("nn.Module", found).to(device))
    data = dict(info.read.config) if info else {}
    sign = info.fingerprint if info and data else ""
    data = data or read_config(directory)
    config = parsed_as("tokenizer", directory, data, hint="vqtok.load_prior reads priors")
    with ThreadPoolExecutor(1) as beside:  # a file is hashed without Python's lock
        signed = None if sign else beside.submit(fingerprint, directory, data)
        tokenizer: Tokenizer = built(directory, config.build, device=device)
    if read_spec(directory, data) != tokenizer.spec.with_fingerprint(""):
        raise CheckpointError(
            directory / CONFIG,
            "the spec is not that of the model",
            hint="one of the two was edited; restore the file",
        )
    tokenizer.spec = tokenizer.spec.with_fingerprint(sign if signed is None else signed.result())
    tokenizer.name = name_of(directory)
    return tokenizer


def write_graphs(directory: Path) -> bool:
    """Write the graphs of a model directory anew; False: it is of a kind that has none.

    Raises:
        CheckpointError, ConfigError: as ``load``, or the directory cannot be written.
        UsageError: onnxruntime is missing or too old.
    """
    sessions.require()
    tokenizer = load(directory)
    if not (isinstance(tokenizer, Graphed) and tokenizer.spec.levels):
        return False
    try:
        return _add_graphs(directory, tokenizer, tokenizer.spec.fingerprint)
    except OSError as error:
        raise CheckpointError(directory, f"cannot write: {error.strerror or error}") from error


def _add_graphs(folder: Path, module: Graphed, fingerprint: str) -> bool:
    """Write the graphs of a model beside its weights, with what they err by.

    Returns:
        False if none can be: continuous latents, a quantizer that a package adds, no onnxruntime.

    Raises:
        OSError: a file cannot be written.
    """
    from vqtok.graphs import probe

    try:
        sessions.require()
    except UsageError:
        return False
    if not module.spec.levels:
        return False
    stored, numbers = store.numbers(folder / WEIGHTS)
    graphs = module.graphs(stored)
    if not all(map(quantizers.known, graphs.facts["quantizers"])):
        return False
    errors = probe.errors(graphs, numbers, folder)
    store.write(folder, graphs, fingerprint=fingerprint, errors=errors)
    return True


def parsed_as(kind: str, directory: Path, data: Mapping[str, Any], *, hint: str) -> Config:
    """Parse the config of a model that must be of a kind, "tokenizer" or "prior" or "classifier".

    Raises:
        CheckpointError: it is of another.
        ConfigError: as ``facts.parsed``.
    """
    config = parsed(directory, data)
    found = configs.type_name(config)
    if not found.startswith(f"{kind}s/"):
        raise CheckpointError(directory / CONFIG, f"{found} is no {kind}", hint=hint)
    return config


def built(directory: Path, build: Callable[[], Model], *, device: str) -> Model:
    """Makes a model with the weights of its directory: evaluation mode, float32, no gradients.

    Args:
        directory: Holds the weights.
        build: Makes the model by its config.
        device: Where the weights go.

    Raises:
        ConfigError: a config of which nothing can be built.
        CheckpointError: weights that are missing, damaged or of another config.
    """
    from vqtok.checkpoints.building import build as build_model

    found = weights.read(directory / WEIGHTS)
    return build_model(
        build, found, subject=directory / CONFIG, file=directory / WEIGHTS, device=device
    )


def _same_config(directory: Path, text: str) -> bool:
    try:
        return configs.to_json(read_config(directory)) == text and (directory / WEIGHTS).is_file()
    except VqtokError:
        return False


def _carry(old: Path, new: Path) -> None:
    """Bring logs and previews of the old directory into the new one."""
    ours = shutil.ignore_patterns(CONFIG, WEIGHTS, TRAINING, *store.FILES)

    def link(source: str, target: str) -> None:
        # The same file, not a copy: a log that is open goes on being written.
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    shutil.copytree(old, new, ignore=ours, copy_function=link, dirs_exist_ok=True)
