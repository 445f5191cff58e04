from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vqtok.media.image import to_uint8
from vqtok.metrics import image


def picture(height: int, width: int, *, seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture with edges and a disturbed copy, (3, H, W) float32 in [-1, 1]."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(-1, 1, (3, height // 8 + 2, width // 8 + 2)).astype(np.float32)
    smooth = np.kron(coarse, np.ones((1, 8, 8), np.float32))[:, :height, :width]
    original = np.clip(gaussian_filter(smooth, (0, 1.5, 1.5)), -1, 1)
    disturbed = original + rng.normal(0, noise, original.shape).astype(np.float32)
    return original, np.clip(disturbed, -1, 1)


def both(pair: tuple[np.ndarray, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(pair[0])[None], torch.from_numpy(pair[1])[None]


def skimage_ssim(pair: tuple[np.ndarray, np.ndarray]) -> float:
    a, b = (to_uint8(each) for each in pair)
    value = structural_similarity(
        a,
        b,
        channel_axis=0,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(value)


@pytest.mark.parametrize("noise", [0.002, 0.05, 0.4])
def test_psnr_equals_scikit_image_on_the_written_pixels(noise: float) -> None:
    pair = picture(37, 53, seed=1, noise=noise)
    expected = peak_signal_noise_ratio(*(to_uint8(each) for each in pair), data_range=255)
    assert image.psnr(*both(pair))[0].item() == pytest.approx(expected, rel=1e-6)


def test_psnr_is_infinite_where_the_written_files_would_be_equal() -> None:
    x = torch.linspace(-1, 1, 3 * 256).reshape(1, 3, 16, 16)
    assert image.psnr(x, ((x + 1) * 127.5).round() / 127.5 - 1).item() == float("inf")


def test_psnr_clips_like_a_written_file() -> None:
    white = torch.ones(1, 3, 4, 4)
    assert image.psnr(white, white * 3).item() == float("inf")


def test_psnr_rounds_halves_to_even_like_the_writer() -> None:
    halves = (torch.arange(255).float() + 0.5) / 127.5 - 1  # may be a hair off in float32
    x = halves.expand(1, 3, 1, 255).contiguous()
    written = torch.from_numpy(to_uint8(x[0].numpy()).astype(np.float32))[None] / 127.5 - 1
    assert image.psnr(x, written).item() == float("inf")


@pytest.mark.parametrize("size", [(11, 11), (24, 61), (90, 40)])
@pytest.mark.parametrize("noise", [0.01, 0.2])
def test_ssim_equals_scikit_image(size: tuple[int, int], noise: float) -> None:
    pair = picture(*size, seed=2, noise=noise)
    # 5e-5: torchmetrics works in float32, where the variance of flat areas loses digits.
    assert image.ssim(*both(pair))[0].item() == pytest.approx(skimage_ssim(pair), abs=5e-5)


def test_ssim_of_strips_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = both(picture(70, 40, seed=3, noise=0.1))
    whole = image.ssim(*pair)
    monkeypatch.setattr(image, "STRIP", 40 * 7)
    torch.testing.assert_close(image.ssim(*pair), whole, atol=1e-6, rtol=0)


def test_ms_ssim_of_strips_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = both(picture(180, 176, seed=4, noise=0.1))
    whole = image.ms_ssim(*pair)
    monkeypatch.setattr(image, "STRIP", 176 * 13)
    torch.testing.assert_close(image.ms_ssim(*pair), whole, atol=1e-6, rtol=0)


def restated_ms_ssim(pair: tuple[np.ndarray, np.ndarray]) -> float:
    """Wang, Simoncelli, Bovik 2003, eq. 7, in float64 with scipy's filter."""
    a, b = (to_uint8(each).astype(np.float64) / 255 for each in pair)
    terms = []
    for scale in range(5):
        if scale:
            a, b = (
                each[:, : each.shape[1] // 2 * 2, : each.shape[2] // 2 * 2]
                .reshape(3, each.shape[1] // 2, 2, each.shape[2] // 2, 2)
                .mean((2, 4))
                for each in (a, b)
            )

        def blur(x: np.ndarray) -> np.ndarray:
            # radius 5: the 11-pixel window; its whole positions are 5 away from the border
            return gaussian_filter(x, (0, 1.5, 1.5), radius=(0, 5, 5))[:, 5:-5, 5:-5]

        mean_a, mean_b = blur(a), blur(b)
        var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
        contrast = (2 * (blur(a * b) - mean_a * mean_b) + 9e-4) / (var_a + var_b + 9e-4)
        luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
        terms.append((contrast * luminance if scale == 4 else contrast).mean())
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    return float(np.prod([term**weight for term, weight in zip(terms, weights, strict=True)]))


@pytest.mark.parametrize("size", [(176, 176), (191, 203)])
def test_ms_ssim_equals_the_formula_restated_with_scipy(size: tuple[int, int]) -> None:
    pair = picture(*size, seed=5, noise=0.1)
    assert image.ms_ssim(*both(pair))[0].item() == pytest.approx(restated_ms_ssim(pair), abs=5e-5)


def test_ms_ssim_is_near_torchmetrics_which_also_counts_a_reflected_border() -> None:
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    pair = picture(384, 384, seed=6, noise=0.1)
    x, y = (torch.from_numpy(to_uint8(each)).float()[None] / 255 for each in pair)
    reference = multiscale_structural_similarity_index_measure(y, x, data_range=1.0)
    assert image.ms_ssim(*both(pair))[0].item() == pytest.approx(reference.item(), abs=3e-3)


@pytest.mark.parametrize("name", ["psnr", "ssim", "ms_ssim"])
def test_each_image_of_a_batch_has_the_value_it_has_alone(name: str) -> None:
    metric = getattr(image, name)
    pairs = [picture(176, 180, seed=seed, noise=0.1) for seed in (7, 8)]
    x, y = (torch.stack([torch.from_numpy(pair[side]) for pair in pairs]) for side in (0, 1))
    alone = [metric(x[i : i + 1], y[i : i + 1])[0] for i in range(2)]
    torch.testing.assert_close(metric(x, y), torch.stack(alone))


def test_similarity_of_equal_images_is_one() -> None:
    x, _ = both(picture(180, 176, seed=9, noise=0.0))
    assert image.ssim(x, x).item() == pytest.approx(1.0, abs=1e-6)
    assert image.ms_ssim(x, x).item() == pytest.approx(1.0, abs=1e-6)


def test_ms_ssim_of_an_inverted_image_is_a_number() -> None:
    x, _ = both(picture(176, 176, seed=10, noise=0.0))
    assert 0.0 <= image.ms_ssim(x, -x).item() < 0.2


@pytest.mark.parametrize(("name", "side"), [("ssim", 10), ("ms_ssim", 175)])
def test_images_smaller_than_the_windows_have_no_similarity(name: str, side: int) -> None:
    x = torch.zeros(2, 3, side, 200)
    assert getattr(image, name)(x, x).isnan().tolist() == [True, True]
    assert not getattr(image, name)(*[torch.zeros(1, 3, side + 1, 200)] * 2).isnan().any()
