"""What a run would be, before it begins: a few real steps, and nothing on disk."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from vqtok.checkpoints import weights
from vqtok.codes import rates
from vqtok.codes.spec import CodeSpec
from vqtok.training.log import Learns
from vqtok.training.run import Run

STEPS = 3
"""Steps that are timed, after one that is not."""


@dataclass(frozen=True)
class Rehearsal:
    """Describes a run that was not carried out.

    Attributes:
        parameters: Numbers in the weights file by part: "encoder", "quantizer", "decoder" and
            whatever else there is; codebooks count, what only training needs does not.
        model_bytes: Size of the weights file.
        window: Extent of an item while training: (H, W) pixels or (L,) samples.
        window_tokens: Codes of such a window; 0 for a continuous method.
        learns: What would be trained: a tokenizer or a prior.
        typical: Extent of the median file, audio at the model's rate; None if none can be read.
        typical_tokens: Codes of that file (of one channel); 0 for a continuous method.
        bits_per_pixel: Of images, else None; 0 for a continuous method.
        kbit_per_s: Of audio, else None; 0 for a continuous method.
        receptive_field: Pixels per side, or samples, that one code depends on; None: not known.
        batch: Items of one optimizer step.
        step_s: Seconds of one step, the wait for its data included: the median of those timed.
        total_s: Of the whole run, without the measurements between.
        peak_bytes: Most memory so far: of the GPU if that is the device, else of the process;
            None: not known.
        data: ``Task.describe_data``.
        unreadable: Files that could not be read in these steps: name → why.
        unreached: Entries of folders, lists and tars that could not be looked at.
        left_out: As ``log.Started``.
    """

    modality: str
    device: str
    precision: str
    parameters: dict[str, int]
    model_bytes: int
    window: tuple[int, ...]
    window_tokens: int
    typical: tuple[int, ...] | None
    typical_tokens: int
    bits_per_pixel: float | None
    kbit_per_s: float | None
    receptive_field: int | None
    files: int
    held_out: int
    batch: int
    steps: int
    minutes: float | None
    step_s: float
    total_s: float
    peak_bytes: int | None
    data: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    learns: Learns = "tokenizer"
    unreadable: dict[str, str] = field(default_factory=dict)
    unreached: int = 0
    left_out: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON data."""
        data = asdict(self)
        del data["left_out"]
        return data


def rehearse(run: Run) -> Rehearsal:
    """Take a few steps of a run that has not begun, and throw it away.

    Args:
        run: Its model is changed by the steps; do not train it.
    """
    started = run.started()
    spec = run.task.spec
    plan = run.plan
    data = run.data_facts
    left = plan.steps - run.step
    stored = weights.storable(run.model, half=plan.store == "float16", subject=run.output)
    step_s = _time(run)
    total_s = step_s * left
    if plan.minutes is not None:
        total_s = min(total_s, 60.0 * plan.minutes)
    window = run.task.window
    typical = _typical(spec, data)
    nominal = rates.fixed(spec)
    return Rehearsal(
        modality=spec.modality,
        device=started.device,
        precision=started.precision,
        parameters=_parts(stored),
        model_bytes=weights.signature("", stored)[1],
        window=window,
        window_tokens=data.get("window", spec.tokens(window)),
        typical=typical,
        typical_tokens=spec.tokens(typical) if typical else 0,
        learns=run.task.learns,
        bits_per_pixel=nominal if spec.modality == "image" else None,
        kbit_per_s=nominal if spec.modality == "audio" else None,
        receptive_field=getattr(run.model, "receptive_field", None),
        files=started.files,
        held_out=started.held_out,
        batch=plan.batch * plan.accumulate,
        steps=plan.steps,
        minutes=plan.minutes,
        step_s=step_s,
        total_s=total_s,
        peak_bytes=_peak(run.device),
        data=data,
        notes=started.notes,
        unreadable=run.unreadable(),
        unreached=started.unreached,
        left_out=started.left_out,
    )


def _time(run: Run) -> float:
    """Measure the median seconds of a step."""
    times = []
    with closing(run.dataset.batches(run.step)) as batches:
        for index in range(1 + STEPS):
            begun = time.perf_counter()
            run.advance(next(batches))
            if run.device.type == "cuda":
                torch.cuda.synchronize(run.device)
            if index:  # the first one also allocates, and compiles
                times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _typical(spec: CodeSpec, data: Mapping[str, Any]) -> tuple[int, ...] | None:
    if "median" in data:
        height, width = data["median"]
        return (height, width)
    if "median_s" in data:
        return (max(1, round(data["median_s"] * (spec.rate or 1.0))),)
    return None


def _parts(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name, tensor in tensors.items():
        part = name.partition(".")[0]
        counts[part] = counts.get(part, 0) + tensor.numel()
    return counts


def _peak(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return None
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
