"""What one optimizer step changes: model, discriminator, optimizers, averages, loss scale."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vqtok.distributed import replicated
from vqtok.protocols import LearnedCodebook
from vqtok.training import stages
from vqtok.training.muon import native_dtype
from vqtok.training.optimizers import discriminator_optimizer, optimizers_of, peaks_of
from vqtok.training.recipe import Train
from vqtok.training.task import Objective

CRITIC = "critic"
"""Name under which the state of the discriminator's optimizer is saved, as 0.1.0 called it."""


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Precision:
    """Sets the number format of networks; quantizers and losses stay in float32.

    Args:
        name: "auto", or one of ``DTYPES``; "auto" is bfloat16 where the device multiplies it
            natively.
        device: Where the model is.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.device = device
        self.dtype = native_dtype(device) if name == "auto" else DTYPES[name]
        self.name = str(self.dtype).removeprefix("torch.")
        # float16 reaches down to 6e-8 only: gradients are scaled up, then down again.
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)

    def autocast(self) -> AbstractContextManager[object]:
        """Make the context that networks run in."""
        return torch.autocast(
            self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32
        )

    def backward(self, loss: Tensor) -> None:
        """Compute gradients of a loss, scaled."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch leaves it so

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Give an optimizer's gradients their own size."""
        self.scaler.unscale_(optimizer)

    def step(self, *optimizers: torch.optim.Optimizer, apply: bool) -> None:
        """Let the optimizers step, or not, and adapt the scale for the next step."""
        for optimizer in optimizers:
            if apply:
                self.scaler.step(optimizer)
        self.scaler.update()

    @property
    def searching(self) -> bool:
        """Whether the scale is still falling from its high start, for which steps are skipped."""
        return self.scaler.is_enabled() and self.scaler.get_scale() > 1.0

    def state(self) -> dict[str, float]:
        """Return JSON data for ``restore``; {} without a scale."""
        state: dict[str, float] = self.scaler.state_dict()
        return state

    def restore(self, state: dict[str, float]) -> None:
        """Go on with a saved scale."""
        if self.scaler.is_enabled():
            own = self.scaler.state_dict()
            self.scaler.load_state_dict({key: state.get(key, own[key]) for key in own})


class Average(nn.Module):
    """Averages weights over steps: often a better model than the last (Polyak averaging).

    Holds a second model whose parameters follow the first one's. Its buffers, a codebook's moving
    averages among them, are the first one's as they are.

    Args:
        model: The one that learns.
        decay: Per step; in the first steps less, so that the random start is soon forgotten.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def follow(self, model: nn.Module, *, step: int) -> None:
        """Move towards the parameters after optimizer step ``step`` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        own: list[Tensor] = [*self.model.parameters()]
        new: list[Tensor] = [*model.parameters()]
        torch._foreach_lerp_(own, new, 1.0 - decay)

    @torch.no_grad()
    def catch_up(self, model: nn.Module) -> nn.Module:
        """Return the averaged model, with the buffers of the one that learns."""
        for (_, own), (_, new) in zip(
            self.model.named_buffers(), model.named_buffers(), strict=True
        ):
            if own.shape != new.shape:  # the sample of a warm-up grows
                own.resize_(new.shape)
            own.copy_(new)
        return self.model


class Trainer:
    """Holds a model and what trains it; ``run.train_step`` uses it.

    Args:
        model: On its device.
        plan: How to train.
        objective: What the model lowers.

    Attributes:
        replica: The model, or what averages its gradients over ranks.
        discriminator_replica: The discriminator in the same way; None without one.
    """

    def __init__(self, model: nn.Module, plan: Train, objective: Objective) -> None:
        self.model, self.plan, self.objective = model, plan, objective
        self.device: torch.device = next(model.parameters()).device
        self.precision = Precision(plan.precision, self.device)
        self.discriminator = objective.discriminator
        self.average = Average(model, decay=plan.average) if plan.average else None
        self.optimizers = optimizers_of(model, plan)
        self._own = tuple(self.optimizers)
        if self.discriminator is not None and plan.adversarial is not None:
            self.optimizers[CRITIC] = discriminator_optimizer(self.discriminator, plan.adversarial)
        for name in objective.compiled if plan.compile else ():
            model.get_submodule(name).compile()
        self.replica: nn.Module = model
        self.discriminator_replica: nn.Module | None = self.discriminator

    def begin(self) -> None:
        """Share the weights with other ranks; call once, when they are those to begin with."""
        self.prepare()
        self.replica = replicated(self.model)
        if self.discriminator is not None:
            self.discriminator_replica = replicated(self.discriminator)

    def prepare(self) -> None:
        """Put the model in training mode, but for what this stage leaves alone."""
        self.model.train()
        if self.plan.stage == "decoder":
            stages.freeze(self.model)

    def modules(self) -> dict[str, nn.Module]:
        """Return all that a resumed run needs back, by the names in its state."""
        found = {"model": self.model, "average": self.average, "adversary": self.discriminator}
        return {name: module for name, module in found.items() if module is not None}

    def measured(self) -> nn.Module:
        """Return the model that is measured and kept: the averaged one, if there is one."""
        return self.model if self.average is None else self.average.catch_up(self.model)

    def has_codebooks(self) -> bool:
        """Tell whether every codebook has left its warm-up."""
        return all(bool(each.initialised) for each in _warmed(self.model))

    def place_codebooks(self) -> None:
        """Place codebooks whose warm-up the run's end cuts short."""
        for each in _warmed(self.model):
            each.place_codebook()

    def restart_codebooks(self, level: int) -> bool:
        """Place a level's codebooks anew, among the latents of the next steps.

        Args:
            level: Of the model's codes.

        Returns:
            Whether there is one that may be placed anew.
        """
        if self.plan.stage == "decoder":
            return False
        quantizers = cast("Sequence[nn.Module]", self.model.quantizers)
        found = [each.restart() for each in _warmed(quantizers[level])]  # every one of them
        return any(found)

    def begin_step(self, scale: float) -> None:
        """Forget gradients, and set learning rates as a fraction of their peaks."""
        peaks = peaks_of(self.plan)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = peaks[name] * scale
            optimizer.zero_grad(set_to_none=True)

    def gradient_norm(self) -> dict[tuple[str, ...], Tensor]:
        """Measure the gradients that each group of optimizers steps together, unscaled, ()."""
        groups = [self._own] if self.discriminator is None else [self._own, (CRITIC,)]
        norms = {}
        for names in groups:
            for name in names:
                self.precision.unscale(self.optimizers[name])
            norms[names] = nn.utils.get_total_norm(self._gradients(names))
        return norms

    def clip(self, norms: Mapping[tuple[str, ...], Tensor]) -> None:
        """Shorten gradients that are too long, and touch no others: most are short."""
        for names, norm in norms.items():
            if float(norm) > self.plan.clip:
                torch._foreach_mul_(self._gradients(names), self.plan.clip / (float(norm) + 1e-6))

    def _gradients(self, names: tuple[str, ...]) -> list[Tensor]:
        groups = (group for name in names for group in self.optimizers[name].param_groups)
        parameters = (each for group in groups for each in group["params"])
        return [each.grad for each in parameters if each.grad is not None]


def accumulating(module: nn.Module, *, last: bool) -> AbstractContextManager[object]:
    """Let ranks exchange gradients after the last of several batches only."""
    if not last and isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return nullcontext()


def _warmed(model: nn.Module) -> Iterator[LearnedCodebook]:
    return (each for each in model.modules() if isinstance(each, LearnedCodebook))
