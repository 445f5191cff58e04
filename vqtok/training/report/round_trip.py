"""What passes between encoder and decoder on held-out signals: use of codes, or of latents."""

from __future__ import annotations

from statistics import fmean
from typing import Any, cast

import torch
from torch import nn

from vqtok.metrics.codebook import Usage
from vqtok.metrics.latents import Latents
from vqtok.protocols import RoundTrip, Tokenizer


class RoundTrips:
    """Counts what a model's round trips have in the middle.

    Args:
        model: A tokenizer in evaluation mode.
    """

    def __init__(self, model: Tokenizer) -> None:
        self._usages = {level.name: Usage.of(level) for level in model.spec.levels}
        self._quantizer: Any = cast("nn.Module", model).get_submodule("quantizer")
        self._latents = Latents() if hasattr(self._quantizer, "posterior") else None

    @torch.inference_mode()
    def add(self, trip: RoundTrip) -> None:
        """Take what a coder made of some signals."""
        if trip.codes is not None:
            for usage, array in zip(self._usages.values(), trip.codes.levels, strict=True):
                usage.add(array)
        if trip.latents is not None and self._latents is not None:
            device = next(self._quantizer.parameters()).device
            posterior = self._quantizer.posterior(torch.from_numpy(trip.latents).to(device))
            self._latents.add(posterior.mean, posterior.kl())

    @property
    def metrics(self) -> dict[str, float]:
        """Measures of all signals so far.

        With codes "use" and "perplexity"; if there are several levels those are means over them,
        and "use_top" and so on are of each. Of a variational autoencoder "kl" in nats per position
        and "active_units", dimensions; of a plain one nothing.
        """
        if self._latents is not None:
            return {"kl": self._latents.kl, "active_units": float(self._latents.active)}
        totals = {name: usage.total for name, usage in self._usages.items()}
        found: dict[str, float] = {}
        if totals:
            found["use"] = fmean(total.share for total in totals.values())
            found["perplexity"] = fmean(total.perplexity for total in totals.values())
        for name, total in totals.items() if len(totals) > 1 else ():
            found[f"use_{name}"], found[f"perplexity_{name}"] = total.share, total.perplexity
        return found
