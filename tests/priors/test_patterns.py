"""Layouts: every code once, in the order that the pattern's name says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.priors.conftest import EXTENTS, IMAGE, PAIR, STACK, STACKED_IMAGE
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import UsageError
from vqtok.priors._patterns import Layout, flatten, layout, vocabularies

PATTERNS = ("flat", "delay", "parallel")
CPU = torch.device("cpu")


@st.composite
def signals(draw: st.DrawFn) -> tuple[CodeSpec, tuple[int, ...]]:
    modality, axes = draw(
        st.sampled_from([("image", ("h", "w")), ("audio", ("t",)), ("video", ("t", "h", "w"))])
    )
    extent = tuple(draw(st.integers(1, 9)) for _ in axes)
    levels = []
    for number in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["plain", "stacked", "tokens"]))
        stride = tuple(draw(st.sampled_from([1, 2, 4])) for _ in axes)
        depth = None if kind == "plain" else draw(st.integers(1, 4))
        own = {"plain": axes, "tokens": ("n",)}.get(kind)
        if own is None:
            place = draw(st.integers(0, len(axes)))
            own = (*axes[:place], "q", *axes[place:])
        stride = () if kind == "tokens" else stride
        size = draw(st.integers(1, 30))
        levels.append(LevelSpec(f"level{number}", own, size, stride, depth))
    return CodeSpec(modality, tuple(levels)), extent


@given(signals(), st.sampled_from(PATTERNS), st.sampled_from([None, 1, 2]))
def test_every_code_is_predicted_once_and_finds_its_way_back(
    signal: tuple[CodeSpec, tuple[int, ...]], pattern: str, depth: int | None
) -> None:
    spec, extent = signal
    generator = torch.Generator().manual_seed(1)
    # Tokens of an "n" axis are all there always: a depth is of stacks alone.
    levels = tuple(
        torch.randint(
            x.codebook_size,
            (2, *x.shape(extent, depth=depth if "q" in x.axes else None)),
            generator=generator,
        )
        for x in spec.levels
    )
    codes = Codes(spec, levels, extent)
    found = layout(spec, extent, pattern=pattern, depth=depth)
    flat = flatten(codes, CPU)
    assert sorted(found.cells[found.cells >= 0].tolist()) == list(range(flat.shape[1]))
    assert found.count == flat.shape[1]
    for ours, theirs in zip(found.split(flat), levels, strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal((found.cells < 0), (found.streams < 0))
    joined = torch.cat([group.cells for group in found.groups])
    assert torch.equal(joined[found.inverse], torch.arange(found.count))
    for stream, group in enumerate(found.groups):
        assert torch.equal(found.cells[group.steps, group.slots], group.cells)
        assert bool((found.streams[group.steps, group.slots] == stream).all())
        assert int(flat[:, group.cells].max()) < vocabularies(spec.levels, depth)[stream]
    assert bool((found.at >= -0.5).all()) and bool((found.at <= found.size - 0.5).all())


def codes_in_order(found: Layout, spec: CodeSpec) -> list[list[tuple[int, ...]]]:
    """Of each step, the coordinates of its codes: (level, *array index)."""
    names: list[tuple[int, ...]] = []
    for number, shape in enumerate(found.shapes):
        grid = torch.cartesian_prod(*(torch.arange(n) for n in shape)).reshape(-1, len(shape))
        names += [(number, *each) for each in grid.tolist()]
    return [[names[cell] for cell in row if cell >= 0] for row in found.cells.tolist()]


def test_flat_goes_through_all_stages_of_a_position_before_the_next() -> None:
    steps = codes_in_order(layout(STACK, (160,), pattern="flat"), STACK)
    expected = [(0, q, t) for t in range(2) for q in range(3)]
    assert steps == [[each] for each in expected]


def test_delay_has_stage_q_of_position_s_minus_q_in_step_s() -> None:
    steps = codes_in_order(layout(STACK, (320,), pattern="delay"), STACK)
    assert len(steps) == 4 + 2
    for step, found in enumerate(steps):
        assert found == [(0, q, step - q) for q in range(3) if 0 <= step - q < 4]


def test_parallel_has_all_stages_of_a_position_in_one_step() -> None:
    steps = codes_in_order(layout(STACKED_IMAGE, (8, 8), pattern="parallel"), STACKED_IMAGE)
    expected = [[(0, q, h, w) for q in range(2)] for h in range(2) for w in range(2)]
    assert steps == expected


@pytest.mark.parametrize("pattern", PATTERNS)
def test_codes_without_a_stack_go_in_raster_order(pattern: str) -> None:
    steps = codes_in_order(layout(IMAGE, (8, 12), pattern=pattern), IMAGE)
    assert steps == [[(0, h, w)] for h in range(2) for w in range(3)]


def test_levels_follow_each_other_and_share_their_places() -> None:
    found = layout(PAIR, (16, 16), pattern="flat")
    assert found.at[:4].tolist() == [[0.5, 0.5], [0.5, 2.5], [2.5, 0.5], [2.5, 2.5]]
    assert found.at[4:9].tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0]]
    assert found.size.tolist() == [4, 4]


def test_a_layout_made_while_sampling_serves_training() -> None:
    extent = (EXTENTS[IMAGE][0] + 40, 8)
    with torch.inference_mode():
        found = layout(IMAGE, extent, pattern="flat")
    assert not found.cells.is_inference()


def test_codes_in_blocks_are_refused():
    level = LevelSpec("codes", ("t",), 16, (8,), steps=2)
    with pytest.raises(UsageError, match="2 codes per stride"):
        layout(CodeSpec("audio", (level,), rate=8.0), (40,), pattern="parallel")
