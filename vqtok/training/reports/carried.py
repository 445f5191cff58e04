"""Reconstructions of held-out signals, and what passed between encoder and decoder on the way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqtok.metrics.codebook import Usage
from vqtok.metrics.latents import Latents


class Carried:
    """Sends signals through a model as users do, and counts what they become.

    Args:
        model: A tokenizer in evaluation mode.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._usage: Usage | None = None
        self._latents: Latents | None = None
        if model.spec.levels:
            level = model.spec.levels[0]
            axis = 1 + level.axes.index("q") if "q" in level.axes else None
            self._usage = Usage(level.codebook_size, stage_axis=axis)
        elif hasattr(model.quantizer, "posterior"):
            self._latents = Latents()

    def reconstruct(self, x: Tensor, *, label: int | None = None) -> Tensor:
        """(B, C, *space) in [-1, 1] → the same shape on the CPU.

        Args:
            x: Signals.
            label: Of all of them, if the model has labels.
        """
        told = {} if label is None else {"label": label}
        if self._usage is not None:
            codes = self._model.encode(x)
            self._usage.add(codes.numpy().levels[0])
            y: Tensor = self._model.decode(codes, **told).cpu()
            return y
        with torch.inference_mode():
            z = self._model.latents(x)
            if self._latents is not None:
                posterior = self._model.quantizer.posterior(z)
                self._latents.add(posterior.mean, posterior.kl())
            z_q = self._model.quantizer(z).z_q
            y = self._model.render(z_q, tuple(x.shape[2:]), **told).cpu()
        return y

    @property
    def metrics(self) -> dict[str, float]:
        """What was carried so far.

        With codes "use" and "perplexity"; of a variational autoencoder "kl" in nats per position
        and "active_units", dimensions; of a plain one nothing.
        """
        if self._usage is not None:
            total = self._usage.total
            return {"use": total.share, "perplexity": total.perplexity}
        if self._latents is not None:
            return {"kl": self._latents.kl, "active_units": float(self._latents.active)}
        return {}
