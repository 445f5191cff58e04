"""Which prior, and which tokenizer decodes what it makes. torch is imported when one is loaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vqtok.checkpoints import directory
from vqtok.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import Learned, ModelInfo
    from vqtok.protocols import Classifier, Coder, Prior, Prompt

DEFAULT = "prior-cifar10"
"""The prior that is sampled from when none is named."""


def describe(name: str | None) -> tuple[ModelInfo, Learned]:
    """Facts of a prior.

    Args:
        name: NAME or directory; None: the default one.

    Raises:
        UsageError: no such model, or none that is a prior.
        CheckpointError: a damaged directory.
    """
    if name is None and DEFAULT not in directory.available():
        raise UsageError(
            f"no prior named, and the default {DEFAULT} is not here",
            hint="-m NAME; vqtok train --data CODES/ -o DIR makes one",
        )
    info = directory.describe(name or DEFAULT)
    if info.learned is None:
        what = "classifier" if info.family == "classifiers" else "tokenizer"
        if what == "tokenizer" and not info.spec.levels:
            raise UsageError(
                info.name,
                "an autoencoder whose latents have no prior",
                hint="one with quantizers/gaussian has: N(0, I)",
            )
        raise UsageError(
            info.name,
            f"a {what}, not a prior",
            hint="vqtok train --data CODES/ -o DIR trains a prior of its codes",
        )
    return info, info.learned


def tokenizer_of(info: ModelInfo, learned: Learned, name: str | None = None) -> ModelInfo:
    """Returns the tokenizer that reads the codes of a prior.

    Args:
        info: Of the prior.
        learned: Its codes.
        name: NAME or directory of the tokenizer; None: it is looked for by its fingerprint.

    Raises:
        UsageError: the tokenizer that was named does not read these codes.
        CheckpointError: it is not on the search path.
    """
    wanted = learned.fingerprint
    if name is not None:
        found = directory.describe(name)
        if found.learned is not None:
            raise UsageError(f"--tokenizer {name}", "a prior, not a tokenizer")
        if wanted not in (found.fingerprint, *found.reads):
            raise UsageError(
                f"--tokenizer {name}",
                f"its fingerprint is {found.fingerprint}, {info.name} models "
                f"the codes of {learned.tokenizer or 'a model'} ({wanted})",
            )
        return found
    # A prior beside its tokenizer is the usual thing.
    folders = (Path(), info.path.resolve().parent)
    near = directory.find(wanted, name=learned.tokenizer, folders=folders)
    if near is not None:
        return near
    raise CheckpointError(
        info.name,
        f"its tokenizer {learned.tokenizer or ''} (fingerprint {wanted}) is not here",
        hint="--tokenizer DIRECTORY, or put it on VQTOK_MODELS; -o x.safetensors needs none",
    )


def classifier_of(info: ModelInfo, name: str) -> ModelInfo:
    """Facts of a classifier that can reject samples of a prior.

    Args:
        info: Of the prior.
        name: NAME or directory of the classifier.

    Raises:
        UsageError: no such model, or none that knows the prior's classes.
    """
    found = directory.describe(name)
    if found.family != "classifiers":
        hint = "vqtok train --data PHOTOS/ --preset classifier -o DIR makes one"
        raise UsageError(f"--reject {name}", "no classifier", hint=hint)
    if info.spec.modality != "image" or not info.classes:
        raise UsageError(f"--reject {name}", f"{info.name} has no classes of images")
    if unknown := [each for each in info.classes if each not in found.classes]:
        raise UsageError(f"--reject {name}", f"it does not know the class {unknown[0]!r}")
    return found


class Loaded:
    """A prior and the tokenizer of its codes, each read when it is needed.

    Args:
        info: Of the prior.
        learned: Its codes.
        reads: The tokenizer, if it is known to be needed.
        classifier: A classifier that rejects samples, or None.
        device: "auto", "cpu", "cuda" or "cuda:1".
        threads: CPU threads that torch may use; None: its own choice.
        on_load: Called with a model's facts before its weights are read.
    """

    def __init__(
        self,
        info: ModelInfo,
        learned: Learned,
        reads: ModelInfo | None = None,
        *,
        classifier: ModelInfo | None = None,
        device: str = "auto",
        threads: int | None = None,
        on_load: Callable[[ModelInfo], None] = lambda info: None,
    ) -> None:
        self.info, self.learned = info, learned
        self._reads, self._classifier, self._on_load = reads, classifier, on_load
        self._wanted = device, threads

    @cached_property
    def device(self) -> str:
        """Where both are."""
        from vqtok.checkpoints.devices import pick_device

        name, threads = self._wanted
        return pick_device(name, threads=threads)

    @cached_property
    def prior(self) -> Prior:
        """The prior, ready to sample."""
        from vqtok.checkpoints import priors

        self._on_load(self.info)
        return priors.load(self.info.path, device=self.device)

    @cached_property
    def coder(self) -> Coder:
        """The coder of its tokenizer, ready to decode."""
        from vqtok.backends import torch_backend

        found = self._reads or tokenizer_of(self.info, self.learned)
        self._on_load(found)
        return torch_backend.coder(directory.load(found, device=self.device))

    @cached_property
    def classifier(self) -> Classifier:
        """The classifier, loaded when it is first used."""
        from vqtok.checkpoints import classifiers

        if self._classifier is None:
            raise ValueError("no classifier was named")
        self._on_load(self._classifier)
        return classifiers.load(self._classifier.path, device=self.device)

    def prompt(self, path: Path, extent: tuple[int, ...], *, keep: int | None) -> Prompt:
        """Returns what samples of an extent begin with; see ``prompts``."""
        from vqtok.pipeline import prompts

        name = self.learned.tokenizer
        codes = prompts.read(path, self.info.spec, name=name, coder=lambda: self.coder)
        return prompts.prompt(codes, extent, keep=keep)
