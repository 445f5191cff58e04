"""``vqtok encode --format tar …``: a corpus in one folder, resumed by the same command."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vqtok.cli import batch
from vqtok.cli.console import Console, Progress
from vqtok.cli.options import shard_of
from vqtok.codes.header import Effort
from vqtok.errors import ExitCode, MediaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vqtok.checkpoints.directory import ModelInfo
    from vqtok.cli.coding_options import EncodeChoices
    from vqtok.corpus.info import CorpusInfo
    from vqtok.corpus.writer import CorpusWriter
    from vqtok.media.items import Item
    from vqtok.pipeline.corpus import CorpusOptions, Engine
    from vqtok.pipeline.models import Models
    from vqtok.pipeline.plans import CorpusPlan
    from vqtok.pipeline.results import Done, Failed

    EngineFor = Callable[[Progress], Engine]

SHARD_ITEMS = 1000

_REMEMBERED = 1000
"""Failures that are printed at the end, grouped; all of them are in the corpus' own list."""


def encode(console: Console, files: Sequence[str], chosen: EncodeChoices) -> None:
    """Make a corpus, or go on with one.

    Raises:
        UsageError: flags that do not fit, or a folder that holds something else.
        typer.Exit: 1 if an item failed, in this run or an earlier one.
    """
    from vqtok.corpus import single
    from vqtok.pipeline import plans

    target = _target(chosen)
    alone = single.is_target(str(chosen.output), str(chosen.format))
    folder = single.part_of(target) if alone else target
    models = batch.models_for(
        chosen.model,
        chosen.machine,
        effort=Effort(chosen.effort, chosen.effort_metric),
        depth=chosen.depth,
    )
    plan = _part(plans.for_corpus(files, models=models), chosen)
    if chosen.writing.dry_run:
        _dry_run(console, plan, target, append=chosen.append)
        return
    if plan.info is None:
        batch.report_left_out(console, plan.left_out, any_taken=plan.info is not None)
        _finish(console, [_failure(item) for item in plan.items], failed=len(plan.items))
        return
    if alone and _is_there(console, folder, target, chosen):
        return
    if chosen.engine == "local":  # those of Ray's workers are elsewhere
        models.runtime.check_device()
    found, totals = _run(console, plan, plan.info, folder, chosen, models)
    failures = totals.failures
    if alone:
        failures = _failures(folder, plan.items)
        single.take_out(folder, target)
    _report(console, target, found)
    batch.report_left_out(console, plan.left_out, any_taken=True)
    totals.say(found)
    _finish(console, failures, failed=found.failed, folder=None if alone else folder)


