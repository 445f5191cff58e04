"""A discriminator that learns beside the model, and the losses of both sides.

Hinge loss as in Lim and Ye 2017 (arXiv:1705.02894) and VQGAN (arXiv:2012.09841), feature matching
as in EnCodec (arXiv:2210.13438). A discriminator that has won can pull a hundred times as hard as
one that has just begun, so what a weight fixes is not the loss but its gradient in the
reconstruction, as in EnCodec's balancer (section 3.4): a term of weight w pulls exactly as hard as
a mean absolute error of weight w. No moving average is kept.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from vqtok.errors import ConfigError
from vqtok.nn.discriminators import Patches, Scored, Spectra
from vqtok.training.recipe import Adversarial


class Settings(NamedTuple):
    """Gives the values that None stands for in ``recipe.Adversarial``."""

    weight: float
    features: float
    width: int


SETTINGS = {"image": Settings(0.1, 0.0, 32), "audio": Settings(3.0, 3.0, 16)}
"""By the kind of data, for losses as strong as those of the presets image-f8 and audio-24k."""


class Discriminator(nn.Module):
    """Tells originals from reconstructions; computes the losses of both sides.

    Its parameters are its own; the model's optimizer must not have them. It draws no random number
    after it was made.

    Args:
        config: Widths and weights.
        modality: "image": ``Patches``; "audio": ``Spectra``.
        channels: Of the images; audio has one.

    Raises:
        ConfigError: no discriminator for this kind of data.
    """

    def __init__(
        self,
        config: Adversarial,
        *,
        modality: Literal["image", "audio", "video"],
        channels: int = 1,
    ) -> None:
        super().__init__()
        if modality not in SETTINGS:
            raise ConfigError("train.adversarial", f"no discriminator for {modality}")
        usual = SETTINGS[modality]
        self.config = config
        self.weight = usual.weight if config.weight is None else config.weight
        self.features = usual.features if config.features is None else config.features
        width = config.width or usual.width
        self.network: nn.Module
        self.network = (
            Patches(channels, width=width) if modality == "image" else Spectra(width=width)
        )

    def strength(self, step: int) -> float:
        """Return the share of its weights that counts at this step, 0 … 1."""
        config = self.config
        if step < config.start:
            return 0.0
        return min(1.0, (step - config.start + 1) / max(1, config.ramp))

    def generator_terms(self, y: Tensor, x: Tensor, *, step: int) -> dict[str, Tensor]:
        """Compute what the model is to lower: weighted scalars, none before ``start``.

        Gradients flow into y alone: none is left in this module's parameters.

        Args:
            y: Reconstruction, (B, C, H, W) or (B, 1, L) float.
            x: Original, the same shape.
            step: Of the run.

        Returns:
            "adversarial" and "features", those of them whose weight is not zero.
        """
        strength = self.strength(step)
        if not strength:
            return {}
        # Through copies that are no parameters: no gradient is computed for these, or left in them.
        fixed = {name: value.detach() for name, value in self.network.named_parameters()}
        seen = y.detach().requires_grad_()
        losses = {}
        with torch.enable_grad():
            scored = functional_call(self.network, fixed, (seen,))
            if self.weight:
                # The generator's side of the hinge loss: no hinge, or a model far behind would get
                # no gradient.
                loss = -torch.stack([each.scores.mean() for each in scored]).mean()
                losses["adversarial"] = self.weight, loss
            if self.features:
                with torch.no_grad():
                    originals = self.network(x)
                losses["features"] = self.features, _matching(scored, originals)
        return {
            name: _balanced(loss, seen, y, weight=strength * weight)
            for name, (weight, loss) in losses.items()
        }

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Compute ``loss``: called by DistributedDataParallel."""
        return self.loss(y, x)

    def loss(self, y: Tensor, x: Tensor) -> Tensor:
        """Compute what the discriminator itself is to lower, (): the hinge loss.

        Args:
            y: Reconstruction; no gradient flows into it.
            x: Original, the same shape.
        """
        total = y.new_zeros((), dtype=torch.float32)
        scored = self.network(torch.cat([x.detach().to(y.dtype), y.detach()]))
        for each in scored:
            original, reconstructed = each.scores.chunk(2)
            total = total + F.relu(1.0 - original).mean() + F.relu(1.0 + reconstructed).mean()
        return total / len(scored)


def _balanced(loss: Tensor, seen: Tensor, y: Tensor, *, weight: float) -> Tensor:
    """Weight a loss and fix the length of its gradient in y, not its direction.

    Its length is that of ``weight`` times the mean absolute error, 1/sqrt(N) for N values.

    Args:
        loss: (), computed from ``seen``.
        seen: A leaf with the values of y.
        y: Receives the gradient.
        weight: Of the term.
    """
    # Times N: gradients of means over N values could vanish in float16.
    (slope,) = torch.autograd.grad(loss * seen.numel(), seen, retain_graph=True)
    slope = slope.float()
    length = torch.linalg.vector_norm(slope).clamp(min=1e-12) * seen.numel() ** 0.5
    along: Tensor = (slope / length * y).sum()
    return weight * (loss.detach() + along - along.detach())


def _matching(scored: list[Scored], originals: list[Scored]) -> Tensor:
    """Compare hidden layers by L1 as a share of the original's mean: EnCodec Eq. 2."""
    shares = [
        F.l1_loss(a.float(), b.float()) / b.float().abs().mean().clamp(min=1e-3)
        for one, other in zip(scored, originals, strict=True)
        for a, b in zip(one.features, other.features, strict=True)
    ]
    return torch.stack(shares).mean()
