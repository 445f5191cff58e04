"""The state of one training run: model, optimizer, data and clock; a step, a look, a save."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vqtok import __version__, config
from vqtok.checkpoints import directory, resume
from vqtok.checkpoints.devices import pick_device
from vqtok.errors import UsageError
from vqtok.quantizers._start import Warmed
from vqtok.training import card, gallery, preview
from vqtok.training.data import Dataset, split
from vqtok.training.inventory import inventory
from vqtok.training.log import Evaluated, Journal, Progress, Started
from vqtok.training.objectives import Objective
from vqtok.training.recipe import DEFAULT_PRESET, Recipe, Train
from vqtok.training.schedule import learning_rate

RECENT = 100
"""Steps over which codebook use and speed are shown."""


class Run:
    """One run, from a recipe or from where it was saved.

    Args:
        recipe: What to build and how to train it.
        kind: Of the files.
        files: All files; the held-out ones are split off here.
        output: Model directory.
        device: As the user named it.
        command: What the user typed, for the card.
        saved: ``resume.read_state`` of the output to go on from, or None to begin.

    Raises:
        UsageError: files of another kind than the model's.
    """

    def __init__(
        self,
        recipe: Recipe,
        kind: Literal["image", "audio"],
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
        if self.plan.stage == "decoder":
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad_(name.startswith("decoder."))
            self.model.quantizer.eval()
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
        self.notes: tuple[str, ...] = ()
        self.best_step = 0
        self.begun = self.saved_at = time.monotonic()
        self.losses: dict[str, float] = {}
        self.rate_now = 0.0
        self.metrics: dict[str, float] = {}
        self.recent: list[tuple[float, Tensor]] = []  # (time, codes) of the last steps

    def begin(self) -> None:
        """Write the first things: from here on the directory is this run's."""
        if not self.step:  # what an earlier run left here must not be taken for this one's
            (self.output / resume.FILE).unlink(missing_ok=True)
            gallery.begin(self.output)
        self.output.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(self.output / "log.jsonl", first_step=self.step)

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
            notes=self.notes,
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
        """Losses, codebook use and speed over the recent steps."""
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
            elapsed_s=self.elapsed,
        )

    def evaluate(self) -> Evaluated:
        """Measure on held-out files, write previews, save everything."""
        if self.over():  # shorter than the warm-up of the codebook, perhaps
            for module in self.model.modules():
                if isinstance(module, Warmed):
                    module.settle()
        self.model.eval()
        self.metrics, pictures = preview.measure(
            self.model, self.held_out[: self.plan.holdout_items], self.output, step=self.step
        )
        self.model.train()
        if self.plan.stage == "decoder":
            self.model.quantizer.eval()
        event = Evaluated(self.step, self.elapsed, self.metrics, pictures, best=True)
        self.journal.write(event)
        self._save()
        gallery.prune(self.output, best=None)
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
        facts["data"] = inventory(self.dataset.files, kind=self.model.spec.modality)
        facts["unreadable"] = len(self.dataset.bad)
        text = card.compose(self.output, self.model.spec, facts)
        directory.save(
            self.output, self.model, training=facts, card=text, half=self.plan.store == "float16"
        )
        self.save_state()

    def save_state(self) -> None:
        """Write what ``--resume`` needs."""
        state = {
            "recipe": config.dump(self.recipe),
            "step": self.step,
            "elapsed_s": self.elapsed,
            "skipped": self.skipped,
        }
        resume.save(self.output, model=self.model, optimizer=self.optimizer, state=state)
        self.saved_at = time.monotonic()

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
