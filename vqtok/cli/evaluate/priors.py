"""``vqtok eval`` of codes: what a prior makes them cost."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import typer

from vqtok.cli.console import Console
from vqtok.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import ModelInfo
    from vqtok.cli.evaluate.flags import Choices
    from vqtok.metrics.likelihood import Cost
    from vqtok.pipeline.results import Failed
    from vqtok.pipeline.score import Scored

HEADS = ("nats/code", "bits/code", "bits/dim")


def evaluate(console: Console, files: Sequence[str], info: ModelInfo, chosen: Choices) -> None:
    """Print the cost of each item and of all.

    Raises:
        UsageError: a flag that has no effect here.
        typer.Exit: 1 if an input failed.
    """
    chosen.refuse_media_flags("prior")
    if info.learned is None:
        raise UsageError(info.name, "a tokenizer, not a prior")
    from vqtok.pipeline import prior_models, score
    from vqtok.pipeline.results import Failed

    failed: list[Failed] = []
    machine = chosen.machine
    with console.progress(1, "evaluated", unit="runs") as progress:
        progress.aside(f"loading {info.name}")
        loaded = prior_models.Loaded(
            info, info.learned, device=machine.device, threads=machine.threads
        )
        scoring = score.Scoring(loaded.prior, info, label=chosen.label)
        if not console.as_json:
            console.result("  ".join([*HEADS, "file"]))
        with closing(scoring.run(score.items_of(files))) as results:  # type: ignore[type-var]
            for each in results:
                if console.as_json:
                    console.json(each.to_json())
                if isinstance(each, Failed):
                    failed.append(each)
                    continue
                progress.stage(each.name)
                if not console.as_json:
                    values = (each.nats_per_code, each.bits_per_code, each.bits_per_dimension)
                    cells = [f"{v:>{len(h)}.3f}" for v, h in zip(values, HEADS, strict=True)]
                    console.result("  ".join([*cells, each.name]))
    scored = scoring.scored()
    if scored.items:
        _show(console, scored)
    if failed:
        console.failures(failed)
        raise typer.Exit(ExitCode.FAILED)


def _show(console: Console, scored: Scored) -> None:
    if console.as_json:
        console.json(scored.to_json())
        return
    from vqtok.codes.rates import digits

    total = scored.total
    lines = [f"\n{scored.items} items, {total.codes} codes, {scored.model}"]
    rows = [("prior", _words(total))]
    if len(scored.levels) > 1:
        rows += [(f"  {name}", _words(cost)) for name, cost in scored.levels.items()]
    rows += [
        ("unigram", f"{total.unigram_bits:.3f} bits per code"),
        ("uniform", f"{total.uniform_bits:.3f} bits per code"),
        ("dimensions", f"{scored.bits_per_dimension:.4f} bits per dimension"),
        ("speed", f"{digits(scored.codes_per_s)} codes/s"),
    ]
    if scored.unlabelled:
        rows.append(("classes", f"{scored.unlabelled} items lie in no directory named as a class"))
    lines += [f"  {key + ':':<16}{value}" for key, value in rows]
    console.result("\n".join(lines))
    console.note(scored.protocol)


def _words(cost: Cost) -> str:
    side = "below" if cost.saved >= 0 else "above"
    return (
        f"{cost.nats_per_code:.4f} nats, {cost.bits_per_code:.3f} bits per code, "
        f"{abs(cost.saved):.1%} {side} the unigram entropy"
    )
