"""THE training loop, top to bottom.

A generator: it does a piece of work, yields an event (``training/log.py``) and prints nothing.
Batch, crops and the quantizer's random choices of step s depend on the seed and s alone, so a run
that was killed goes on with ``resume=True`` exactly as if it had not been.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vqtok import __version__, config
from vqtok.checkpoints import directory, resume
from vqtok.errors import UsageError
from vqtok.training import card, preview
from vqtok.training.data import Dataset, find, split
from vqtok.training.log import Evaluated, Event, Finished, Journal, Progress, Started
from vqtok.training.objectives import Objective
from vqtok.training.recipe import DEFAULT_PRESET, Recipe, Train, load, parse
from vqtok.training.schedule import learning_rate

RECENT = 100
"""Steps over which codebook use and speed are shown."""


SHOWN_EVERY = 10
"""Steps between ``Progress`` events."""


def train(
    data: Sequence[str],
    output: Path,
    *,
    preset: str | None = None,
    edits: Sequence[str] = (),
    resuming: bool = False,
    device: str = "auto",
    command: str = "",
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Train a tokenizer on folders of files and leave a model directory.

    Args:
        data: Folders or files of one kind, images or audio.
        output: Model directory to make, or to go on with.
        preset: Recipe name or path; None: the default of the data's kind.
        edits: ``key=value`` changes of the recipe.
        resuming: Go on from ``resume.safetensors`` in ``output``, with its recipe and these edits.
        device: "auto", "cpu", "cuda" …
        command: What the user typed, for the card.
        should_stop: Asked after every step; True saves and ends the run.

    Yields:
        ``Started``, ``Progress`` every few steps, ``Evaluated`` at each measurement, ``Finished``
        last.

    Raises:
        UsageError: no data, mixed data, data of another kind than the recipe's model.
        ConfigError: a recipe that does not fit together.
        CheckpointError: nothing to resume from.
    """
    kind, files = find(data)
    saved = resume.read_state(output) if resuming else None
    if saved is not None:
        recipe = parse(config.assign(saved["recipe"], edits), where=f"{output}")
    else:
        recipe = load(preset or DEFAULT_PRESET[kind], edits=edits)
    run = _Run(recipe, kind, files, output, device=device, command=command, saved=saved)
    yield run.started()
    with closing(run.dataset.batches(run.step)) as batches:
        reason = run.over()
        while not reason:
            run.advance(next(batches))
            stopping = should_stop()
            reason = run.over() or ("stopped" if stopping else "")
            if run.step % SHOWN_EVERY == 0 or reason:
                progress = run.progress()
                run.journal.write(progress)
                yield progress
            if reason or run.step % recipe.train.evaluate_every == 0:
                yield run.evaluate()
        bad = tuple(run.dataset.bad.values())
        yield Finished(output, run.step, run.elapsed, reason, run.metrics, bad)


