"""Codes of every level are what float64 says, however float32 was batched, tiled or disturbed."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.examples import MANY, examples, in_turn
from tests.tokenizers.test_exact import disturb, without_near_ties
from tests.tokenizers.test_vqvae import picture
from tests.tokenizers.test_vqvae2 import FORMS, build, built, same
from vqtok.nn.regions import Source, cut
from vqtok.tokenizers.exact import tiling2d


@pytest.mark.parametrize(("network", "levels"), FORMS)
@pytest.mark.parametrize("condition_blocks", [0, 2])
def test_a_window_gives_the_latent_of_the_whole_image_in_float64(
    network: str, levels: int, condition_blocks: int
) -> None:
    model = build(network, levels, condition_blocks=condition_blocks)
    encoder = copy.deepcopy(model.encoder).double()
    cells = (4, 3)
    grids = [
        (rows << level, columns << level) for level in range(levels) for rows, columns in [cells]
    ]
    height, width = (side * model.stride for side in cells)
    x = picture(height, width).double()
    z_qs = [torch.randn(1, 4, *grid).double() for grid in grids]
    for level in range(levels):
        path = encoder.path(level)
        image = Source(lambda wanted: cut(x, wanted), (height, width))
        before = [
            Source(lambda wanted, z_q=z_q: cut(z_q, wanted), grid)
            for z_q, grid in zip(z_qs[:level], grids[:level], strict=True)
        ]
        with torch.no_grad():
            whole = path(x, z_qs[:level])[0]  # (D, h, w)
            for row in range(grids[level][0]):
                for column in range(0, grids[level][1], 1 if row < 2 else 3):
                    alone = path.at((row, column), image, before)
                    torch.testing.assert_close(alone, whole[:, row, column], atol=1e-12, rtol=0)


@pytest.mark.many
@pytest.mark.parametrize(("form", "quantizer"), in_turn(FORMS, ["vq", "rvq"]))
def test_tiles_give_the_codes_and_pixels_of_the_whole(
    form: tuple[str, int], quantizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(*form, quantizer)
    x = picture(121, 90) if MANY else picture(61, 45)
    whole = model.encode(x)
    pixels, latents = model.decode(whole), model.latents(x)
    monkeypatch.setattr(tiling2d, "TILE", model.stride)
    seen: list[tuple[int, ...]] = []
    model.encoder.trunks[-1].register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    tiled = model.encode(x)
    assert len(seen) >= 6  # otherwise nothing was cut
    assert same(whole, tiled)
    torch.testing.assert_close(model.decode(tiled), pixels, atol=1e-6, rtol=0)
    for one, other in zip(model.latents(x), latents, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


@pytest.mark.parametrize("cells", [1, 2, 3])
@examples(4, many=10)
@given(height=st.integers(1, 70), width=st.integers(1, 70))
def test_tiles_of_any_image_give_its_codes(cells: int, height: int, width: int) -> None:
    model = built("convnext", 3)
    x = picture(height, width)
    whole = model.encode(x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling2d, "TILE", cells * model.stride)
        assert same(model.encode(x), whole)
        torch.testing.assert_close(model.decode(whole), model(x).x.clamp(-1, 1), atol=1e-6, rtol=0)


def test_codes_do_not_depend_on_batch_mates() -> None:
    model = build("convnext")
    x = picture(33, 47, batch=4)
    together = model.encode(x)
    for item, codes in zip(x, together.split(), strict=True):
        assert same(model.encode(item[None]), codes)


def test_codes_do_not_depend_on_the_number_of_threads() -> None:
    model = build("convnext")
    x = picture(96, 128)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(model.encode(x))
    finally:
        torch.set_num_threads(before)
    assert same(found[0], found[1])


@pytest.mark.parametrize(
    ("form", "disturbance"), in_turn(FORMS, [("vq", 0.04), ("rvq", 0.04), ("fsq", 0.15)])
)
def test_errors_far_greater_than_rounding_change_no_code_of_any_level(
    form: tuple[str, int], disturbance: tuple[str, float]
) -> None:
    (network, levels), (quantizer, error) = form, disturbance
    for disturbed in range(levels):
        whole, model = build(network, levels, quantizer), build(network, levels, quantizer)
        rows, columns = ((12 >> disturbed) * whole.stride, (11 >> disturbed) * whole.stride)
        x = picture(rows - 1, columns)  # as many codes of each level that is disturbed
        before = whole.encode(x)
        disturb(model.encoder.heads[disturbed], error)
        part = model.quantizer[disturbed]
        part.assign, assign = without_near_ties(part), part.assign
        found = model.encode(x)
        # They would change codes, by themselves, and so those of finer levels.
        moved = [not torch.equal(a, b) for a, b in zip(found.levels, before.levels, strict=True)]
        assert moved[disturbed] and not any(moved[:disturbed])
        part.assign = assign
        assert same(model.encode(x), before)
        assert 0 < model.recompute_stats.recomputed < model.recompute_stats.latents


@pytest.mark.many
def test_disturbed_tiles_still_agree_on_the_codes_they_share() -> None:
    x = picture(90, 70) if MANY else picture(60, 50)
    before = build("convnext", 3).encode(x)
    model = build("convnext", 3)
    for head in model.encoder.heads:
        disturb(head, 0.01)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling2d, "TILE", 2 * model.stride)
        assert same(model.encode(x), before)
    assert model.recompute_stats.recomputed > 0


@examples(5, many=10)
@given(sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=6))
def test_images_of_any_sizes_together_give_the_codes_of_each_alone(
    sizes: list[tuple[int, int]],
) -> None:
    model = built("convnext", 2, "rvq")
    xs = [picture(*size, seed=i)[0] for i, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling2d, "TILE", 16)
        patch.setattr(tiling2d, "BATCH", 2000)
        together = model.encode_many(xs)
    for x, codes in zip(xs, together, strict=True):
        alone = model.encode(x[None])
        assert codes.extent == alone.extent
        assert same(codes.check(), alone)


def test_nothing_to_encode_is_nothing() -> None:
    assert build("convnext").encode_many([]) == []


@pytest.mark.parametrize("tile", [16, 64, 1024])
def test_an_image_read_in_windows_has_the_same_codes_and_is_never_read_whole(
    tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build("convnext")
    x = picture(131, 77)[0]
    expected = model.encode(x[None])
    monkeypatch.setattr(tiling2d, "TILE", tile)
    largest = 0

    def read(rows: slice, columns: slice) -> Tensor:
        nonlocal largest
        assert 0 <= rows.start < rows.stop <= 131 and 0 <= columns.start < columns.stop <= 77
        largest = max(largest, (rows.stop - rows.start) * (columns.stop - columns.start))
        return x[:, rows, columns]

    codes = model.encode_windows((131, 77), read)
    assert [each.dtype for each in codes.levels] == [each.dtype for each in codes.spec.levels]
    for array, level in zip(codes.levels, expected.levels, strict=True):
        assert torch.equal(torch.from_numpy(array.astype("int64")), level)
    halo = model.encoder.halo * model.stride
    assert largest <= min(131, tile + 2 * halo) * min(77, tile + 2 * halo)


def test_a_very_large_image_is_cut_finer_with_the_same_codes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = build("convnext")
    x = picture(90, 90)
    monkeypatch.setattr(tiling2d, "TILE", 48)  # 2 x 2 tiles; at half of it 4 x 4
    expected = model.encode(x)
    forms = len(list(model.decode_tiles(expected)))
    monkeypatch.setattr(tiling2d, "LARGE", 8000)
    assert same(model.encode(x), expected)
    assert len(list(model.decode_tiles(expected))) == 4 * forms == 16


def test_tiles_of_a_decoded_image_cover_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("convnext", 3)
    codes = model.encode(picture(61, 83, batch=2))
    monkeypatch.setattr(tiling2d, "TILE", 16)
    whole = model.decode(codes)
    for item in range(2):
        covered = torch.zeros(61, 83)
        for rows, columns, pixels in model.decode_tiles(codes.numpy(), item=item):
            covered[rows, columns] += 1
            assert torch.equal(pixels, whole[item, :, rows, columns])
        assert torch.equal(covered, torch.ones(61, 83))


def test_a_change_of_weights_is_followed() -> None:
    model = build("convnext")
    x = picture(40, 40)
    model.encode(x)
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
    for head in model.encoder.heads:
        disturb(head, 1e-4)
    twin = copy.deepcopy(model)
    assert same(model.encode(x), twin.encode(x))


def test_nan_samples_end_in_some_code() -> None:
    model = build("convnext")
    x = picture(24, 24)
    x[0, 0, 3, 3] = torch.nan
    model.encode_many(list(x))[0].check()  # as files go, past the checks of what a caller gives


def test_a_models_copy_has_its_own_counts() -> None:
    model = build("convnext")
    model.encode(picture(8, 8))
    other = copy.deepcopy(model)
    other.encode(picture(8, 8))
    assert other.recompute_stats.latents == 2 * model.recompute_stats.latents > 0
