"""Reconstruction losses by name, over one reconstruction and its original."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from vqtok.errors import ConfigError
from vqtok.protocols import Reconstructed
from vqtok.training.losses import audio_terms, image_terms
from vqtok.training.losses.likelihoods import OUTPUTS, bce, logit_laplace
from vqtok.training.losses.pair import Pair
from vqtok.training.losses.perceptual import Perceptual

Term = Callable[[Pair], Tensor]


def mse(pair: Pair) -> Tensor:
    """Mean squared error: a Gaussian likelihood, what PSNR measures."""
    return F.mse_loss(pair.y, pair.x)


def l1(pair: Pair) -> Tensor:
    """Mean absolute error: a Laplace likelihood, sharper edges."""
    return F.l1_loss(pair.y, pair.x)


def _likelihood(
    name: str, likelihood: Callable[[Tensor, Tensor], Tensor], *, parameters: int
) -> Term:
    """A term over what the decoder gave before it became pixels.

    Args:
        name: Of the term.
        likelihood: Of the decoder's numbers and the original.
        parameters: Of the distribution of one value.
    """

    def term(pair: Pair) -> Tensor:
        channels = pair.x.shape[1]
        if pair.raw is None or pair.raw.shape[1] != parameters * channels:
            raise ConfigError(
                f"train.losses.{name}: this model gives other values than that likelihood needs",
                hint=f"--set model.output={OUTPUTS[name]}, for models of images",
            )
        return likelihood(pair.raw.float(), pair.x)

    return term


TERMS: dict[str, Term] = {
    "mse": mse,
    "l1": l1,
    "bce": _likelihood("bce", bce, parameters=1),
    "logit-laplace": _likelihood("logit-laplace", logit_laplace, parameters=2),
    "gradient": image_terms.gradient,
    "multiscale": image_terms.multiscale,
    "mel": audio_terms.mel,
    "mel7": audio_terms.mel7,
    "stft": audio_terms.stft,
}
"""Name → term; "perceptual" is beside them, since it holds a network."""

AUDIO = frozenset({"mel", "mel7", "stft"})

IMAGE = frozenset({"gradient", "multiscale", "perceptual", "bce", "logit-laplace"})


class Objective:
    """The weighted sum of reconstruction terms. It learns nothing and has nothing to be saved.

    Args:
        weights: Term name → weight; names are those of ``TERMS``, and "perceptual".
        rate: Hz, for the terms that need it; None for images.
        features: Network behind "perceptual": "efficientnet-lite0", or a path to its weights
            (``training/losses/perceptual.py`` says which); it is read if the term is asked for.

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
        """Weighted terms, each a scalar; computed in float32 whatever autocast says.

        Args:
            result: What the tokenizer made of x.
            x: Original, (B, C, H, W) or (B, 1, L), float in [-1, 1].

        Raises:
            ConfigError: a likelihood of a model that gives none.
        """
        with torch.autocast(x.device.type, enabled=False):
            pair = Pair(result.x.float(), x.float(), rate=self.rate, raw=result.raw)
            return {name: weight * self._term(name)(pair) for name, weight in self.weights.items()}

    def to(self, device: torch.device) -> Objective:
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
        raise ConfigError(f"train.losses.{name}: this term is for audio", hint=hint)
    if name in IMAGE and audio:
        raise ConfigError(f"train.losses.{name}: this term is for images", hint=hint)
    if name not in known:
        raise ConfigError(f"train.losses.{name}: unknown term", hint=hint)
