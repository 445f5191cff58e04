"""A region computed from the window that it depends on is the whole result there."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.examples import examples
from vqtok.nn.convnext import Block, ChannelNorm, Pointwise
from vqtok.nn.pyramid import Residual
from vqtok.nn.regions import Region, Source, before, cut, region

D = 4

LAYERS = {
    "pointwise": lambda: Pointwise(D, D),
    "norm": lambda: ChannelNorm(D),
    "relu": nn.ReLU,
    "3x3": lambda: nn.Conv2d(D, D, 3, padding=1),
    "halving": lambda: nn.Conv2d(D, D, 4, stride=2, padding=1),
    "doubling": lambda: nn.ConvTranspose2d(D, D, 4, stride=2, padding=1),
    "residual": lambda: Residual(D, 3),
    "block": lambda: Block(D, kernel=(5, 5)),
    "small block": lambda: Block(D, kernel=(3, 3)),
    "unshuffle": lambda: nn.Sequential(nn.PixelUnshuffle(2), Pointwise(4 * D, D)),
    "shuffle": lambda: nn.Sequential(Pointwise(D, 4 * D), nn.PixelShuffle(2)),
}


def chain(names: list[str]) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(LAYERS[name]() for name in names)).double().requires_grad_(False)


def grid(names: list[str]) -> tuple[int, int]:
    """A size that every layer halves without a rest."""
    scale = 2 ** sum(name in ("halving", "unshuffle") for name in names)
    return 3 * scale, 2 * scale


@examples(20, many=60)
@given(
    names=st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=4),
    first=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_a_region_is_what_the_whole_gives_there(
    names: list[str], first: tuple[float, float], size: tuple[int, int]
) -> None:
    layers, shape = chain(names), grid(names)
    x = torch.randn(1, D, *shape, generator=torch.Generator().manual_seed(1)).double()
    whole = layers(x)
    spans = []
    for share, count, length in zip(first, size, whole.shape[-2:], strict=True):
        start = min(int(share * length), length - 1)
        spans.append((start, min(start + count, length)))
    wanted = Region(*spans)
    asked: list[Region] = []

    def read(part: Region) -> Tensor:
        asked.append(part)
        return cut(x, part)

    found = region(layers, Source(read, shape), wanted)
    torch.testing.assert_close(found, cut(whole, wanted), atol=1e-12, rtol=0)
    assert asked == [Region(*(before(layers, span) for span in wanted))]


@pytest.mark.parametrize("name", LAYERS)
def test_what_lies_before_a_span_is_all_that_changes_it(name: str) -> None:
    layers = chain([name])
    height, width = 24, 6
    x = torch.randn(1, D, height, width, generator=torch.Generator().manual_seed(1)).double()
    whole = layers(x)
    middle = whole.shape[-2] // 2
    for span in ((middle, middle + 1), (middle + 1, middle + 2), (middle, middle + 3)):
        first, last = before(layers, span)
        matters = []
        for row in range(height):
            other = x.clone()
            other[..., row, :] += 1.0 + torch.arange(D)[:, None]
            moved = (layers(other) - whole).abs()[..., span[0] : span[1], :]
            if bool((moved > 1e-12).any()):
                matters.append(row)
        assert matters == list(range(first, last)), (name, span)


@pytest.mark.parametrize(
    ("rows", "columns"),
    [((-2, 3), (1, 9)), ((0, 4), (0, 5)), ((3, 6), (-3, 7)), ((-3, -1), (4, 8))],
)
def test_beyond_the_edge_are_zeros(rows: tuple[int, int], columns: tuple[int, int]) -> None:
    x = torch.rand(2, 4, 5) + 1
    found = cut(x, Region(rows, columns))
    assert found.shape == (2, rows[1] - rows[0], columns[1] - columns[0])
    for i, row in enumerate(range(*rows)):
        for j, column in enumerate(range(*columns)):
            inside = 0 <= row < 4 and 0 <= column < 5
            expected = x[:, row, column] if inside else torch.zeros(2)
            assert torch.equal(found[:, i, j], expected)
