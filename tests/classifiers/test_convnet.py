"""A classifier looks at each image for itself, and learns what tells classes apart."""

from __future__ import annotations

import pytest
import torch

from vqtok.classifiers.convnet import Config


def made(**settings: object) -> torch.nn.Module:
    torch.manual_seed(0)
    config = Config(**{"width": 8, "blocks": 1, "classes": ("a", "b"), **settings})  # type: ignore[arg-type]
    return config.build()


def test_what_an_image_is_taken_for_does_not_depend_on_its_neighbours() -> None:
    network = made().eval()
    x = torch.rand(5, 3, 32, 20) * 2 - 1
    alone = torch.cat([network.probabilities(each[None]) for each in x])  # type: ignore[operator]
    torch.testing.assert_close(network.probabilities(x), alone)  # type: ignore[operator]
    torch.testing.assert_close(alone.sum(1), torch.ones(5))


@pytest.mark.parametrize("size", [(4, 4), (5, 31), (64, 48)])
def test_images_may_have_any_size(size: tuple[int, int]) -> None:
    assert made().eval()(torch.zeros(2, 3, *size)).shape == (2, 2)


def test_it_learns_colours() -> None:
    network = made(dropout=0.0)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    x = torch.rand(16, 3, 8, 8) * 0.2
    x[8:, 0] += 0.8
    labels = torch.arange(16) // 8
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x), labels).backward()
        optimizer.step()
    assert (network.eval()(x).argmax(1) == labels).all()


@pytest.mark.parametrize(
    "settings", [{"width": 9}, {"blocks": 0}, {"dropout": 1.0}, {"classes": ("a", "a")}]
)
def test_a_config_that_cannot_be_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must|dropout"):
        made(**settings)
