"""A training run: the step, the loop around it, and what it measures, saves and resumes.

Batches, crops and the quantizer's random choices of step s depend on the seed and s alone, so a run
that was killed goes on with ``resuming=True`` exactly as if it had not been. Under torchrun every
rank runs this; rank 0 alone measures and writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqtok import __version__, config
from vqtok.checkpoints import resume
from vqtok.distributed import agree, all_finite, rank, wait, world
from vqtok.training import log
from vqtok.training.data import held_out
from vqtok.training.data.dataset import Batch
from vqtok.training.keeper import CheckpointKeeper
from vqtok.training.monitor import Monitor
from vqtok.training.optimizers import learning_rate
from vqtok.training.report import cards, gallery
from vqtok.training.task import Resolved
from vqtok.training.trainer import Trainer, accumulating

SHOWN_EVERY = 10
"""Steps between ``Progress`` events."""

SAVED_EVERY_S = 120.0
"""Seconds after which a kill may cost no more work, however rarely the run is measured."""


class StepResult(NamedTuple):
    """Holds what came of one step.

    Attributes:
        losses: Weighted terms, means over the step's batches; "discriminator" is its own loss.
        finite: Whether the step was taken: all losses and gradients were finite, on every rank.
        codes: Of each level, of the last batch; none while a codebook is not yet placed.
    """

    losses: dict[str, float]
    finite: bool
    codes: tuple[Tensor, ...]


def train_step(
    trainer: Trainer, batches: Sequence[Batch], *, step: int, scale: float = 1.0
) -> StepResult:
    """Take one step: forward, objective, backward, clip, optimizer, average.

    Args:
        trainer: Model, objective and optimizers.
        batches: Their gradients are averaged.
        step: Steps done before.
        scale: Learning rates, as a fraction of their peaks.
    """
    precision, share = trainer.precision, 1 / len(batches)
    trainer.begin_step(scale)
    terms: dict[str, Tensor] = {}
    total = torch.zeros((), device=trainer.device)
    pairs: list[tuple[Tensor, Tensor]] = []
    for index, batch in enumerate(batches):
        with accumulating(trainer.replica, last=index + 1 == len(batches)):
            with precision.autocast():
                output = trainer.objective(trainer.replica, batch, step=step)
            precision.backward(output.loss / len(batches))
        total = total + share * output.loss.detach()
        for name, value in output.terms.items():
            terms[name] = terms[name] + share * value if name in terms else share * value
        pairs += [output.pair] if output.pair is not None else []
    if trainer.discriminator_replica is not None:
        terms["discriminator"] = _discriminator_gradients(trainer, pairs)
    norms = trainer.gradient_norm()
    values = torch.stack([*terms.values(), total, *norms.values()])
    finite = all_finite(values)
    trainer.clip(norms)
    precision.step(*trainer.optimizers.values(), apply=finite)
    if finite and trainer.average is not None:
        trainer.average.follow(trainer.model, step=step)
    losses = dict(zip(terms, values.tolist(), strict=False))
    return StepResult(losses, finite, output.codes if trainer.has_codebooks() else ())


def _discriminator_gradients(trainer: Trainer, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Compute the discriminator's gradients, and its loss, the mean over reconstructions."""
    replica, precision = trainer.discriminator_replica, trainer.precision
    mean = pairs[0][0].new_zeros(())
    for index, (y, x) in enumerate(pairs):
        if replica is not None:
            with accumulating(replica, last=index + 1 == len(pairs)):
                with precision.autocast():
                    loss: Tensor = replica(y, x)
                precision.backward(loss / len(pairs))
            mean = mean + loss.detach() / len(pairs)
    return mean


