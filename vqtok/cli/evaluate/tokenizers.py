"""``vqtok eval`` of images and audio: one model, or several and classical codecs side by side."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vqtok.cli import batch
from vqtok.cli.console import Console
from vqtok.cli.evaluate import tables
from vqtok.codes.header import Effort
from vqtok.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import ModelInfo
    from vqtok.cli.evaluate.flags import Choices
    from vqtok.cli.evaluate.page import Page
    from vqtok.media.plan import Job, Plan
    from vqtok.pipeline.compare import Method
    from vqtok.pipeline.models import Models


NOMINAL, STORED = RATES = ("nominal", "stored")
"""What classical codecs are matched at."""


def only_held_out(console: Console, plan: Plan, files: Sequence[str], chosen: Choices) -> Plan:
    """Leave out what --held-out does not name, and say so.

    Raises:
        UsageError: none of it is there.
    """
    if chosen.held_out is None:
        return plan
    from vqtok.pipeline import held_out

    plan, note = held_out.only_held_out(plan, files, held_out.held_out_of(chosen.held_out))
    console.say(note)
    return plan


def is_classical(name: str | None) -> bool:
    """Check that -m means a codec. A directory of that name is meant by ``./jpeg``."""
    from vqtok.media.classical import KINDS

    return name in KINDS


def evaluate(
    console: Console,
    files: Sequence[str],
    names: Sequence[str | None],
    info: ModelInfo | None,
    page: Page,
    chosen: Choices,
) -> None:
    """Print a line for each file and a summary of all.

    Args:
        console: Where to.
        files: Arguments.
        names: Of models and codecs; None: the default model of each kind of files.
        info: Of the one model, if it was read already.
        page: Report to write.
        chosen: Flags.

    Raises:
        UsageError: flags or names that do not fit together.
        typer.Exit: 1 if an input failed.
    """
    from vqtok.pipeline import plans

    if chosen.rate not in RATES:
        raise UsageError(f"--rate {chosen.rate}", "unknown", hint=" or ".join(RATES))
    single = len(names) == 1
    plan = plans.for_evaluate(files, output=chosen.output if single else None, force=chosen.force)
    plan = only_held_out(console, plan, files, chosen)
    kinds = sorted({job.kind for job in plan.jobs})
    with console.progress(len(plan.jobs), "evaluated") as progress:

        @cache
        def load(name: str | None) -> Models:
            models = batch.models_for(
                name,
                chosen.machine,
                effort=Effort(chosen.effort, chosen.effort_metric),
                depth=chosen.depth,
            )
            if info is not None:
                models.remember(info)
            return batch.reporting(console, progress, models)

        for name in names:
            if not is_classical(name):
                load(name).check(kinds)
        rows = _rows(names, load)
        target_for = _targets(files, rows, output=chosen.output, force=chosen.force)
        progress.stage("starting")
        from vqtok.pipeline import compare
        from vqtok.pipeline.evaluate import EvaluateOptions
        from vqtok.pipeline.results import Failed

        settings = EvaluateOptions(
            depth=chosen.depth,
            metrics=chosen.metric_names(),
            label=chosen.label,
            effort=Effort(chosen.effort, chosen.effort_metric),
            **chosen.reading.given(),
        )
        comparison = compare.Comparison(
            rows, options=settings, kinds=kinds, stored=chosen.rate == STORED
        )
        page.begin(plan.jobs)
        for note in comparison.notes:
            console.say(note)
        failed = batch.failures_of(plan)
        for each in failed:
            batch.failed_line(console, each)
        lines = tables.Lines(console, comparison.methods, wide=chosen.wide)
        results = comparison.run(
            plan.jobs,
            target_for=target_for,
            on_start=lambda job: progress.stage(str(job.source or "stdin")),
            on_part=progress.part,
            on_pair=page.pair,
        )
        with closing(results):  # type: ignore[type-var]  # a generator
            for count, result in enumerate(results, 1):
                progress.goto(count)
                page.take(result)
                if isinstance(result, Failed):
                    failed.append(result)
                    batch.failed_line(console, result)
                else:
                    lines.show(result)
    batch.report_left_out(console, plan.left_out, any_taken=bool(plan.jobs))
    tables.show(console, comparison, wide=chosen.wide)
    page.write(console, comparison)
    if failed:
        console.failures(failed)
        raise typer.Exit(ExitCode.FAILED)


def _rows(names: Sequence[str | None], load: Callable[[str | None], Models]) -> list[Method]:
    """Find models and codecs, in order.

    Raises:
        UsageError: a model or codec that is named twice; something that is no tokenizer.
        CheckpointError: no such model.
    """
    from vqtok.pipeline import compare

    rows: list[Method] = []
    seen: set[str] = set()
    for name in names:
        if name is not None and is_classical(name):
            row, identity = compare.classical(name), name
        else:
            row, identity = _model(load(name), alone=len(names) == 1)
        if identity in seen:
            raise UsageError(f"-m {name}", "named twice")
        seen.add(identity)
        if any(row.label == each.label for each in rows):  # another directory of the same name
            row = replace(row, label=str(name))
        rows.append(row)
    return rows


def _model(models: Models, *, alone: bool) -> tuple[Method, str]:
    from vqtok.pipeline.compare import ALL, Method

    info = models.named()
    if info is not None:
        info.require_decoder()
    # A model that is alone tells each file of another kind that it is not for it.
    kinds = ALL if alone or info is None else (info.spec.modality,)
    row = Method(
        _named("" if info is None else info.name, models.runtime.effort),
        lambda kind: models.load(models.info_for_kind(kind)),
        kinds,
        has_codes=info is None or bool(info.spec.levels),
        packing=models.contexts.packing,
    )
    return row, "" if info is None else str(info.path.resolve())


def _named(model: str, effort: Effort) -> str:
    """Name a row: codes of an effort are another method than those of the nearest entries."""
    return f"{model or 'default'}, effort {effort}" if effort.level else model


def _targets(
    files: Sequence[str], rows: Sequence[Method], *, output: str | None, force: bool
) -> Callable[[str, Job], Path | None]:
    """Name each row's reconstruction of a file, in a folder of its own below -o.

    Raises:
        UsageError: something is in the way there.
    """
    from vqtok.pipeline import plans

    if output is None or len(rows) == 1:
        return lambda label, job: job.target
    if "{" in output:
        raise UsageError(f"-o {output}", "several models need a directory", hint="-o DIR/")
    found = {}
    for row in rows:
        folder = re.sub(r"[^\w.-]+", "-", row.label).strip(".-") or "model"
        plan = plans.for_evaluate(files, output=f"{output.rstrip('/')}/{folder}/", force=force)
        found[row.label] = {job.source: job.target for job in plan.jobs}
    return lambda label, job: found[label].get(job.source)
