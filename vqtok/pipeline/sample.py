"""New samples: codes of a prior and what its tokenizer makes of them, or decoded latents."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from vqtok import __version__
from vqtok.codes import files
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.errors import UsageError
from vqtok.media import audio, image
from vqtok.media.image.mosaic import mosaic, repeated
from vqtok.pipeline import pictures
from vqtok.pipeline.sample_plan import SamplePlan

if TYPE_CHECKING:
    from vqtok.codes.spec import CodeSpec
    from vqtok.pipeline.prior_models import Loaded
    from vqtok.protocols import Prior, Prompt

BATCH = 32
"""Samples at a time by default; what they are does not depend on it."""


@dataclass(frozen=True)
class SampleOptions:
    """How to sample.

    Attributes:
        count: How many.
        extent: (H, W) or (L,) of the signals; None: as the prior was trained.
        classes: Of each sample, names; empty: none.
        prompt: What the samples begin with, or None.
        temperature, top_k, top_p, guidance, seed: As ``Prior.sample`` has them.
        batch: Samples at a time.
        candidates: Samples of which the one is taken that a classifier finds likeliest to be of its
            class; 1: none is rejected.
        columns: Of a grid of pictures; None: as many as make it nearly square.
        named: Whether the names of classes are written under the pictures of a grid.
        scale: Times that pictures are enlarged; None: so that names of classes fit, else not.
    """

    count: int
    extent: tuple[int, ...]
    classes: tuple[str, ...] = ()
    prompt: Prompt | None = None
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    guidance: float = 1.0
    seed: int = 0
    batch: int = BATCH
    candidates: int = 1
    columns: int | None = None
    named: bool = False
    scale: int | None = None


@dataclass(frozen=True)
class Drawing:
    """A sample before it is written.

    Attributes:
        codes: Of batch 1, numpy; None of a model without codes.
        signal: Makes the picture or recording of it: (C, *extent) float32.
    """

    codes: Codes | None
    signal: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Sampled:
    """A sample that was written.

    Attributes:
        index: Among the samples.
        label: Its class; "" without.
        target: None: standard output.
    """

    index: int
    label: str
    target: Path | None

    def to_json(self) -> dict[str, Any]:
        """JSON data."""
        data: dict[str, Any] = {"index": self.index, "target": str(self.target or "-")}
        return data | ({"class": self.label} if self.label else {})


def sample(
    prior: Prior,
    options: SampleOptions,
    *,
    on_progress: Callable[[float], None] = lambda done: None,
) -> Iterator[Codes]:
    """Draw codes.

    Args:
        prior: In evaluation mode.
        options: How.
        on_progress: Called with the samples done so far, a fraction of them too.

    Yields:
        Codes of batch 1, numpy, one sample after the other.

    Raises:
        UsageError: what the prior cannot do.
    """
    import torch

    numbers = [prior.classes.index(name) for name in options.classes]
    for first in range(0, options.count, options.batch):
        size = min(options.batch, options.count - first)
        condition = torch.tensor(numbers[first : first + size]) if numbers else None

        def went(step: int, steps: int, first: int = first, size: int = size) -> None:
            on_progress(first + size * step / steps)

        codes = prior.sample(
            size,
            options.extent,
            condition=condition,
            prompt=options.prompt,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            guidance=options.guidance,
            seed=options.seed,
            first=first,
            progress=went,
        )
        yield from codes.numpy().split()


def run(
    models: Loaded,
    plan: SamplePlan,
    options: SampleOptions,
    *,
    on_progress: Callable[[float], None] = lambda done: None,
    stdout: BinaryIO | None = None,
) -> Iterator[Sampled]:
    """Sample from a prior, decode, and write what comes; a grid when all is there.

    Args:
        models: The prior and its tokenizer.
        plan: What is written.
        options: Of ``sample``.
        on_progress: Of ``sample``.
        stdout: Where targets of None go; default: the process's.

    Yields:
        What was written, a sample each.
    """
    info, made_by = models.info, models.learned.tokenizer
    drawings = _drawings(models, options, on_progress)
    return write(drawings, plan, options, spec=info.spec, made_by=made_by, stdout=stdout)


def write(
    drawings: Iterable[Drawing],
    plan: SamplePlan,
    options: SampleOptions,
    *,
    spec: CodeSpec,
    made_by: str = "",
    stdout: BinaryIO | None = None,
) -> Iterator[Sampled]:
    """Write samples as they come; a grid when all are there.

    Args:
        drawings: As many as ``options.count``.
        plan: What is written.
        options: Classes, and the layout of a grid.
        spec: Of the model, for the rate of recordings.
        made_by: NAME of the tokenizer whose codes they are.
        stdout: Where targets of None go; default: the process's.

    Yields:
        What was written, a sample each.
    """
    stream = stdout if stdout is not None else sys.stdout.buffer
    shown: list[np.ndarray] = []
    for index, (drawing, label) in enumerate(zip(drawings, _labels(options), strict=True)):
        if plan.is_grid:
            shown.append(drawing.signal())
            continue
        target = plan.targets[index]
        _write_one(drawing, target or stream, plan, options, spec=spec, made_by=made_by)
        yield Sampled(index, label, target)
    if shown:
        target = plan.targets[0]
        names = options.classes if options.named and len(shown) > 1 else ()
        cells = pictures.cells(shown, names=names, scale=options.scale)
        image.write(target or stream, mosaic(cells, columns=options.columns), format=plan.format)
        for index, label in enumerate(_labels(options)):
            yield Sampled(index, label, target)
    if plan.targets[0] is None:
        stream.flush()


def _drawings(
    models: Loaded, options: SampleOptions, on_progress: Callable[[float], None]
) -> Iterator[Drawing]:
    accepted = _accepted(models, options, on_progress)
    for codes, label in zip(accepted, _labels(options), strict=True):
        yield Drawing(codes, partial(_decoded, models, codes, label))


def _labels(options: SampleOptions) -> tuple[str, ...]:
    return options.classes or ("",) * options.count


def _accepted(
    models: Loaded, options: SampleOptions, on_progress: Callable[[float], None]
) -> Iterator[Codes]:
    """Samples; if there are candidates, the best of each group of them.

    Rejection by a classifier as in VQ-VAE-2 (arXiv:1906.00446, section 3.3), but among a few for
    each sample and not among all, so that sample i stays the same however many are made.
    """
    times = options.candidates
    if times == 1:
        yield from sample(models.prior, options, on_progress=on_progress)
        return
    more = replace(
        options,
        count=options.count * times,
        classes=tuple(name for name in options.classes for _ in range(times)),
    )
    group: list[Codes] = []
    drawn = sample(models.prior, more, on_progress=lambda done: on_progress(done / times))
    for index, codes in enumerate(drawn):
        group.append(codes)
        if len(group) == times:
            yield _best(models, group, options.classes[index // times])
            group = []


def _best(models: Loaded, group: list[Codes], label: str) -> Codes:
    import torch

    decoded = [torch.from_numpy(_decoded(models, codes, label)) for codes in group]
    shares = models.classifier.probabilities(torch.stack(decoded))
    return group[int(shares[:, models.classifier.classes.index(label)].argmax())]


def _write_one(
    drawing: Drawing,
    target: Path | BinaryIO,
    plan: SamplePlan,
    options: SampleOptions,
    *,
    spec: CodeSpec,
    made_by: str,
) -> None:
    if plan.kind == "codes" and drawing.codes is not None:
        codes = drawing.codes
        header = Header(codes.spec, codes.extent, model=made_by, vqtok=__version__)
        files.write(target, codes, header, format=plan.format)
    elif plan.kind == "image":
        picture = repeated(drawing.signal(), options.scale or 1)
        image.write(target, picture, format=plan.format)
    else:
        with audio.Writer(target, int(spec.rate or 0), 1, plan.format) as writer:
            writer.write(drawing.signal())


def _decoded(models: Loaded, codes: Codes, label: str) -> np.ndarray:
    """Decode one sample: (C, *extent) float32."""
    coder = models.coder
    names = coder.labels
    if names and label not in names:
        raise UsageError(
            coder.name,
            f"its decoder needs a label, and {label or 'none'!r} is none of them",
            hint=f"--class {names[0]}",
        )
    out: np.ndarray = coder.decode(codes, label=label if names else None)[0]
    # A grey picture has one channel, files have three.
    return np.repeat(out, 3, axis=0) if out.ndim == 3 and len(out) == 1 else out
