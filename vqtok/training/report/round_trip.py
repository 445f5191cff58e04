"""Round trips of held-out signals: reconstructions, and the use of codes on the way."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any, cast

import torch
from torch import Tensor, nn

from vqtok.metrics.codebook import Usage
from vqtok.metrics.latents import Latents
from vqtok.protocols import Tokenizer


class RoundTrip:
    """Encodes and decodes signals as users do, and measures what lies between.

    Args:
        model: A tokenizer in evaluation mode.
    """

    def __init__(self, model: Tokenizer) -> None:
        self._model = model
        self._quantizer: Any = cast("nn.Module", model).get_submodule("quantizer")
        self._usages = {level.name: Usage.of(level) for level in model.spec.levels}
        self._latents: Latents | None = None
        if not self._usages and hasattr(self._quantizer, "posterior"):
            self._latents = Latents()

    def reconstruct(self, x: Tensor, *, label: int | None = None) -> Tensor:
        """Reconstruct (B, C, *space) in [-1, 1], on the CPU.

        Args:
            x: Signals.
            label: Of all of them, if the model has labels.
        """
        condition = {} if label is None else {"label": label}
        decode: Callable[..., Tensor] = self._model.decode
        render: Callable[..., Tensor] = self._model.render
        if self._usages:
            codes = self._model.encode(x)
            for usage, array in zip(self._usages.values(), codes.numpy().levels, strict=True):
                usage.add(array)
            return decode(codes, **condition).cpu()
        with torch.inference_mode():
            z = self._model.latents(x)
            if self._latents is not None:
                posterior = self._quantizer.posterior(z)
                self._latents.add(posterior.mean, posterior.kl())
            return render(self._quantizer(z).z_q, tuple(x.shape[2:]), **condition).cpu()

    @property
    def metrics(self) -> dict[str, float]:
        """Measures of all signals so far.

        With codes "use" and "perplexity"; if there are several levels those are means over them,
        and "use_top" and so on are of each. Of a variational autoencoder "kl" in nats per position
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
