"""Write networks of ``nn`` as graphs of standard operators, their weights by place in a file.

One function for each kind of layer, beside ``nn/regions.py``. A patch and the linear layer behind
it are one convolution with the same numbers, and a block's scale goes into its last layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import Any, cast

import numpy as np
from torch import Tensor, nn

from vqtok.graphs.graph import FLOAT, Graph, Node, Value, Weight
from vqtok.nn import pyramid
from vqtok.nn.convnext import Block, ChannelNorm, Pointwise
from vqtok.nn.hierarchy import Decoder, Encoder
from vqtok.nn.regions import flat

EPSILON = 1e-5
"""Of torch's layer norm."""

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
"""Axes of (B, D, H, W) with channels last, and back."""


class Builder:
    """Collects the nodes of one graph.

    Args:
        module: Its tensors are known by their names in the file.
        stored: Where each tensor lies in the file.
    """

    def __init__(self, module: nn.Module, stored: Mapping[str, Weight]) -> None:
        self._stored = stored
        self._names = {
            id(tensor): name for name, tensor in module.state_dict(keep_vars=True).items()
        }
        self._nodes: list[Node] = []
        self._weights: dict[str, Weight] = {}
        self._constants: dict[str, np.ndarray] = {}

    def add(self, op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """Add an operator; the name of what it gives."""
        name = out or f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(Node(op, inputs, (name,), attributes))
        return name

    def weight(self, tensor: Tensor | None, *shape: int) -> str:
        """Name a tensor of the file, as float32.

        Args:
            tensor: Of the module.
            shape: Another one, of as many numbers.
        """
        found = self._stored[self._names[id(tensor)]]
        name = found.name if not shape else f"{found.name} {'x'.join(map(str, shape))}"
        if name not in self._weights:
            self._weights[name] = Weight(name, shape or found.shape, found.half, found.begin)
            if found.half:
                self.add("Cast", name, out=f"{name} float32", to=FLOAT)
        return f"{name} float32" if found.half else name

    def constant(self, *numbers: int) -> str:
        """Name an int64 vector."""
        name = " ".join(("constant", *map(str, numbers)))
        self._constants[name] = np.array(numbers, dtype=np.int64)
        return name

    def last(self, x: str) -> str:
        """Bring channels to the last axis."""
        return self.add("Transpose", x, perm=TO_LAST)

    def first(self, x: str) -> str:
        """Bring channels back to axis 1."""
        return self.add("Transpose", x, perm=TO_FIRST)

    def linear(self, x: str, layer: nn.Linear, scale: str = "") -> str:
        """Apply a linear layer, and a scale of its outputs, to the last axis."""
        weight, bias = self.weight(layer.weight), self.weight(layer.bias)
        turned = self.add("Transpose", weight, perm=(1, 0))
        if scale:
            turned, bias = self.add("Mul", turned, scale), self.add("Mul", bias, scale)
        return self.add("Add", self.add("MatMul", x, turned), bias)

    def norm(self, x: str, layer: ChannelNorm) -> str:
        """Apply a norm to the last axis."""
        return self.add(
            "LayerNormalization",
            x,
            self.weight(layer.weight),
            self.weight(layer.bias),
            axis=-1,
            epsilon=EPSILON,
        )

    def cropped(self, x: str, like: str) -> str:
        """Cut the far end of (B, C, H, W) off to the size of another tensor."""
        size = self.add("Shape", like, start=2, end=4)
        return self.add("Slice", x, self.constant(0, 0), size, self.constant(2, 3))

    def joined(self, parts: Sequence[str]) -> str:
        """Join channels; one part is left as it is."""
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=1)

    def layers(self, network: nn.Module | Sequence[nn.Module], x: str) -> str:
        """Apply one layer after the other."""
        chain = list(flat(network))
        at = 0
        while at < len(chain):
            layer, following = chain[at], chain[at + 1] if at + 1 < len(chain) else None
            if isinstance(layer, nn.PixelUnshuffle):
                x = self._patches(x, layer.downscale_factor, cast(Pointwise, following))
                at += 1
            else:
                x = _emit(layer, self, x)
            at += 1
        return x

    def graph(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> Graph:
        """Return what was collected."""
        return Graph(
            tuple(self._nodes),
            tuple(inputs),
            tuple(outputs),
            tuple(self._weights.values()),
            self._constants,
        )

    def _patches(self, x: str, side: int, layer: Pointwise) -> str:
        """Apply a linear layer to patches: its numbers are in the order of a convolution's."""
        width, inputs = layer.weight.shape
        weight = self.weight(layer.weight, width, inputs // side**2, side, side)
        square = (side, side)
        bias = self.weight(layer.bias)
        return self.add("Conv", x, weight, bias, kernel_shape=square, strides=square)


@singledispatch
def _emit(layer: nn.Module, to: Builder, x: str) -> str:
    raise TypeError(f"no operator for {type(layer).__name__}")


@_emit.register
def _(layer: nn.ReLU, to: Builder, x: str) -> str:
    return to.add("Relu", x)


@_emit.register
def _(layer: nn.Identity, to: Builder, x: str) -> str:
    return x


@_emit.register
def _(layer: Pointwise, to: Builder, x: str) -> str:
    return to.first(to.linear(to.last(x), layer))


@_emit.register
def _(layer: ChannelNorm, to: Builder, x: str) -> str:
    return to.first(to.norm(to.last(x), layer))


@_emit.register
def _(layer: nn.Conv2d, to: Builder, x: str) -> str:
    down, across = (cast(int, side) for side in layer.padding)
    return to.add("Conv", x, *_numbers(layer, to), **_sizes(layer, (down, across, down, across)))


@_emit.register
def _(layer: nn.ConvTranspose2d, to: Builder, x: str) -> str:
    down, across = (cast(int, side) for side in layer.padding)
    sizes = _sizes(layer, (down, across, down, across))
    return to.add("ConvTranspose", x, *_numbers(layer, to), **sizes)


@_emit.register
def _(layer: nn.PixelShuffle, to: Builder, x: str) -> str:
    if layer.upscale_factor == 1:
        return x
    return to.add("DepthToSpace", x, blocksize=layer.upscale_factor, mode="CRD")


@_emit.register
def _(layer: Block, to: Builder, x: str) -> str:
    left, right, top, bottom = layer.padding
    mixed = to.add(
        "Conv",
        x,
        *_numbers(layer.depthwise, to),
        **_sizes(layer.depthwise, (top, left, bottom, right)),
    )
    inner = to.add("Gelu", to.linear(to.norm(to.last(mixed), layer.norm), layer.expand))
    added = to.linear(inner, layer.project, scale=to.weight(layer.scale))
    return to.add("Add", x, to.first(added))


@_emit.register
def _(layer: pyramid.Residual, to: Builder, x: str) -> str:
    mixed = _emit(layer.mix, to, to.add("Relu", x))
    return to.add("Add", x, _emit(layer.project, to, to.add("Relu", mixed)))


def _numbers(layer: nn.Conv2d | nn.ConvTranspose2d, to: Builder) -> list[str]:
    found = [to.weight(layer.weight)]
    return found if layer.bias is None else [*found, to.weight(layer.bias)]


def _sizes(
    layer: nn.Conv2d | nn.ConvTranspose2d, pads: tuple[int, int, int, int]
) -> dict[str, Any]:
    return {
        "group": layer.groups,
        "kernel_shape": tuple(layer.kernel_size),
        "pads": pads,
        "strides": tuple(layer.stride),
    }


def encoder_of_levels(to: Builder, encoder: Encoder) -> list[Value]:
    """Write the encoder of several levels; what it is given beside pixels.

    It gives ``z0`` …; ``q0`` … are the levels before, quantized. Tensors between its parts are
    called ``features0`` … and ``context1`` …, so that each part can be run by itself.
    """
    count, x, features = len(encoder.trunks), "x", list[str]()
    for level in reversed(range(count)):
        x = to.add("Identity", to.layers(encoder.trunks[level], x), out=f"features{level}")
        features.insert(0, x)
    to.add("Identity", to.layers(encoder.heads[0], features[0]), out="z0")
    state: list[str] = []
    for level in range(1, count):
        before = f"q{level - 1}"
        state = [before, *(to.cropped(each, before) for each in state)]
        found = to.layers(encoder.contexts[level - 1], to.joined(state))
        context = to.add("Identity", found, out=f"context{level}")
        joined = to.joined([to.cropped(features[level], context), context])
        to.add("Identity", to.layers(encoder.heads[level], joined), out=f"z{level}")
        state = [context]
    return [
        Value(f"q{level}", ("batch", "latent", f"h{level}", f"w{level}"))
        for level in range(count - 1)
    ]


def image_decoder(to: Builder, decoder: nn.Module) -> None:
    """Write a decoder of images: ``q0`` … → ``raw``."""
    state = "q0"
    if isinstance(decoder, Decoder):
        for level, step in enumerate(decoder.steps, 1):
            coarser = to.cropped(to.layers(step, state), f"q{level}")
            state = to.joined([f"q{level}", coarser])
        body: nn.Module | Sequence[nn.Module] = decoder.body
    elif isinstance(decoder, pyramid.Decoder):
        body = [*decoder.levels, decoder.norm, decoder.out, decoder.shuffle]
    else:
        body = [*decoder.children()]
    to.add("Identity", to.layers(body, state), out="raw")


def conditioned_blocks(to: Builder, network: nn.Sequential, x: str, vectors: str) -> str:
    """Write layers; each block among them may be given one of (B, blocks, width) vectors."""
    at = 0
    for layer in network:
        if vectors and isinstance(layer, Block):
            vector = to.add("Gather", vectors, to.constant(at), axis=1)  # (B, 1, width)
            wide = to.add("Unsqueeze", vector, to.constant(3))  # (B, 1, width, 1)
            x = to.add("Add", x, to.add("Transpose", wide, perm=(0, 2, 1, 3)))
            at += 1
        x = _emit(layer, to, x)
    return x
