"""Several models and classical codecs on the same files: one row each, the same metrics and bits.

A file counts in every row or in none. Classical codecs get the bits that the first model with codes
takes for the same file, segment by segment where it is long.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from vqtok.errors import MediaError, UsageError
from vqtok.media.classical import KINDS, TITLES
from vqtok.media.opening import seekable
from vqtok.pipeline.classical import Classical
from vqtok.pipeline.evaluate import EvaluateOptions, Evaluation, Measured, Packing
from vqtok.pipeline.evaluated import ItemReport, Summary
from vqtok.pipeline.results import Failed

if TYPE_CHECKING:
    from vqtok.media.plan import Job
    from vqtok.protocols import Coder

ALL = ("image", "audio")


@dataclass(frozen=True)
class Method:
    """One row.

    Attributes:
        label: Its name in tables: of a classical codec one of ``media.classical.KINDS``.
        coder_for: "image" or "audio" → the coder; None: a classical codec.
        kinds: Kinds of files that it is for.
        has_codes: Whether it has bits that classical codecs can be given.
        packing: Header → what its codes are packed with; None: counts of the codes alone.
    """

    label: str
    coder_for: Callable[[str], Coder] | None = None
    kinds: tuple[str, ...] = ALL
    has_codes: bool = True
    packing: Packing | None = None


@dataclass(frozen=True)
class Compared:
    """One file in every row.

    Attributes:
        source: The file; None for standard input.
        modality: "image" or "audio".
        reports: By label, in the order of the rows.
    """

    source: Path | None
    modality: str
    reports: Mapping[str, ItemReport]


OnPair = Callable[["Job", str, np.ndarray, np.ndarray, "int | None"], None]
"""Shown a file, the label of a row, and original, reconstruction and rate as by an evaluation."""


class Comparison:
    """Evaluate files with each method: iterate ``run``, then ask for ``summaries``.

    Args:
        methods: Rows, in order; their labels differ.
        options: How to evaluate.
        kinds: Kinds of the files to come.
        stored: Classical codecs get the bits of packed files, not the nominal ones.

    Raises:
        UsageError: a classical codec without a model whose bits it could have, or that Pillow or
            libsndfile lacks; an unknown metric.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        *,
        options: EvaluateOptions | None = None,
        kinds: Sequence[str] = ALL,
        stored: bool = False,
    ) -> None:
        self.methods, self._stored = tuple(methods), stored
        self._likes: dict[str, Method] = {}
        for kind in ALL:
            models = [c for c in methods if c.coder_for and kind in c.kinds and c.has_codes]
            self._likes.update({kind: models[0]} if models else {})
        self._evaluations = {
            method.label: Evaluation(
                method.coder_for or self._classical(method),
                options=options,
                kinds=kinds,
                name=method.label,
                packing=method.packing,
            )
            for method in methods
        }
        self.notes = next(iter(self._evaluations.values())).notes

    def like(self, kind: str) -> str | None:
        """Label of the model whose bits the classical codecs of a kind get."""
        model = self._likes.get(kind)
        return None if model is None else model.label

    def summaries(self) -> tuple[Summary, ...]:
        """Sums up each row and kind of which a file was compared: kinds, and rows within them."""
        found = [each for e in self._evaluations.values() for each in e.summaries()]
        return tuple(each for kind in ALL for each in found if each.modality == kind)

    def run(
        self,
        jobs: Sequence[Job],
        *,
        target_for: Callable[[str, Job], Path | None] = lambda label, job: job.target,
        on_start: Callable[[Job], None] = lambda job: None,
        on_part: Callable[[float], None] = lambda fraction: None,
        on_pair: OnPair | None = None,
        stdin: BinaryIO | None = None,
    ) -> Iterator[Compared | Failed]:
        """Evaluate each job in all rows; one that fails in one of them counts in none.

        Args:
            jobs: What to evaluate.
            target_for: Label and job → where that row's reconstruction is kept, or None.
            on_start: Called with each job before it is worked on.
            on_part: Called with the share of a job that is done, 0 to 1.
            on_pair: Shown every original and its reconstructions.
            stdin: Where a job without a source reads; default: the process's.

        Yields:
            One result per job.

        Raises:
            UsageError: a mistake that every job would repeat.
        """
        for job in jobs:
            on_start(job)
            self._at: Evaluation | None = None
            result: Compared | Failed
            try:
                with ExitStack() as stack:
                    place: Path | BinaryIO = job.source or stdin or sys.stdin.buffer
                    if not isinstance(place, Path):  # read once for each row
                        place = stack.enter_context(seekable(place))
                    result = self._compared(job, place, target_for, on_part, on_pair)
            except Exception as error:
                has_model = self._at is None or self._at.has_model
                result = Failed.of(job.source, error, has_model=has_model)
            yield result

    def _compared(
        self,
        job: Job,
        place: Path | BinaryIO,
        target_for: Callable[[str, Job], Path | None],
        on_part: Callable[[float], None],
        on_pair: OnPair | None,
    ) -> Compared:
        rows = [method for method in self.methods if job.kind in method.kinds]
        if not rows:
            raise MediaError(f"none of the models is for {job.kind} files")
        like = self._likes.get(job.kind)
        # The model whose bits the others get comes first, wherever its row is.
        order = sorted(rows, key=lambda method: method is not like)
        measured: dict[str, Measured] = {}
        for number, method in enumerate(order):
            label = method.label
            budgets: tuple[float, ...] = ()
            if method.coder_for is None and like is not None:
                found = measured[like.label].report
                budgets = found.segment_stored if self._stored else found.segment_bits
            self._at = self._evaluations[label]
            measured[label] = self._at.measure(
                replace(job, target=target_for(label, job)),
                place,
                budgets=budgets,
                on_part=partial(_share, on_part, number, len(order)),
                on_pair=None if on_pair is None else partial(on_pair, job, label),
            )
        for method in rows:
            self._evaluations[method.label].take(measured[method.label])
        reports = {method.label: measured[method.label].report for method in rows}
        return Compared(job.source, job.kind, reports)

    def _classical(self, method: Method) -> Callable[[str], Classical]:
        """Makes the codec once the rate of its model is known."""
        name, kind = method.label, KINDS[method.label]
        like = self._likes.get(kind)
        if like is None or like.coder_for is None:
            example = "image-f8" if kind == "image" else "audio-24k"
            raise UsageError(
                f"-m {name}",
                f"{TITLES[name]} gets the bits of a model's codes, and no such model is named",
                hint=f"-m {example} -m {name}",
            )
        model, label = like.coder_for, like.label
        Classical(name, like=label)  # is it there?
        stored = self._stored
        return lambda _: Classical(name, like=label, rate_hz=model(kind).spec.rate, stored=stored)


def classical(name: str) -> Method:
    """Returns the row of a classical codec."""
    return Method(name, None, (KINDS[name],), has_codes=False)


def _share(on_part: Callable[[float], None], number: int, count: int, fraction: float) -> None:
    on_part((number + fraction) / count)