class _Run:
    """The state of one run: model, optimizer, data, clock, counters."""

    def __init__(
        self,
        recipe: Recipe,
        kind: Any,
        files: list[Path],
        output: Path,
        *,
        device: str,
        command: str,
        saved: dict[str, Any] | None,
    ) -> None:
        self.recipe, self.plan, self.output = recipe, recipe.train, output
        self.command = command
        self.device = torch.device(pick_device(device))
        self.precision = _precision(self.plan, self.device)
        torch.manual_seed(self.plan.seed)
        self.model = recipe.model.build().to(self.device).train()
        self.model.name = output.name
        if self.model.spec.modality != kind:
            raise UsageError(
                f"--data: these are {kind} files, the recipe is for {self.model.spec.modality}",
                hint=f"--preset {DEFAULT_PRESET[kind]}",
            )
        rate = None if self.model.spec.rate is None else int(self.model.spec.rate)
        self.objective = Objective(self.plan.losses, rate=rate)
        self.optimizer = _optimizer(self.model, self.plan)
        training, self.held_out = split(files, share=self.plan.holdout, seed=self.plan.seed)
        self.dataset = Dataset(training, kind=kind, recipe=self.plan, rate=rate)
        self.generator = torch.Generator()
        self.model.quantizer.generator = self.generator
        self.step, self.earlier_s, self.skipped = 0, 0.0, 0
        if saved is not None:
            resume.restore(output, model=self.model, optimizer=self.optimizer)
            self.step, self.earlier_s = int(saved["step"]), float(saved["elapsed_s"])
            self.skipped = int(saved["skipped"])
        output.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(output / "log.jsonl", first_step=self.step)
        self.begun = time.monotonic()
        self.losses: dict[str, float] = {}
        self.rate_now = 0.0
        self.metrics: dict[str, float] = {}
        self.recent: list[tuple[float, Tensor]] = []  # (time, codes) of the last steps

    @property
    def elapsed(self) -> float:
        """Seconds of training, resumed parts included."""
        return self.earlier_s + time.monotonic() - self.begun

    def started(self) -> Started:
        parameters = sum(p.numel() for p in self.model.parameters())
        return Started(
            modality=self.model.spec.modality,
            files=len(self.dataset.files),
            held_out=len(self.held_out),
            parameters=parameters,
            device=str(self.device),
            precision=str(self.precision).removeprefix("torch."),
            first_step=self.step,
            steps=self.plan.steps,
        )

    def share_done(self) -> float:
        """0 … 1: steps or minutes, whichever is further."""
        done = self.step / self.plan.steps
        if self.plan.minutes is not None:
            done = max(done, self.elapsed / (60.0 * self.plan.minutes))
        return min(1.0, done)

    def over(self) -> str:
        """Why the run is over: "steps", "minutes", or "" if it is not."""
        if self.step >= self.plan.steps:
            return "steps"
        return "minutes" if self.share_done() >= 1.0 else ""

    def advance(self, batch: Tensor) -> None:
        """One optimizer step."""
        plan = self.plan
        self.rate_now = learning_rate(
            step=self.step,
            progress=self.share_done(),
            peak=plan.learning_rate,
            final=plan.final_rate,
            warmup=plan.warmup,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate_now
        # The quantizer's choices at step s are a function of (seed, s), like the data.
        self.generator.manual_seed(plan.seed * 1_000_003 + self.step)
        x = batch.to(self.device, non_blocking=True)
        with torch.autocast(
            self.device.type, dtype=self.precision, enabled=self.precision != torch.float32
        ):
            result = self.model(x)
        terms = self.objective(result.x, x)
        terms["quantizer"] = result.loss
        total = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), plan.clip)
        if torch.isfinite(total) and torch.isfinite(norm):
            self.optimizer.step()
        else:
            self.skipped += 1
        self.step += 1
        self.losses = {name: float(value.detach()) for name, value in terms.items()}
        self.recent.append((time.monotonic(), result.codes.levels[0].detach().cpu()))
        del self.recent[:-RECENT]

    def progress(self) -> Progress:
        use, perplexity = self._codebook()
        span = self.recent[-1][0] - self.recent[0][0]
        speed = (len(self.recent) - 1) / span if span > 0 else 0.0
        done = self.share_done()
        by_steps = (self.plan.steps - self.step) / speed if speed else 0.0
        left = by_steps
        if self.plan.minutes is not None:
            left = min(by_steps, max(0.0, 60.0 * self.plan.minutes - self.elapsed))
        return Progress(
            step=self.step,
            losses=self.losses,
            use=use,
            perplexity=perplexity,
            learning_rate=self.rate_now,
            items_per_s=speed * self.plan.batch,
            left_s=0.0 if done >= 1.0 else left,
            skipped=self.skipped,
        )

    def evaluate(self) -> Evaluated:
        """Measure on held-out files, write previews, save everything."""
        self.model.eval()
        self.metrics, pictures = preview.measure(
            self.model, self.held_out[: self.plan.holdout_items], self.output, step=self.step
        )
        self.model.train()
        event = Evaluated(self.step, self.elapsed, self.metrics, pictures)
        self.journal.write(event)
        self._save()
        return event

    def _save(self) -> None:
        facts = {
            "command": self.command,
            "recipe": config.dump(self.recipe),
            "step": self.step,
            "elapsed_s": round(self.elapsed, 1),
            "device": str(self.device),
            "precision": str(self.precision).removeprefix("torch."),
            "files": len(self.dataset.files),
            "held_out_files": len(self.held_out),
            "metrics": self.metrics,
            "curve": [
                {"step": each["step"], **each["metrics"]} for each in self.journal.evaluations
            ],
            "versions": {"vqtok": __version__, "torch": torch.__version__},
        }
        text = card.render(self.output.name, self.model.spec, facts)
        directory.save(
            self.output, self.model, training=facts, card=text, half=self.plan.store == "float16"
        )
        state = {
            "recipe": facts["recipe"],
            "step": self.step,
            "elapsed_s": self.elapsed,
            "skipped": self.skipped,
        }
        resume.save(self.output, model=self.model, optimizer=self.optimizer, state=state)

    def _codebook(self) -> tuple[float, float]:
        size = self.model.quantizer.codebook_size
        codes = torch.cat([each.reshape(-1) for _, each in self.recent[-RECENT:]])
        depth = self.model.quantizer.depth
        if depth is not None:  # one codebook per stage: count them apart
            stages = [each.flatten(2).movedim(1, 0).reshape(depth, -1) for _, each in self.recent]
            offset = torch.arange(depth)[:, None] * size
            codes = (torch.cat(stages, dim=1) + offset).reshape(-1)
        counts = torch.bincount(codes, minlength=size * (depth or 1)).view(depth or 1, size)
        share = counts / counts.sum(1, keepdim=True).clamp(min=1)
        entropy = -(share * share.clamp(min=1e-12).log()).sum(1)
        return float((counts > 0).float().mean()), float(entropy.exp().mean())


def pick_device(name: str) -> str:
    """Resolve "auto" to the best device there is: cuda, mps, cpu.

    Raises:
        UsageError: a device that this machine lacks.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: not available here", hint="--device auto") from error
    return name


def _precision(plan: Train, device: torch.device) -> torch.dtype:
    if plan.precision != "auto":
        return torch.bfloat16 if plan.precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return torch.float32


def _optimizer(model: nn.Module, plan: Train) -> torch.optim.AdamW:
    """AdamW; matrices decay, vectors and the quantizer do not."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            matrix = parameter.ndim > 1 and not name.startswith("quantizer.")
            (decayed if matrix else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": plan.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=plan.betas)
