"""Two processes with half the batch each learn what one with the whole batch learns."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import programs
from tests.quantizers import ranks_program
from vqtok import distributed

WORLD = 2


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads wait for each other longer than such small cases take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks left behind."""
    found = tmp_path_factory.mktemp("ranks")
    settings = {**programs.environment(), "OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        settings["GLOO_SOCKET_IFNAME"] = "lo"  # whatever the machine's name resolves to
    ranks = [
        subprocess.Popen(
            [sys.executable, ranks_program.__file__, str(rank), str(WORLD), str(found)],
            env=settings,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(WORLD)
    ]
    try:
        said = [rank.communicate(timeout=programs.LIMIT_S)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    assert [rank.returncode for rank in ranks] == [0] * WORLD, "\n".join(said)
    return found


def test_alone_nothing_changes() -> None:
    rows = torch.randn(5, 3)
    assert (distributed.world(), distributed.rank()) == (1, 0)
    assert distributed.summed(rows)[0] is rows
    assert torch.equal(distributed.gathered(rows), rows)
    assert distributed.agreed(rows) is rows and distributed.pooled(rows) is rows
    assert distributed.share(7) == (7, slice(0, 7))
    assert torch.equal(distributed.picked(rows, torch.tensor([4, 0]), [5]), rows[[4, 0]])


@pytest.mark.parametrize("case", ranks_program.CASES)
def test_two_ranks_learn_the_codebook_of_the_joint_batch(folder: Path, case: str) -> None:
    *_, expected = ranks_program.states(case, 0, 1)
    found = load_file(folder / f"{case}.safetensors")
    wanted = expected.state_dict()
    assert sorted(found) == sorted(wanted)
    assert bool(found.get("quantizer.initialised", True))
    for name, tensor in wanted.items():
        # Sums in another order; each step's rounding carries on to the next.
        torch.testing.assert_close(found[name], tensor, rtol=2e-4, atol=2e-4, msg=name)


@pytest.mark.parametrize("case", [*ranks_program.CASES, "own choices"])
def test_after_every_step_all_ranks_hold_the_same_bits(folder: Path, case: str) -> None:
    one, other = (json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD))
    assert len(one[case]) == ranks_program.STEPS
    assert one[case] == other[case]
    assert all(before != after for before, after in pairwise(one[case]))


def test_the_cases_hold_a_revival() -> None:
    *_, revived = ranks_program.states("vq", 0, 1)
    *_, plain = ranks_program.states("vq-unrevived", 0, 1)
    assert not torch.equal(revived.quantizer.codebook.entries, plain.quantizer.codebook.entries)
    *_, revived = ranks_program.states("simvq", 0, 1)
    *_, plain = ranks_program.states("simvq-unrevived", 0, 1)
    assert not torch.equal(revived.quantizer.frozen, plain.quantizer.frozen)


def test_evaluation_does_not_wait_for_other_ranks(folder: Path) -> None:
    assert json.loads((folder / "0.json").read_text())["evaluation"] != [""]
