"""Variational autoencoders as what is sampled from: latents of N(0, I), decoded.

torch is imported when one is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vqtok.checkpoints import directory
from vqtok.errors import UsageError
from vqtok.pipeline.sample import Drawing, SampleOptions

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import ModelInfo
    from vqtok.pipeline.sample_plan import SamplePlan
    from vqtok.protocols import TrainableTokenizer

PRIOR = "quantizers/gaussian"
"""The quantizer whose latents have a known prior."""


def find(name: str | None) -> ModelInfo | None:
    """Facts of a model whose latents are pulled to N(0, I); None: another kind, or none named.

    Raises:
        UsageError: no such model.
        CheckpointError: a damaged directory.
    """
    if name is None:
        return None
    info = directory.describe(name)
    quantizer = info.config.get("quantizer")
    kind = quantizer.get("type") if isinstance(quantizer, dict) else None
    return info if kind == PRIOR and not info.spec.levels else None


def check(info: ModelInfo, plan: SamplePlan, flags: Sequence[str]) -> None:
    """Refuse what only codes can be.

    Args:
        info: Of the model.
        plan: What is to be written.
        flags: Given ones that have a meaning for codes alone.

    Raises:
        UsageError: one of these.
    """
    if plan.kind == "codes":
        raise UsageError(info.name, "its latents are continuous: there are no codes to write")
    if flags:
        reason = f"{info.name} draws its latents from N(0, I): there are no codes to choose among"
        raise UsageError(flags[0], reason)


def labels_of(info: ModelInfo) -> tuple[str, ...]:
    """List the classes that the decoder is conditioned on."""
    found = info.config.get("labels", ())
    return tuple(map(str, found)) if isinstance(found, list | tuple) else ()


def usual_extent(info: ModelInfo) -> tuple[int, ...]:
    """Find what its training's windows measured; () if ``training.json`` does not say so."""
    found: Any = info.training
    for key in ("recipe", "train", "window"):
        found = found.get(key) if isinstance(found, dict) else None
    if type(found) is not int or found < 1:
        return ()
    return (found, found) if info.spec.modality == "image" else (found,)


def drawings(
    info: ModelInfo,
    options: SampleOptions,
    *,
    device: str = "auto",
    threads: int | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> Iterator[Drawing]:
    """Draw latents of N(0, I), ``temperature`` as its standard deviation, and decode them.

    Args:
        info: Of the model.
        options: How; sample number i depends on it and the seed alone.
        device: "auto", "cpu", "cuda" or "cuda:1".
        threads: CPU threads that torch may use; None: its own choice.
        on_progress: Called with the samples done so far.

    Raises:
        UsageError: a temperature below 0.
    """
    import torch

    from vqtok.checkpoints.devices import pick_device

    if not 0 <= options.temperature < float("inf"):
        raise UsageError(f"temperature {options.temperature} is not 0 or more")
    device = pick_device(device, threads=threads)
    model = cast("TrainableTokenizer", directory.load(info, device=device))
    grid = _shape(model, options.extent)
    for index in range(options.count):
        # Of each item's own generator, and decoded alone: no sample depends on the others.
        noise = np.random.default_rng((options.seed, index))
        z = options.temperature * noise.standard_normal(grid, dtype=np.float32)
        label = options.classes[index] if options.classes else None

        def render(z: np.ndarray = z, label: str | None = label) -> np.ndarray:
            with torch.inference_mode():
                latents = torch.from_numpy(z)[None].to(device)
                found = model.render(latents, options.extent, label=label)
            return found[0].float().cpu().numpy()

        yield Drawing(None, render)
        on_progress(index + 1)


def _shape(model: TrainableTokenizer, extent: tuple[int, ...]) -> tuple[int, ...]:
    """Find the latents' shape for signals of an extent: (D, *grid), as the encoder makes it."""
    import torch

    with torch.inference_mode():
        x = torch.zeros(1, getattr(model, "channels", 1), *extent)
        z = cast("torch.Tensor", model.latents(x))  # of one level: more need codes
        return tuple(model.quantizer(z).z_q.shape[1:])
