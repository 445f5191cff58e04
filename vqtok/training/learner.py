"""What one optimizer step changes: model, discriminator, their optimizers and averages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vqtok.errors import UsageError
from vqtok.quantizers._codebook import Codebook
from vqtok.quantizers._start import Warmed
from vqtok.training import ranks, stages
from vqtok.training.average import Average
from vqtok.training.data.dataset import Batch
from vqtok.training.deepening import deepened
from vqtok.training.lessons import Teacher
from vqtok.training.optimizers import optimizers_of, peaks_of
from vqtok.training.recipe import Train


@dataclass(frozen=True)
class Learned:
    """One step.

    Attributes:
        losses: Weighted terms, means over the step's batches; "discriminator" is its own loss.
        finite: Whether the step was taken: all losses and gradients were finite, on every rank.
        codes: Of each level, of the last batch; none while a codebook is not yet placed.
    """

    losses: dict[str, float]
    finite: bool
    codes: tuple[Tensor, ...]


class Learner:
    """Takes steps.

    Args:
        model: On its device.
        plan: How to train.
        teacher: What the model learns from a batch.
    """

    def __init__(self, model: Any, plan: Train, teacher: Teacher) -> None:
        self.model, self.plan, self.teacher = model, plan, teacher
        self.device: torch.device = next(model.parameters()).device
        self.precision, self.adversary = teacher.precision, teacher.adversary
        self.average = Average(model, decay=plan.average) if plan.average else None
        self.optimizers = optimizers_of(model, plan)
        self._own = tuple(self.optimizers)
        if self.adversary is not None and plan.adversarial is not None:
            self.optimizers["critic"] = torch.optim.AdamW(
                self.adversary.parameters(),
                lr=plan.adversarial.learning_rate,
                betas=plan.adversarial.betas,
                weight_decay=0.0,
                fused=True,
            )
        for name in teacher.compiled if plan.compile else ():
            model.get_submodule(name).compile()
        self._model: Any = model
        self._critic: Any = self.adversary

    def begin(self) -> None:
        """Call once, when all weights are those to begin with."""
        self.prepare()
        self._model = ranks.spread(self.model)
        if self.adversary is not None:
            self._critic = ranks.spread(self.adversary)

    def prepare(self) -> None:
        """Put the model in training mode, but for what this stage leaves alone."""
        self.model.train()
        stages.freeze(self.model, self.plan.stage)

    def modules(self) -> dict[str, nn.Module]:
        """All that a resumed run needs back."""
        found = {"model": self.model, "average": self.average, "adversary": self.adversary}
        return {name: module for name, module in found.items() if module is not None}

    def measured(self) -> Any:
        """The model that is measured and kept: the averaged one, if there is one."""
        return self.model if self.average is None else self.average.catch_up(self.model)

    def placed(self) -> bool:
        """Whether every codebook has left its warm-up."""
        return all(bool(each.initialised) for each in _warmed(self.model))

    def settle(self) -> None:
        """Place codebooks whose warm-up the run's end cuts short."""
        for each in _warmed(self.model):
            each.place_codebook()

    def restart(self, level: int) -> bool:
        """Place a level's codebooks anew, among the latents of the next steps; False: none may be.

        Args:
            level: Of the model's codes.
        """
        if self.plan.stage == "decoder":
            return False
        part = self.model.quantizers[level]
        found = [each.restart() for each in _warmed(part)]  # every one of them
        return any(found)

    def step(self, batches: Sequence[Batch], *, step: int, scale: float) -> Learned:
        """Learn from the batches of one step.

        Args:
            batches: Their gradients are averaged.
            step: Steps done before.
            scale: Learning rates, as a fraction of their peaks.
        """
        self._set_rates(scale)
        terms: dict[str, Tensor] = {}
        pairs: list[tuple[Tensor, Tensor]] = []
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        for index, batch in enumerate(batches):
            with _apart(self._model, index + 1 < len(batches)):
                lesson = self.teacher(self._model, batch, step=step)
                self.precision.backward(lesson.total / len(batches))
            _add(terms, lesson.terms | {"": lesson.total.detach()}, share=1 / len(batches))
            pairs += [lesson.pair] if lesson.pair is not None else []
        norms = {self._own: self._norm(self._own)}
        if self.adversary is not None:
            terms["discriminator"] = self._judge(pairs)
            norms["critic",] = self._norm(("critic",))
        values = torch.stack([*terms.values(), *norms.values()])
        finite = ranks.all_finite(values)
        self._clip(norms)
        self.precision.step(*self.optimizers.values(), apply=finite)
        if finite and self.average is not None:
            self.average.follow(self.model, step=step)
        losses = dict(zip(terms, values.tolist(), strict=False))
        del losses[""]
        return Learned(losses, finite, lesson.codes if self.placed() else ())

    def _judge(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """The discriminator's gradients, and its loss."""
        sum_ = pairs[0][0].new_zeros(())
        for index, (y, x) in enumerate(pairs):
            with _apart(self._critic, index + 1 < len(pairs)):
                with self.precision.autocast():
                    loss: Tensor = self._critic(y, x)
                self.precision.backward(loss / len(pairs))
            sum_ = sum_ + loss.detach() / len(pairs)
        return sum_

    def _norm(self, names: tuple[str, ...]) -> Tensor:
        """(): of the gradients of all that these optimizers step."""
        for name in names:
            self.precision.unscale(self.optimizers[name])
        return nn.utils.get_total_norm(self._gradients(names))

    def _clip(self, norms: Mapping[tuple[str, ...], Tensor]) -> None:
        """Shorten what is too long, and touch nothing else: most gradients are short."""
        for names, norm in norms.items():
            if float(norm) > self.plan.clip:
                torch._foreach_mul_(self._gradients(names), self.plan.clip / (float(norm) + 1e-6))

    def _gradients(self, names: tuple[str, ...]) -> list[Tensor]:
        groups = (group for name in names for group in self.optimizers[name].param_groups)
        parameters = (each for group in groups for each in group["params"])
        return [each.grad for each in parameters if each.grad is not None]

    def _set_rates(self, scale: float) -> None:
        peaks = peaks_of(self.plan)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = peaks[name] * scale


def begin_from(model: nn.Module, start: Any) -> None:
    """Give a fresh model the weights of a trained one; labels' vectors and blocks may be new.

    Raises:
        UsageError: the two are built differently.
    """
    state, fresh = deepened(model, start)
    new = ("labels.", *(f"{block}." for block in fresh))
    try:
        odd = [name for keys in model.load_state_dict(state, strict=False) for name in keys]
    except RuntimeError as error:
        odd = [str(error)]
    if other := [name for name in odd if not name.startswith(new)]:
        raise UsageError(
            f"-m {start.name}: its weights do not fit the recipe: {other[0]}",
            hint="with -m, --set changes how it is trained; of how it is built, only more blocks",
        )
    for each in model.modules():
        if isinstance(each, Codebook):
            each.begin_averages()


def _warmed(model: nn.Module) -> Iterator[Warmed]:
    return (each for each in model.modules() if isinstance(each, Warmed))


def _add(terms: dict[str, Tensor], found: Mapping[str, Tensor], *, share: float) -> None:
    for name, value in found.items():
        terms[name] = terms[name] + share * value if name in terms else share * value


def _apart(module: Any, accumulating: bool) -> AbstractContextManager[object]:
    """Let ranks exchange gradients after the last of several batches only."""
    if accumulating and isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return nullcontext()
