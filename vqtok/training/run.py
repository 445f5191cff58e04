"""The state of one training run: learner, data, clock and health; a step, a look, a save."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from vqtok import config
from vqtok.checkpoints import resume
from vqtok.distributed import rank, world
from vqtok.training import ranks
from vqtok.training.data.dataset import Batch
from vqtok.training.health import Health
from vqtok.training.kept import Kept
from vqtok.training.learner import Learner
from vqtok.training.log import Evaluated, Journal, Progress, Started, Warned
from vqtok.training.recipe import Recipe
from vqtok.training.report import gallery
from vqtok.training.report.facts import facts_of
from vqtok.training.schedule import learning_rate
from vqtok.training.task import Task

RECENT = 100
"""Steps over which speed is shown."""


class Run:
    """One run, from a recipe or from where it was saved. Nothing is written before ``begin``.

    Args:
        recipe: What to build and how to train it.
        task: What to learn, from what.
        output: Model directory.
        device: As torch names it.
        command: What the user typed, for the card.
        saved: ``resume.read_state`` of the output to go on from, or None to begin.

    Raises:
        ConfigError: a recipe that does not fit together.
        MediaError: no file can be read.
        CheckpointError: a saved state that is not of this recipe.
    """

    def __init__(
        self,
        recipe: Recipe,
        task: Task,
        output: Path,
        *,
        device: str,
        command: str,
        saved: dict[str, Any] | None,
    ) -> None:
        self.recipe, self.plan, self.output = recipe, recipe.train, output
        self.task, self.command = task, command
        self.device = torch.device(device)
        torch.manual_seed(self.plan.seed)
        self.model = task.build(self.device)
        self.model.name = output.name
        self.spec = self.model.spec
        self.kept = Kept(output, self.plan, quality=task.quality, save=task.save)
        self.learner = Learner(self.model, self.plan, task.teacher(self.model))
        self.health = Health(task.watched(self.spec)).to(self.device)
        self.dataset = task.dataset(rank=rank(), ranks=world(), device=self.device)
        self.step, self.earlier_s = 0, 0.0
        self.resumed = saved is not None
        if saved is not None:
            self._restore(saved)
        self.learner.begin()
        self.begun = self.saved_at = time.monotonic()
        self.clock = self.earlier_s
        self.losses: dict[str, float] = {}
        self.metrics: dict[str, float] = {}
        self.moments: list[float] = []  # when the last steps ended
        self.notes: tuple[str, ...] = ()
        """For ``Started``: what was left out, what was adapted."""
        self.speaks = rank() == 0

    def begin(self) -> None:
        """Make the directory, or go on in it."""
        if self.speaks:
            self.output.mkdir(parents=True, exist_ok=True)
            if not self.resumed:
                (self.output / resume.FILE).unlink(missing_ok=True)
                self.kept.begin()
                gallery.begin(self.output)
        self.journal = Journal(
            self.output / "log.jsonl", first_step=self.step, silent=not self.speaks
        )
        if not self.resumed:  # whenever a run is killed, there is something to go on from
            self.save_state()
        ranks.wait()

    def bad(self) -> tuple[str, ...]:
        """Why each file that could not be read was left out, by name."""
        return tuple(
            dict(sorted((self.task.unreadable | self.dataset.unreadable).items())).values()
        )

    @cached_property
    def inventory(self) -> dict[str, Any]:
        """What the training items are like; headers are read once."""
        return self.task.inventory(self.dataset)

    @property
    def elapsed(self) -> float:
        """Seconds of training, resumed parts included."""
        return self.earlier_s + time.monotonic() - self.begun

    @property
    def unsaved_s(self) -> float:
        """Seconds since the state was last on disk."""
        return time.monotonic() - self.saved_at

    def started(self) -> Started:
        """What the run consists of."""
        return Started(
            modality=self.spec.modality,
            learns=self.task.learns,
            files=len(self.dataset.items),
            held_out=self.task.held_out,
            parameters=sum(p.numel() for p in self.model.parameters()),
            device=str(self.device),
            precision=self.learner.precision.name,
            first_step=self.step,
            steps=self.plan.steps,
            notes=self.notes,
        )

    def share_done(self) -> float:
        """0 … 1: steps or minutes, whichever is further."""
        done = self.step / self.plan.steps
        if self.plan.minutes is not None:
            done = max(done, self.clock / (60.0 * self.plan.minutes))
        return min(1.0, done)

    def over(self, *, stop: bool = False) -> str:
        """Why the run is over: "steps", "minutes", "stopped", or "" if it is not.

        Args:
            stop: Whether somebody asked for the end; on any rank, it is the end of all.
        """
        stop, self.clock = ranks.agree(stop, self.elapsed, device=self.device)
        if self.step >= self.plan.steps:
            return "steps"
        if self.share_done() >= 1.0:
            return "minutes"
        return "stopped" if stop else ""

    def advance(self, batches: Sequence[Batch]) -> list[Warned]:
        """One optimizer step, and what the health watch says of it.

        Raises:
            TrainingError: nothing has been finite for too long.
        """
        # The model's choices at step s are a function of (seed, s), like the data.
        self.task.seed(self.model, self.plan.seed * 1_000_003 + self.step)
        rate = self.learning_rate()
        excused = self.learner.precision.searching
        learned = self.learner.step(batches, step=self.step, scale=rate / self.plan.learning_rate)
        self.step += 1
        self.losses = learned.losses
        self.moments = [*self.moments[-RECENT:], time.monotonic()]
        verdict = self.health.observe(
            self.step,
            codes=learned.codes,
            losses=learned.losses,
            finite=learned.finite,
            excused=excused,
        )
        anew = {level for level, _ in verdict.collapsed if self.learner.restart(level)}
        return [Warned(self.step, text) for text in self.health.told(verdict, anew=anew)]

    def learning_rate(self) -> float:
        """Of the step to come."""
        planned = learning_rate(self.plan, step=self.step, progress=self.share_done())
        return planned * self.health.vitals.rate_scale

    def progress(self) -> Progress:
        """Losses, codebook use and speed over the recent steps."""
        span = self.moments[-1] - self.moments[0]
        speed = (len(self.moments) - 1) / span if span > 0 else 0.0
        left = (self.plan.steps - self.step) / speed if speed else 0.0
        if self.plan.minutes is not None:
            left = min(left, max(0.0, 60.0 * self.plan.minutes - self.clock))
        use, perplexity = self.health.use() or (None, None)
        return Progress(
            step=self.step,
            losses=self.losses,
            use=use,
            perplexity=perplexity,
            levels=self.health.apart(),
            learning_rate=self.learning_rate(),
            items_per_s=speed * self.plan.batch * self.plan.accumulate * world(),
            left_s=0.0 if self.share_done() >= 1.0 else left,
            skipped=self.health.vitals.skipped,
            elapsed_s=self.clock,
            latents={k: v for k, v in self.metrics.items() if k in ("kl", "active_units")},
        )

    def evaluate(self, *, last: bool = False) -> Evaluated | None:
        """Measure on held-out files, write previews, save everything; None on other ranks.

        Args:
            last: Whether the run ends here.
        """
        if last:  # shorter than the warm-up of the codebook, perhaps
            self.learner.settle()
        event = self._evaluate() if self.speaks else None
        self.learner.prepare()
        ranks.wait()
        return event

    def _evaluate(self) -> Evaluated:
        model = self.learner.measured().eval()
        model.name = self.output.name
        self.metrics, pictures = self.task.measure(model, self.output, step=self.step)
        best = self.kept.is_best(self.metrics, step=self.step)
        event = Evaluated(self.step, self.elapsed, self.metrics, pictures, best=best)
        self.journal.write(event)
        facts = facts_of(self)
        text = self.task.card(self.output, self.spec, facts)
        self.kept.save(model, step=self.step, best=best, facts=facts, card=text)
        gallery.prune(self.output, best=self.kept.best["step"])
        self.save_state()
        return event

    def save_state(self) -> None:
        """Write what ``--resume`` needs."""
        self.saved_at = time.monotonic()
        if not self.speaks:
            return
        state = {
            "recipe": config.dump(self.recipe),
            "step": self.step,
            "elapsed_s": self.elapsed,
            "vitals": self.health.vitals.to_json(),
            "scale": self.learner.precision.state(),
            "best": self.kept.best,
            "reads": list(self.task.reads),
            "files": self.task.count,
        }
        resume.save(
            self.output,
            modules=self.learner.modules() | {"health": self.health},
            optimizers=self.learner.optimizers,
            state=state,
        )

    def _restore(self, saved: dict[str, Any]) -> None:
        resume.restore(
            self.output,
            modules=self.learner.modules() | {"health": self.health},
            optimizers=self.learner.optimizers,
        )
        self.step, self.earlier_s = int(saved["step"]), float(saved["elapsed_s"])
        self.health.remember(saved["vitals"])
        self.learner.precision.restore(saved["scale"])
        self.kept.best = saved["best"]
