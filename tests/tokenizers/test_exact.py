"""Codes are what float64 says, however float32 was batched, tiled, threaded or disturbed."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.tokenizers import test_codec, test_vqvae
from vqtok import config
from vqtok.nn.regions import Source, cut
from vqtok.protocols import Assigned, Config, RecomputeStats, Tokenizer
from vqtok.tokenizers import codec, vqvae
from vqtok.tokenizers.exact import audio, recompute, tiling2d


def image_model(network: str, **changes: object) -> vqvae.VQVAE:
    data = config.dump(test_vqvae.build(network).config)
    torch.manual_seed(0)
    model: vqvae.VQVAE = config.parse({**data, **changes}, Config).build()
    return model.eval()


@pytest.mark.parametrize(
    ("network", "changes"),
    [
        ("convnext", {}),
        ("convnext", {"kernel": 5, "encoder_blocks": [2, 1]}),
        ("convnext", {"patch": 1, "widths": [4, 6, 8], "encoder_blocks": [1, 3, 2]}),
        ("strided", {}),
        ("strided", {"widths": [4, 6, 8], "encoder_blocks": [2]}),
    ],
)
def test_a_window_gives_the_latent_of_the_whole_image_in_float64(
    network: str, changes: dict[str, object]
) -> None:
    if "widths" in changes and network == "convnext":
        changes = {**changes, "decoder_blocks": [1, 1, 1]}
    model = image_model(network, **changes)
    path = model._exact._paths[0]
    twin = copy.deepcopy(path).double()
    grid = (19, 23)
    x = test_vqvae.picture(*(side * model.stride for side in grid))[0]
    image = Source(lambda wanted: cut(x[None], wanted).double(), (x.shape[1], x.shape[2]))
    with torch.no_grad():
        whole = twin(x[None].double(), ())[0]  # (D, h, w)
        for row in range(grid[0]):
            for column in range(0, grid[1], 2 if 0 < row < grid[0] - 1 else 1):
                alone = twin.at((row, column), image, ())
                torch.testing.assert_close(alone, whole[:, row, column], atol=1e-12, rtol=0)


@test_codec.HEARS
def test_a_window_gives_the_latent_of_the_whole_recording_in_float64(mel: object) -> None:
    model = test_codec.build(mel=mel)
    twin = copy.deepcopy(model.encoder).double()
    samples = test_codec.sound(40 * test_codec.HOP)[0, 0]
    with torch.no_grad():
        whole = twin(model._exact.features(samples[None]))[0, :, 0]  # (D, T)
        for frame in range(40):
            alone = model._exact._latent(twin, samples, frame)
            torch.testing.assert_close(alone, whole[:, frame], atol=1e-12, rtol=0)


def disturb(encoder: nn.Module, size: float) -> None:
    """Let an encoder err in float32, by ``size`` in Euclidean distance, differently every time."""
    generator = torch.Generator().manual_seed(7)

    def err(module: nn.Module, inputs: object, z: Tensor) -> Tensor:
        if z.dtype != torch.float32:
            return z
        noise = torch.randn(z.shape, generator=generator)
        return z + noise * (size / torch.linalg.vector_norm(noise, dim=1, keepdim=True))

    encoder.register_forward_hook(err)


def spread(model: nn.Module) -> nn.Module:
    """Untrained latents all lie in one corner of the codebook: pull them apart."""
    *_, last = (each for each in model.encoder.modules() if hasattr(each, "weight"))
    with torch.no_grad():
        last.weight.mul_(8)
    return model


MODELS: dict[str, Callable[[], tuple[Tokenizer, Tensor]]] = {
    "convnext": lambda: (spread(test_vqvae.build("convnext")), test_vqvae.picture(120, 90)),
    "strided, rvq": lambda: (
        spread(test_vqvae.build("strided", "rvq")),
        test_vqvae.picture(100, 80),
    ),
    "convnext, fsq": lambda: (
        spread(test_vqvae.build("convnext", "fsq")),
        test_vqvae.picture(100, 90),
    ),
    "codec": lambda: (spread(test_codec.build()), test_codec.sound(4000)),
    "codec, bands": lambda: (
        spread(test_codec.build(mel=test_codec.MEL)),
        test_codec.sound(4000),
    ),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_errors_far_greater_than_rounding_change_no_code(
    make: Callable[[], tuple[Tokenizer, Tensor]],
) -> None:
    model, x = make()
    before = model.encode(x).levels[0]
    model, x = make()
    disturb(model.encoder, 0.02)
    model.quantizer.assign, assign = without_near_ties(model.quantizer), model.quantizer.assign
    assert not torch.equal(model.encode(x).levels[0], before)  # they would, by themselves
    model.quantizer.assign = assign
    assert torch.equal(model.encode(x).levels[0], before)
    assert 0 < model.recompute_stats.recomputed < model.recompute_stats.latents


def without_near_ties(quantizer: nn.Module) -> Callable[..., object]:
    assign = quantizer.assign

    def certain(z: Tensor, *, tolerance: float) -> object:
        found = assign(z, tolerance=0.0)
        return found._replace(near_tie=torch.zeros_like(found.near_tie))

    return certain


def test_an_error_that_the_probe_did_not_show_widens_the_search() -> None:
    tolerances: list[float] = []

    class Suspicious:
        """Marks one latent at first, and all of them from a tolerance of 1 on."""

        depth = None

        def assign(self, z: Tensor, *, tolerance: float) -> Assigned:
            codes = z.sum(dim=1).round().long()
            near = torch.zeros(codes.shape, dtype=torch.bool)
            if z.dtype == torch.float32:
                tolerances.append(tolerance)
                near[0, :] = tolerance >= 1
                near[0, 2] = True
            return Assigned(codes, near)

    encoder = nn.Linear(1, 1)
    exact = recompute.ExactCodes(
        encoder, lambda encoder, dtype: encoder(torch.ones(3, 1, dtype=dtype))
    )
    meant = torch.arange(5.0, dtype=torch.float64)
    found = exact(
        (meant + 0.7)[None, None].float(),
        Suspicious(),
        lambda twin, place: meant[place[1]][None],
    )
    assert found.tolist() == [[0, 1, 2, 3, 4]]
    assert len(tolerances) == 2 and tolerances[0] < 1e-4 and tolerances[1] >= 0.7
    assert exact.stats == RecomputeStats(latents=5, recomputed=5)


def test_a_change_of_weights_is_followed() -> None:
    model = test_vqvae.build("convnext")
    x = test_vqvae.picture(40, 40)
    model.encode(x)
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
    disturb(model.encoder, 1e-4)
    twin = copy.deepcopy(model)
    assert torch.equal(model.encode(x).levels[0], twin.encode(x).levels[0])


def test_steps_of_a_fused_optimizer_which_torch_does_not_count_are_followed() -> None:
    model = spread(test_vqvae.build("convnext"))
    disturb(model.encoder, 0.02)  # so that there are codes to settle
    x = test_vqvae.picture(40, 40)
    model.encode(x)
    optimizer = torch.optim.AdamW(model.encoder.parameters(), lr=0.03, fused=True)
    model.encoder(x).square().mean().backward()
    optimizer.step()
    fresh = test_vqvae.build("convnext")
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(model.encode(x).levels[0], fresh.encode(x).levels[0])
    assert 0 < model.recompute_stats.recomputed < model.recompute_stats.latents / 2


def test_nan_samples_end_in_some_code() -> None:
    model = test_vqvae.build("convnext")
    x = test_vqvae.picture(24, 24)
    x[0, 0, 3, 3] = torch.nan
    model.encode_many(list(x))[0].check()  # as files go, past the checks of what a caller gives


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=6))
def test_images_of_any_sizes_together_give_the_codes_of_each_alone(
    sizes: list[tuple[int, int]],
) -> None:
    model = test_vqvae.build("convnext", "rvq")
    xs = [test_vqvae.picture(*size, seed=i)[0] for i, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling2d, "TILE", 16)
        patch.setattr(tiling2d, "BATCH", 2000)
        together = model.encode_many(xs)
    for x, codes in zip(xs, together, strict=True):
        alone = model.encode(x[None])
        assert codes.extent == alone.extent
        assert torch.equal(codes.check().levels[0], alone.levels[0])


@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(1, 900), min_size=1, max_size=6))
@pytest.mark.parametrize("quantizer", ["rvq", "vq"])
def test_recordings_of_any_lengths_together_give_the_codes_of_each_alone(
    quantizer: str, lengths: list[int]
) -> None:
    model = test_codec.build(quantizer)
    xs = [test_codec.sound(length)[0] for length in lengths]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "TILE", 30)
        patch.setattr(audio, "STEP", 4)
        patch.setattr(audio, "BATCH", 60)
        together = model.encode_many(xs)
    for x, codes in zip(xs, together, strict=True):
        alone = model.encode(x[None])
        assert codes.extent == alone.extent
        assert torch.equal(codes.check().levels[0], alone.levels[0])


def test_nothing_to_encode_is_nothing() -> None:
    assert test_vqvae.build("convnext").encode_many([]) == []
    assert test_codec.build().encode_many([]) == []


@pytest.mark.parametrize("tile", [16, 64, 1024])
def test_an_image_read_in_windows_has_the_same_codes_and_is_never_read_whole(
    tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = test_vqvae.build("convnext")
    x = test_vqvae.picture(131, 77)[0]
    expected = model.encode(x[None]).levels[0]
    monkeypatch.setattr(tiling2d, "TILE", tile)
    largest = 0

    def read(rows: slice, columns: slice) -> Tensor:
        nonlocal largest
        assert 0 <= rows.start < rows.stop <= 131 and 0 <= columns.start < columns.stop <= 77
        largest = max(largest, (rows.stop - rows.start) * (columns.stop - columns.start))
        return x[:, rows, columns]

    codes = model.encode_windows((131, 77), read)
    assert codes.levels[0].dtype == codes.spec.levels[0].dtype
    assert torch.equal(torch.from_numpy(codes.levels[0].astype("int64")), expected)
    tolerance = -(-model.encoder.receptive_field // model.stride) * model.stride
    assert largest <= min(131, tile + 2 * tolerance) * min(77, tile + 2 * tolerance)


def test_a_very_large_image_is_cut_finer_with_the_same_codes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = test_vqvae.build("convnext")
    x = test_vqvae.picture(90, 90)
    monkeypatch.setattr(tiling2d, "TILE", 48)  # 2 x 2 tiles; at half of it 4 x 4
    expected = model.encode(x).levels[0]
    forms = len(list(model.decode_tiles(model.encode(x))))
    monkeypatch.setattr(tiling2d, "LARGE", 8000)
    assert torch.equal(model.encode(x).levels[0], expected)
    assert len(list(model.decode_tiles(model.encode(x)))) == 4 * forms == 16


def test_tiles_of_a_decoded_image_cover_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = test_vqvae.build("convnext")
    codes = model.encode(test_vqvae.picture(61, 83, batch=2))
    monkeypatch.setattr(tiling2d, "TILE", 16)
    whole = model.decode(codes)
    for item in range(2):
        covered = torch.zeros(61, 83)
        for rows, columns, pixels in model.decode_tiles(codes.numpy(), item=item):
            covered[rows, columns] += 1
            assert torch.equal(pixels, whole[item, :, rows, columns])
        assert torch.equal(covered, torch.ones(61, 83))


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, 125), max_size=5), length=st.integers(990, 1000))
def test_codes_in_pieces_of_any_lengths_give_the_same_samples(cuts: list[int], length: int) -> None:
    model = test_codec.build()
    codes = model.encode(test_codec.sound(1000)).levels[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "TILE", 20)
        whole = torch.cat(list(model.decode_stream([codes])), dim=-1)
        edges = [0, *sorted(cuts), codes.shape[-1]]
        pieces = [codes[..., a:b] for a, b in itertools.pairwise(edges)]
        parts = list(model.decode_stream(pieces, length))
    assert whole.shape[-1] == 1000
    assert torch.equal(torch.cat(parts, dim=-1), whole[..., :length])


def test_a_models_copy_has_its_own_counts() -> None:
    model = test_vqvae.build("convnext")
    model.encode(test_vqvae.picture(8, 8))
    other = copy.deepcopy(model)
    other.encode(test_vqvae.picture(8, 8))
    assert other.recompute_stats.latents == 2 * model.recompute_stats.latents > 0


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="stop"), recompute.one_thread():
        assert torch.get_num_threads() == 1
        raise ValueError("stop")
    assert torch.get_num_threads() == before