def _part(plan: CorpusPlan, chosen: EncodeChoices) -> CorpusPlan:
    """Keep the items of the part that is wanted; all parts, one after the other, have them all.

    Raises:
        UsageError: no such part.
    """
    part, parts = shard_of(chosen.shard)
    count = len(plan.items)
    items = plan.items[part * count // parts : (part + 1) * count // parts]
    return plan if parts == 1 else replace(plan, items=items)


def _is_there(console: Console, part: Path, target: Path, chosen: EncodeChoices) -> bool:
    """Check a tar that is to be written; True if an earlier run had all but ended.

    Raises:
        UsageError: it exists, or options that are for folders.
    """
    from vqtok.corpus import single

    if chosen.shard_size is not None or chosen.append:
        flag = "--append" if chosen.append else "--shard-size"
        raise UsageError(flag, f"{target} is one tar, without shards", hint="-o DIR/")
    if single.ended(part, target):
        console.say(f"{target}: complete already")
        return True
    if target.exists() and not chosen.writing.force:
        raise UsageError(target, "already exists", hint="-f overwrites")
    return False


def _failures(folder: Path, items: Sequence[Item]) -> list[Failed]:
    """Return the failures of all runs: a tar alone has no list of them."""
    from vqtok.corpus.reader import CorpusReader
    from vqtok.pipeline.results import Failed

    places = {item.name: item.place for item in items}
    found: list[Failed] = []
    for name, reason in CorpusReader(folder).failures():
        if len(found) == _REMEMBERED:
            break
        place = Path(str(places.get(name, name)))
        found.append(Failed(place, MediaError(place, reason)))
    return found


def _run(
    console: Console,
    plan: CorpusPlan,
    info: ModelInfo,
    folder: Path,
    chosen: EncodeChoices,
    models: Models,
) -> tuple[CorpusInfo, _Totals]:
    from vqtok.corpus import single
    from vqtok.corpus.writer import CorpusWriter
    from vqtok.pipeline.corpus import CorpusOptions, job_of, spec_of
    from vqtok.pipeline.corpus_carry import carry_of

    options = CorpusOptions(
        depth=chosen.depth,
        effort=Effort(chosen.effort, chosen.effort_metric),
        **chosen.reading.given(),
    )
    force = chosen.writing.force
    alone = folder == single.part_of(Path(str(chosen.output)))
    carry = carry_of(
        chosen.carry, plan.items, format=str(chosen.format), folder=folder, restart=force
    )
    plan.left_out.take_back(carry.files)
    for note in carry.notes:
        console.say(note)
    with CorpusWriter(
        folder,
        format=str(chosen.format),
        names=[item.name for item in plan.items],
        spec=spec_of(info, options),
        job=job_of(info, options),
        shard_items=len(plan.items) if alone else chosen.shard_size or SHARD_ITEMS,
        restart=force,
        append=chosen.append,
        carry=carry.kinds,
        command=shlex.join(["vqtok", *sys.argv[1:]]),
    ) as writer:
        if chosen.append:
            _say_growth(console, plan.items, writer, folder)
        if writer.complete:
            if not chosen.append:
                console.say(f"{folder}: complete already")
            totals = _Totals(console, 0)
        else:
            engine = _engine(console, info, chosen, options, models)
            totals = _work(console, _in_order(plan.items, writer), writer, engine, folder)
        found = writer.finish()
    return found, totals


def _say_growth(
    console: Console, items: Sequence[Item], writer: CorpusWriter, folder: Path
) -> None:
    new = len(writer.names) - writer.begun
    there = len(items) - new - writer.later
    parts = [f"{new} new" if new else "nothing new"]
    if there:
        parts.append(f"{there} there already, by their names")
    if writer.later:
        parts.append(f"{writer.later} more for the next run: this one ends what was begun")
    console.say(f"{folder}: {', '.join(parts)}")


def _in_order(items: Sequence[Item], writer: CorpusWriter) -> Sequence[Item]:
    """Return the items by their numbers in the corpus; those that it had are not asked for."""
    if not writer.begun:
        return items
    by_name = {item.name: item for item in items}
    had = items[0]
    new = (by_name[name] for name in writer.names[writer.begun :])
    return [*[had] * writer.begun, *new]


def _work(
    console: Console, items: Sequence[Item], writer: CorpusWriter, engine: EngineFor, folder: Path
) -> _Totals:
    left = sum(1 for _ in writer.pending())
    new = len(items) - writer.begun
    before = new - left
    if before:
        console.say(f"{folder}: {before} of {new} done before, going on")
    with console.progress(new, "encoded", start=before) as progress:
        totals = _Totals(console, before, progress)
        from vqtok.pipeline.corpus import encode_corpus

        results = encode_corpus(items, writer, engine(progress), folder=folder)
        with closing(results):  # type: ignore[type-var]  # a generator
            for result in results:
                totals.add(result)
    return totals


def _engine(
    console: Console,
    info: ModelInfo,
    chosen: EncodeChoices,
    options: CorpusOptions,
    models: Models,
) -> EngineFor:
    def make(progress: Progress) -> Engine:
        batch.reporting(console, progress, models)
        if chosen.engine == "ray":
            from vqtok.pipeline.ray_engine import ray_engine

            progress.aside("starting Ray")
            return ray_engine(
                info,
                options,
                device=chosen.machine.device,
                backend=chosen.machine.backend,
                readers=chosen.jobs,
                threads=chosen.machine.threads,
            )
        from vqtok.pipeline.corpus import local_engine

        local = local_engine(models.load(info), options, readers=chosen.jobs)
        return lambda items, numbers: batch.noting_recomputed(
            console, models, local(items, numbers)
        )

    return make


class _Totals:
    """Sums up what a run has done so far, in constant memory."""

    def __init__(self, console: Console, before: int, progress: Progress | None = None) -> None:
        self.failures: list[Failed] = []
        self._console, self._progress = console, progress
        self._before, self._count = before, 0
        self._begun = time.perf_counter()

    def add(self, result: Done | Failed) -> None:
        """Count one result, and print it."""
        from vqtok.pipeline.results import Failed

        self._count += 1
        if self._progress is not None:
            self._progress.goto(self._before + self._count)
        if self._console.as_json:
            self._console.json(result.to_json())
        if isinstance(result, Failed):
            if len(self.failures) < _REMEMBERED:
                self.failures.append(result)
            return
        if self._console.verbose:
            shapes = " + ".join("×".join(str(size) for size in shape) for shape in result.shapes)
            self._console.note(f"{result.source}: {result.channels} × {shapes} codes")
            batch.note_left_out(self._console, result)

    def say(self, info: CorpusInfo) -> None:
        """Print one line, in the units of what was encoded."""
        from vqtok.codes.rates import digits

        count = f"{info.items} {'images' if info.pixels is not None else 'recordings'}"
        parts = [count, f"{info.tokens} codes"]
        if info.seconds:
            parts[0] += f", {info.seconds:.1f} s"
        if info.amount:
            parts.append(batch.rate_text(info.rate, info.spec.modality))
        parts += [f"{n} {kind}" for kind, n in info.carried.items()]
        if self._count:
            seconds = max(time.perf_counter() - self._begun, 1e-9)
            parts.append(f"{digits(self._count / seconds)} files/s")
        self._console.say(f"corpus: {', '.join(parts)}")


def _target(chosen: EncodeChoices) -> Path:
    if chosen.output in (None, "", "-"):
        given = "" if chosen.output is None else f" -o {chosen.output!r}:"
        raise UsageError(f"--format {chosen.format}:{given} a corpus is a folder", hint="-o DIR/")
    if chosen.append and chosen.writing.force:
        raise UsageError("--append and -f exclude each other", hint="-f starts over")
    if chosen.writing.skip_existing:
        raise UsageError("--skip-existing", "a corpus goes on by itself", hint="leave it out")
    return Path(str(chosen.output))


def _failure(item: Item) -> Failed:
    from vqtok.pipeline.results import Failed

    return Failed(Path(str(item.place)), item.problem or MediaError(item.place, "unknown"))


def _dry_run(console: Console, plan: CorpusPlan, folder: Path, *, append: bool) -> None:
    from vqtok.corpus.growth import grow

    failures = []
    items = plan.items
    if append:
        growth = grow(folder, [item.name for item in items])
        new = set(growth.names[len(growth.names) - growth.new :])
        items = tuple(item for item in items if item.name in new)
    for item in items:
        if item.problem is not None:
            failures.append(_failure(item))
        elif console.as_json:
            target = {"target": str(folder), "name": item.name, "kind": item.kind}
            console.json({"source": str(item.place), **target})
        else:
            console.result(f"{item.place} -> {folder}: {item.name}")
    batch.report_left_out(console, plan.left_out, any_taken=plan.info is not None)
    _finish(console, failures, failed=len(failures))


def _report(console: Console, folder: Path, info: CorpusInfo) -> None:
    if console.as_json:
        console.json(
            {
                "corpus": str(folder),
                "format": info.format,
                "model": info.model,
                "items": info.items,
                "failed": info.failed,
                "tokens": info.tokens,
                "bits": round(info.bits, 3),
                **({"carried": dict(info.carried)} if info.carried else {}),
            }
        )
    elif not console.quiet:
        console.path(folder)


def _finish(
    console: Console, failures: list[Failed], *, failed: int, folder: Path | None = None
) -> None:
    """Print what failed, and leave with its exit code."""
    if not failed:
        return
    console.failures(failures)
    if folder is not None:
        from vqtok.corpus.names import FAILED

        what = "1 input" if failed == 1 else f"{failed} inputs"
        console.say(f"{what} failed, with reasons in {folder / FAILED}")
    raise typer.Exit(ExitCode.FAILED)