class Run:
    """Carries out one run, from a recipe or from where it was saved.

    Nothing is written before ``begin``.

    Args:
        resolved: Recipe and task.
        output: Model directory.
        device: As torch names it.
        command: What the user typed, for the card.
        data: What is trained on: held-out files are named relative to it.
        saved: ``resume.read_state`` of the output to go on from, or None to begin.

    Raises:
        ConfigError: a recipe that does not fit together.
        MediaError: no file can be read.
        CheckpointError: a saved state that is not of this recipe.
    """

    def __init__(
        self,
        resolved: Resolved,
        output: Path,
        *,
        device: str,
        command: str,
        saved: dict[str, Any] | None,
        data: Sequence[str] = (),
    ) -> None:
        self.recipe, task, notes, self.unreached, self.left_out = resolved
        self.task, self.plan, self.output = task, self.recipe.train, output
        self.command, self.data, self.device = command, data, torch.device(device)
        torch.manual_seed(self.plan.seed)
        self.model = task.build(self.device, name=output.name)
        self.notes = (*notes, *task.split_notes)  # files are split once the model is built
        self.keeper = CheckpointKeeper(
            output, self.plan, quality=task.quality, content=task.content
        )
        self.trainer = Trainer(self.model, self.plan, task.objective(self.model))
        self.monitor = Monitor(task.monitored).to(self.device)
        self.dataset = task.dataset(rank=rank(), ranks=world(), device=self.device)
        self.step, self.earlier_s = 0, 0.0
        self.resumed = saved is not None
        self.fine_tunes = task.fine_tunes or "fine_tunes" in (saved or ())
        if saved is not None:
            self._restore(saved)
        self.trainer.begin()
        self.begun = self.saved_at = time.monotonic()
        self.clock = self.earlier_s
        self.losses: dict[str, float] = {}
        self.metrics: dict[str, float] = {}
        self.pace = log.Pace()
        self.speaks = rank() == 0

    def begin(self) -> None:
        """Make the directory, or go on in it."""
        if self.speaks:
            self.output.mkdir(parents=True, exist_ok=True)
            if not self.resumed:
                (self.output / resume.FILE).unlink(missing_ok=True)
                self.keeper.begin()
                gallery.begin(self.output)
                held_out.write(self.output, self.task.held_out_names(self.data))
        self.journal = log.Journal(
            self.output / "log.jsonl", first_step=self.step, silent=not self.speaks
        )
        if not self.resumed:  # whenever a run is killed, there is something to go on from
            self.save_state()
        wait()

    def events(self, should_stop: Callable[[], bool]) -> Generator[log.Event, None, None]:
        """Train to the end: the loop."""
        yield self.started()
        if self.fine_tunes and not (self.step or self.keeper.best):  # better than it begins?
            yield log.Measuring(self.step)
            evaluated = self.evaluate()
            if evaluated is not None:
                yield evaluated
        with closing(self.dataset.batches(self.step)) as batches:
            reason = self.over()
            while not reason:
                for warned in self.advance(next(batches)):
                    self.journal.write(warned)
                    yield warned
                reason = self.over(stop=should_stop())
                if self.step % SHOWN_EVERY == 0 or reason:
                    progress = self.progress()
                    self.journal.write(progress)
                    yield progress
                if reason or self.step % self.plan.evaluate_every == 0:
                    yield log.Measuring(self.step)
                    evaluated = self.evaluate(last=reason in ("steps", "minutes"))
                    if evaluated is not None:
                        yield evaluated
                elif time.monotonic() - self.saved_at > SAVED_EVERY_S:
                    self.save_state()
        if self.speaks:
            log.list_unreadable(self.output, self.unreadable())
        yield log.Finished(
            self.output, self.step, self.clock, reason, self.metrics, self.unreadable()
        )

    def advance(self, batches: Sequence[Batch]) -> list[log.Warned]:
        """Take one step, and observe it.

        Raises:
            TrainingError: nothing has been finite for too long.
        """
        # The model's choices at step s are a function of (seed, s), like the data.
        self.task.seed(self.model, self.plan.seed * 1_000_003 + self.step)
        scale = self.learning_rate() / self.plan.learning_rate
        excused = self.trainer.precision.searching
        result = train_step(self.trainer, batches, step=self.step, scale=scale)
        self.step += 1
        self.losses = result.losses
        self.pace.tick()
        warnings = self.monitor.observe(
            self.step,
            codes=result.codes,
            losses=result.losses,
            finite=result.finite,
            excused=excused,
            restart=self.trainer.restart_codebooks,
        )
        return [log.Warned(self.step, text) for text in warnings]

    def learning_rate(self) -> float:
        """Return that of the step to come."""
        planned = learning_rate(self.plan, step=self.step, progress=self.share_done())
        return planned * self.monitor.state.rate_scale

    def share_done(self) -> float:
        """Return 0 … 1: steps or minutes, whichever is further."""
        done = self.step / self.plan.steps
        if self.plan.minutes is not None:
            done = max(done, self.clock / (60.0 * self.plan.minutes))
        return min(1.0, done)

    def over(self, *, stop: bool = False) -> str:
        """Say why the run is over: "steps", "minutes", "stopped", or "" if it is not.

        Args:
            stop: Whether somebody wants the end; on any rank, it is the end of all.
        """
        stop, self.clock = agree(stop, self.elapsed, device=self.device)
        if self.step >= self.plan.steps:
            return "steps"
        if self.share_done() >= 1.0:
            return "minutes"
        return "stopped" if stop else ""

    def evaluate(self, *, last: bool = False) -> log.Evaluated | None:
        """Measure on held-out files, write previews, save everything; None on other ranks.

        Args:
            last: Whether the run ends here.
        """
        if last:  # shorter than the warm-up of the codebook, perhaps
            self.trainer.place_codebooks()
        event = self._evaluate() if self.speaks else None
        self.trainer.prepare()
        wait()
        return event

    def _evaluate(self) -> log.Evaluated:
        model = self.trainer.measured().eval()
        self.metrics, pictures = self.task.measure(model, self.output, step=self.step)
        best = self.keeper.is_best(self.metrics, step=self.step)
        event = log.Evaluated(self.step, self.elapsed, self.metrics, pictures, best=best)
        self.journal.write(event)
        facts = self.facts()
        card = cards.compose(self.task.learns, self.output, self.task.spec, facts)
        self.keeper.save(model, step=self.step, best=best, facts=facts, card=card)
        gallery.prune(self.output, best=self.keeper.best["step"])
        self.save_state()
        return event

    @property
    def elapsed(self) -> float:
        """Seconds of training, resumed parts included."""
        return self.earlier_s + time.monotonic() - self.begun

    @cached_property
    def data_facts(self) -> dict[str, Any]:
        """What the training items are like; headers are read once."""
        return self.task.describe_data(self.dataset)

    def unreadable(self) -> dict[str, str]:
        """Say why each file that could not be read was left out, by name, sorted."""
        return dict(sorted((self.task.unreadable | self.dataset.unreadable).items()))

    def started(self) -> log.Started:
        """Say what the run consists of."""
        return log.Started(
            modality=self.task.spec.modality,
            learns=self.task.learns,
            files=len(self.dataset.items),
            held_out=self.task.held_out,
            parameters=sum(p.numel() for p in self.model.parameters()),
            device=str(self.device),
            precision=self.trainer.precision.name,
            first_step=self.step,
            steps=self.plan.steps,
            notes=self.notes,
            unreached=self.unreached,
            left_out=self.left_out,
            continuous=self.task.learns == "tokenizer" and not self.task.spec.levels,
            warmup=self.plan.warmup,
        )

    def progress(self) -> log.Progress:
        """Sum up losses, codebook use and speed over the recent steps."""
        speed = self.pace.steps_per_s
        left = (self.plan.steps - self.step) / speed if speed else 0.0
        if self.plan.minutes is not None:
            left = min(left, max(0.0, 60.0 * self.plan.minutes - self.clock))
        use, perplexity = self.monitor.use() or (None, None)
        return log.Progress(
            step=self.step,
            losses=self.losses,
            use=use,
            perplexity=perplexity,
            levels=self.monitor.use_of_levels(),
            learning_rate=self.learning_rate(),
            items_per_s=speed * self.plan.batch * self.plan.accumulate * world(),
            left_s=0.0 if self.share_done() >= 1.0 else left,
            skipped=self.monitor.state.skipped,
            elapsed_s=self.clock,
            latents={k: v for k, v in self.metrics.items() if k in ("kl", "active_units")},
        )

    def facts(self) -> dict[str, Any]:
        """Collect ``training.json``: what was trained on what, how far, and how good it is."""
        evaluations, best = self.journal.evaluations, self.keeper.best["step"]
        return {
            "command": self.command,
            "recipe": config.dump(self.recipe),
            "step": self.step,
            "best_step": best,
            "best_by": self.keeper.by,
            "elapsed_s": round(self.elapsed, 1),
            "device": str(self.device),
            "ranks": world(),
            "precision": self.trainer.precision.name,
            "files": len(self.dataset.items),
            "held_out_files": self.task.held_out,
            "unreadable": len(self.unreadable()),
            "skipped": self.monitor.state.skipped,
            "notes": list(self.notes),
            "data": self.data_facts,
            "metrics": {each["step"]: each["metrics"] for each in evaluations}.get(
                best, self.metrics
            ),
            "curve": [{"step": each["step"], **each["metrics"]} for each in evaluations],
            "versions": {"vqtok": __version__, "torch": torch.__version__},
        }

    def save_state(self) -> None:
        """Write what ``--resume`` needs; names are those of 0.1.0."""
        self.saved_at = time.monotonic()
        if not self.speaks:
            return
        state = {
            "recipe": config.dump(self.recipe),
            "step": self.step,
            "elapsed_s": self.elapsed,
            "vitals": self.monitor.state.to_json(),
            "scale": self.trainer.precision.state(),
            "best": self.keeper.best,
            "reads": list(self.task.reads),
            "files": self.task.count,
            **({"fine_tunes": True} if self.fine_tunes else {}),
        }
        resume.save(
            self.output,
            modules=self.trainer.modules() | {"health": self.monitor},
            optimizers=self.trainer.optimizers,
            state=state,
        )

    def _restore(self, saved: dict[str, Any]) -> None:
        resume.restore(
            self.output,
            modules=self.trainer.modules() | {"health": self.monitor},
            optimizers=self.trainer.optimizers,
        )
        self.step, self.earlier_s = int(saved["step"]), float(saved["elapsed_s"])
        self.monitor.restore(saved["vitals"])
        self.trainer.precision.restore(saved["scale"])
        self.keeper.best = saved["best"]
        if saved["files"] != self.task.count:
            changed = f"{self.task.count} files, {saved['files']} before"
            self.notes = (
                f"the data has changed ({changed}): what was trained on may now be held out",
            )
