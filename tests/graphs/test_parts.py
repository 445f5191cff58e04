"""A graph whose blocks take a part of the rows at a time gives the numbers of the whole one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vqtok.checkpoints import directory
from vqtok.graphs import store
from vqtok.graphs.parts import PARTS, in_parts
from vqtok.graphs.sessions import Network


@pytest.mark.parametrize("codes", [(1, 1), (1, 5), (2, 3), (3, 1), (7, 4), (9, 8)])
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_any_number_of_rows_gives_what_the_whole_graph_gives(part: str, codes: tuple[int, int]):
    folder = Path(__file__).parents[2] / "models" / "image-f8"
    graph = getattr(store.read(folder, fingerprint=directory.describe(folder).fingerprint), part)
    split = in_parts(graph)
    splits = [len(node.outputs) for node in split.nodes if node.op == "Split"]
    assert max(splits) == PARTS
    assert min(splits) < PARTS  # coarser grids hold less
    random = np.random.default_rng(0)
    rows, columns = codes
    shape = (2, 3, 8 * rows, 8 * columns) if part == "encoder" else (2, 16, rows, columns)
    given = {graph.inputs[0].name: random.standard_normal(shape, dtype=np.float32)}
    whole, parts = (Network(each, folder)(given, threads=1)[0] for each in (graph, split))
    # Kernels may add up in another order where there are fewer rows.
    np.testing.assert_allclose(parts, whole, atol=1e-4)


def test_a_graph_without_such_blocks_stays_as_it_is():
    folder = Path(__file__).parents[2] / "models" / "image-f8"
    graph = store.read(folder, fingerprint=directory.describe(folder).fingerprint).encoder
    few = graph.part([], [])
    assert in_parts(few) is few
