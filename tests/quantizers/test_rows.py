"""Row-wise maps whose bits do not depend on how many rows there are."""

from __future__ import annotations

import pytest
import torch

from vqtok.quantizers import _rows
from vqtok.quantizers._codebook import Codebook


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_rows_are_the_grid_in_order_and_come_back() -> None:
    z = gaussian(2, 5, 3, 4)
    rows = _rows.to_rows(z)
    assert torch.equal(rows[1 * 12 + 2 * 4 + 3], z[1, :, 2, 3])
    assert torch.equal(_rows.Grid(2, (3, 4)).latents(rows), z)


def test_a_projected_row_has_the_same_bits_in_any_batch() -> None:
    torch.manual_seed(0)
    layer = _rows.Projection(192, 16).eval()
    rows = gaussian(700, 192)
    with torch.no_grad():
        whole = layer(rows)
        for start, stop in [(0, 1), (3, 20), (100, 357), (699, 700)]:
            assert torch.equal(layer(rows[start:stop]), whole[start:stop])


def test_projection_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = _rows.Projection(20, 7).eval()
    rows = gaussian(100, 20)
    whole = layer(rows)
    monkeypatch.setattr(_rows, "BLOCK", 33)
    assert torch.equal(layer(rows), whole)
    torch.testing.assert_close(layer.train()(rows), whole)


def test_no_rows_project_to_no_rows() -> None:
    assert _rows.Projection(5, 3).eval()(torch.zeros(0, 5)).shape == (0, 3)


@pytest.mark.parametrize("dim", [3, 17, 200])
def test_a_direction_has_the_same_bits_in_any_batch(dim: int) -> None:
    book = Codebook(4, dim, cosine=True)
    rows = gaussian(500, dim)
    whole = book.unit(rows)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(500))
    for start, stop in [(0, 1), (3, 20), (100, 357), (499, 500)]:
        assert torch.equal(book.unit(rows[start:stop]), whole[start:stop])
