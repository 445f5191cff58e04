"""The prior that any network over flat codes makes: its cost of codes, and samples of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vqtok.codes.container import Codes
from vqtok.codes.spec import RANKS, CodeSpec
from vqtok.errors import UsageError
from vqtok.priors._classes import checked
from vqtok.priors._drawing import Choice, Noise
from vqtok.priors._network import Condition, Network
from vqtok.priors._patterns import Layout, flatten
from vqtok.priors._sampling import draw, given_by
from vqtok.protocols import Config as AnyConfig
from vqtok.protocols import Prompt


class Autoregressive(nn.Module):
    """Implements ``protocols.Prior``.

    Args:
        config: A member of ``priors/``.
        spec: Of the tokenizer whose codes are modelled.
        network: A torch module.
        depth: Stages of stacked codebooks that are modelled; None: all.

    Raises:
        UsageError: the tokenizer has no codes.
    """

    def __init__(
        self, config: AnyConfig, spec: CodeSpec, network: Network, *, depth: int | None = None
    ) -> None:
        super().__init__()
        spec.require_codes("")
        self.config = config
        self.spec, self.name, self.depth = spec, "", depth
        self.network = network

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers."""
        found: tuple[str, ...] = getattr(self.config, "classes", ())
        return found

    def forward(self, codes: Codes, *, condition: Tensor | None = None) -> Tensor:
        """Mean cross-entropy, (), nats per code: see ``protocols.Prior``."""
        return self._nats(codes, condition)[1].mean()

    def nll(self, codes: Codes, *, condition: Tensor | None = None) -> tuple[Tensor, ...]:
        """Nats of each code, per level (B, *axes): see ``protocols.Prior``."""
        layout, nats = self._nats(codes, condition)
        return layout.split(nats)

    def sample(
        self,
        count: int,
        extent: tuple[int, ...],
        *,
        condition: Tensor | None = None,
        prompt: Prompt | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        guidance: float = 1.0,
        seed: int = 0,
        first: int = 0,
        cached: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> Codes:
        """New codes: see ``protocols.Prior``."""
        choice = Choice(temperature, top_k, top_p, guidance)
        if count < 1 or seed < 0 or first < 0:
            raise UsageError(f"count {count}, seed {seed} or first {first} is too small")
        if len(extent) != RANKS[self.spec.modality] or min(extent) < 1:
            raise UsageError(f"extent {extent} does not fit {self.spec.modality}")
        classes = checked(condition, self.classes, count=count, device=self._device())
        if guidance != 1 and classes is None:
            raise UsageError("guidance needs a class to go towards")
        layout = self.network.lay_out(extent)
        given = given_by(prompt, self.spec, layout, count, self._device())
        noise = Noise((seed,), range(first, first + count))
        was = self.training
        self.eval()
        try:
            flat = draw(
                self.network,
                layout,
                Condition(classes),
                given,
                choice=choice,
                noise=noise,
                cached=cached,
                progress=progress,
            )
        finally:
            self.train(was)
        return Codes(self.spec, layout.split(flat), extent)

    def _nats(self, codes: Codes, condition: Tensor | None) -> tuple[Layout, Tensor]:
        """Returns the layout of the codes, and nats of each: (B, N) float32."""
        codes = self._fitting(codes)
        classes = checked(condition, self.classes, count=len(codes), device=self._device())
        layout: Layout = self.network.lay_out(codes.extent)
        flat = flatten(codes, self._device())
        return layout, self.network.nats(flat, layout, Condition(classes))

    def _fitting(self, codes: Codes) -> Codes:
        """Returns the stages of codes that are modelled.

        Raises:
            UsageError: codes of another spec, or with too few stages.
        """
        if codes.spec.levels != self.spec.levels or codes.spec.modality != self.spec.modality:
            raise UsageError("codes: not of the tokenizer that this prior is for")
        wanted = self.spec.depth if self.depth is None else min(self.depth, self.spec.depth or 1)
        if codes.depth is None or wanted is None or codes.depth == wanted:
            return codes
        if codes.depth < wanted:
            raise UsageError(f"codes: {codes.depth} stages found, {wanted} are modelled")
        return codes.truncate(wanted)

    def _device(self) -> torch.device:
        return next(self.parameters()).device
