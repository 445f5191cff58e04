"""Reconstructions of held-out signals, and what passed between encoder and decoder on the way."""

from __future__ import annotations

from statistics import fmean
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
        self._usages: dict[str, Usage] = {}
        self._latents: Latents | None = None
        for level in model.spec.levels:
            self._usages[level.name] = Usage.of(level)
        if not self._usages and hasattr(model.quantizer, "posterior"):
            self._latents = Latents()

    def reconstruct(self, x: Tensor, *, label: int | None = None) -> Tensor:
        """(B, C, *space) in [-1, 1] → the same shape on the CPU.

        Args:
            x: Signals.
            label: Of all of them, if the model has labels.
        """
        told = {} if label is None else {"label": label}
        if self._usages:
            codes = self._model.encode(x)
            for usage, array in zip(self._usages.values(), codes.numpy().levels, strict=True):
                usage.add(array)
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

        With codes "use" and "perplexity"; if there are several levels those are means over them,
        and "use_top" and so on tell of each. Of a variational autoencoder "kl" in nats per position
        and "active_units", dimensions; of a plain one nothing.
        """
        if self._usages:
            totals = {name: usage.total for name, usage in self._usages.items()}
            found = {
                "use": fmean(total.share for total in totals.values()),
                "perplexity": fmean(total.perplexity for total in totals.values()),
            }
            if len(totals) > 1:
                for name, total in totals.items():
                    found[f"use_{name}"] = total.share
                    found[f"perplexity_{name}"] = total.perplexity
            return found
        if self._latents is not None:
            return {"kl": self._latents.kl, "active_units": float(self._latents.active)}
        return {}
