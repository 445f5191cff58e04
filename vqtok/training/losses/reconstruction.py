"""The reconstruction loss: a weighted sum of terms by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vqtok.errors import ConfigError
from vqtok.protocols import Config, Reconstructed
from vqtok.training.losses.perceptual import Perceptual
from vqtok.training.losses.terms import AUDIO, IMAGE, OUTPUTS, TERMS, Pair, Term


class ReconstructionLoss:
    """Sums up weighted terms; it has no weights of its own, and nothing to be saved.

    Args:
        weights: Term name → weight; names are those of ``TERMS``, and "perceptual".
        rate: Hz, for the terms that need it; None for images.
        features: Network behind "perceptual": "efficientnet-lite0", or a path to its weights
            (``training/losses/perceptual.py`` says which); it is read if the term is among them.

    Raises:
        ConfigError: an unknown term, or one for the other kind of data.
        UsageError: "perceptual" without the package that brings its network.
        CheckpointError: ``features`` is a path to something else.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        *,
        rate: float | None,
        features: str = "efficientnet-lite0",
    ) -> None:
        for name in weights:
            _check(name, audio=rate is not None)
        # Sorted: gradients are summed in this order, and a resumed recipe may have another.
        self.weights = dict(sorted(weights.items()))
        self.rate = rate or 0.0
        self._perceptual = Perceptual(features) if "perceptual" in weights else None

    def __call__(self, result: Reconstructed, x: Tensor) -> dict[str, Tensor]:
        """Compute weighted terms, each a scalar, in float32 whatever autocast says.

        Args:
            result: What the tokenizer made of x.
            x: Original, (B, C, H, W) or (B, 1, L), float in [-1, 1].

        Raises:
            ConfigError: a likelihood of a model that gives none.
        """
        with torch.autocast(x.device.type, enabled=False):
            pair = Pair(result.x.float(), x.float(), rate=self.rate, raw=result.raw)
            return {name: weight * self._term(name)(pair) for name, weight in self.weights.items()}

    def to(self, device: torch.device) -> ReconstructionLoss:
        """Move the network behind "perceptual", if there is one; returns itself."""
        if self._perceptual is not None:
            self._perceptual.network.to(device)
        return self

    def _term(self, name: str) -> Term:
        return self._perceptual if self._perceptual and name == "perceptual" else TERMS[name]


def _check(name: str, *, audio: bool) -> None:
    known = sorted({*TERMS, "perceptual"} - (IMAGE if audio else AUDIO))
    hint = f"known for {'audio' if audio else 'images'}: " + ", ".join(known)
    if name in AUDIO and not audio:
        raise ConfigError(f"train.losses.{name}", "this term is for audio", hint=hint)
    if name in IMAGE and audio:
        raise ConfigError(f"train.losses.{name}", "this term is for images", hint=hint)
    if name not in known:
        raise ConfigError(f"train.losses.{name}", "unknown term", hint=hint)


def check_outputs(losses: Mapping[str, float], model: Config) -> None:
    """Refuse a likelihood of numbers that the model does not give.

    Args:
        losses: ``train.losses`` of a recipe.
        model: Its ``model``.

    Raises:
        ConfigError: naming both keys.
    """
    found = getattr(model, "output", "plain")
    for name in sorted(set(losses) & set(OUTPUTS)):
        if found != OUTPUTS[name]:
            raise ConfigError(
                f"train.losses.{name}",
                f"does not fit model.output {found!r}",
                hint=f"--set model.output={OUTPUTS[name]}, for models of images",
            )
