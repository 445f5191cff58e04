"""Likelihoods of pixels as reconstruction losses: mean nats per value.

They need what the decoder gave before it became pixels: ``output`` in ``tokenizers/vqvae.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from vqtok.errors import ConfigError
from vqtok.nn.outputs import entering
from vqtok.protocols import Config

OUTPUTS = {"bce": "logits", "logit-laplace": "logit-laplace"}
"""Loss term → the ``output`` of the model that it needs."""

LEAST = 2.0**-8
"""Added to b: an 8-bit step is 0.0125 of a logit or more, and where many values are equal the
density, and with it the likelihood, would grow without end."""


def bce(raw: Tensor, x: Tensor) -> Tensor:
    """Cross-entropy of Bernoulli variables: minus ln of their likelihood where x is black or white.

    What VAEs are often trained with (Kingma & Welling 2013, 1312.6114, appendix C.1). For values in
    between it is no density, but has its least value where the sigmoid equals them.

    Args:
        raw: (B, C, H, W) float, logits.
        x: (B, C, H, W) float in [-1, 1], the originals.

    Returns:
        (): nats per value.
    """
    return F.binary_cross_entropy_with_logits(raw.float(), (x.float() + 1.0) / 2.0)


def logit_laplace(raw: Tensor, x: Tensor) -> Tensor:
    """Minus ln of the logit-Laplace density of brightness (2102.12092, appendix A.3).

    Args:
        raw: (B, 2·C, H, W) float: mu, then ln b; ``LEAST`` is added to b.
        x: (B, C, H, W) float in [-1, 1], the originals; ``map_pixels`` is applied here.

    Returns:
        (): nats per value; below zero where the density is above one.
    """
    mu, log_scale = raw.float().chunk(2, dim=1)
    value = entering(x.float(), "logit-laplace")  # in [0.1, 0.9]
    # ln(b + LEAST), without an exp that could overflow.
    log_scale = torch.logaddexp(log_scale, log_scale.new_tensor(math.log(LEAST)))
    # Eq. 2: 1 / (2 b x (1 - x)) exp(-|logit(x) - mu| / b)
    distance = (value.logit() - mu).abs() * (-log_scale).exp()
    return (distance + log_scale + math.log(2.0) + value.log() + (-value).log1p()).mean()


def check(losses: Mapping[str, float], model: Config) -> None:
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
                f"train.losses.{name} does not fit model.output {found!r}",
                hint=f"--set model.output={OUTPUTS[name]}, for models of images",
            )
