"""Networks of other programs' checkpoints → ONNX files, by torch's exporter.

It traces them. What replaces that in torch, ``dynamo=True``, takes tens of times as long for the
same graphs, has no LSTM of free length, and needs one more package.
"""

from __future__ import annotations

import importlib.util
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vqtok.codes.spec import CodeSpec
from vqtok.errors import UsageError
from vqtok.graphs.graph import OPSET

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from vqtok.protocols import Halves

GRID = {"h": "h", "w": "w", "t": "frames"}
"""Axes of codes that grow with the signal, and what they are called in graphs."""


Axes = list[int | str]
"""Sizes, or names of sizes that are free."""


class Made(NamedTuple):
    """Graphs that need nothing else."""

    encoder: bytes
    decoder: bytes
    signal: dict[str, Any]
    """What signals are like, for ``spec.json``."""
    labels: list[str]
    noise: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]] | None = None
    """That decoding of codes draws, as of ``Halves``."""


def traced(halves: Halves, spec: CodeSpec) -> Made:
    """Make graphs of the networks of a tokenizer.

    Args:
        halves: The networks.
        spec: Of the codes.

    Raises:
        UsageError: onnx is not installed, or torch cannot trace these networks.
    """
    if importlib.util.find_spec("onnx") is None:
        reason = "not installed; checkpoints of other programs are exported with it"
        raise UsageError("onnx", reason, hint="pip install 'vqtok[onnx]'")
    import torch

    signal = signal_of(halves, spec)
    # Sizes that nothing else has, so that one which became fixed shows when the graphs are run.
    shape = 3, halves.channels, *sizes(signal, [(3, 5)])[0]
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 0.5
    with torch.no_grad():
        codes = tuple(level.contiguous() for level in halves.encoder(x))
        noise = halves.noise(codes) if halves.noise else ()
    whole = {signal["name"]: signal["axes"]}
    grids = {
        level.name: _axes(halves, level.axes, array.shape, index)
        for index, (level, array) in enumerate(zip(spec.levels, codes, strict=True))
    }
    drawn: dict[str, Axes] = {f"noise{i}": [1, 1, f"noises{i}"] for i in range(len(noise))}
    return Made(
        _export(halves.encoder, (x,), whole, grids),
        _export(halves.decoder, (*codes, *noise), grids | drawn, whole, optional=list(drawn)),
        signal,
        [],
        halves.noise,
    )


def signal_of(halves: Halves, spec: CodeSpec) -> dict[str, Any]:
    """Tell what the signals of graphs are like, for ``spec.json``."""
    multiple = halves.multiple
    sides: Axes = ["length"]
    if spec.modality == "audio":
        padding = f"zeros behind the end, to a multiple of {multiple} samples"
        more: dict[str, Any] = {"rate_hz": int(spec.rate or 0)}
        if halves.longest is not None:
            padding = f"chunks of {halves.longest} samples, one every {halves.step}; {padding}"
            more |= {"chunk": halves.longest, "step": halves.step}
        if halves.density:
            more["noise"] = [
                {"name": f"noise{i}", "per_multiple": n} for i, n in enumerate(halves.density)
            ]
        name = "samples"
    else:
        padding = {
            "edge": f"the last row and column again, to multiples of {multiple} pixels",
            "black": f"black around them, to multiples of {multiple} pixels; of an odd number of "
            "rows or columns the last one lies behind",
            "resize": f"resized to {multiple}x{multiple} pixels, bicubic, antialiased, and back",
        }[halves.fill]
        more, name, sides = {}, "pixels", ["height", "width"]
        if halves.fill == "resize":
            sides = [multiple, multiple]
    axes = ["batch", halves.channels, *sides]
    facts = {"name": name, "axes": axes, "range": [-1, 1], **more}
    return facts | {"multiple": multiple, "fill": halves.fill, "padding": padding}


def sizes(signal: Mapping[str, Any], counts: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Make sizes that graphs take, of so many multiples: (H, W), or (L,) of their product."""
    multiple = signal["multiple"]
    if signal["fill"] == "resize":
        return [(multiple, multiple) for _ in counts]
    if signal["name"] == "pixels":
        return [(a * multiple, b * multiple) for a, b in counts]
    most = signal.get("step", 1 << 40) // multiple
    return [(min(a * b, most) * multiple,) for a, b in counts]


def _axes(halves: Halves, axes: Sequence[str], shape: Sequence[int], level: int) -> Axes:
    """Name the axes of (B, *axes) codes that are not fixed."""
    free = {} if halves.fill == "resize" else GRID
    if halves.longest is not None and "q" not in axes:
        free = {}  # of a chunk as a whole
    pairs = zip(axes, shape[1:], strict=True)
    return ["batch", *(f"{free[each]}{level}" if each in free else size for each, size in pairs)]


def _export(
    half: Module,
    given: tuple[Tensor, ...],
    inputs: Mapping[str, Axes],
    outputs: Mapping[str, Axes],
    optional: Sequence[str] = (),
) -> bytes:
    """Write one network.

    Args:
        half: To be traced.
        given: Its arguments.
        inputs: Their names, and sizes or names of their axes.
        outputs: The same of what it returns.
        optional: Inputs that are zeros if a program gives none.
    """
    import onnx
    import torch

    axes = {**inputs, **outputs}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        path = Path(folder, "network.onnx")
        warnings.simplefilter("ignore")  # of tracing, which is checked by running the graph
        try:
            torch.onnx.export(
                half.eval(),
                given,
                path,
                dynamo=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes={
                    name: {i: axis for i, axis in enumerate(each) if isinstance(axis, str)}
                    for name, each in axes.items()
                },
            )
        except Exception as error:  # whatever a layer that ONNX does not have may raise
            first = str(error).strip().partition("\n")[0]
            raise UsageError(f"not exported: torch cannot: {first}") from error
        model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        # Of sizes that it computes, torch gives other names.
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for axis in axes[value.name]:
            named = {"dim_param": axis} if isinstance(axis, str) else {"dim_value": axis}
            shape.dim.add(**named)
    del model.graph.value_info[:]
    for name in optional:
        silence = np.zeros((1, 1, 1), dtype=np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(silence, name))
    return bytes(model.SerializeToString())
