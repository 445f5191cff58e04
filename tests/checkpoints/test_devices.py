"""Devices are settled before a model loads, with a hint where one is not there."""

from __future__ import annotations

import pytest
import torch

from vqtok.checkpoints.devices import pick_device
from vqtok.errors import UsageError


def test_auto_takes_the_best_there_is() -> None:
    assert pick_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == "cpu"


@pytest.mark.parametrize("name", ["cuda:99", "nonsense", "mps"])
def test_a_device_that_cannot_work_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"--device {name}") as error:
        pick_device(name)
    assert "--device cpu" in str(error.value.hint)


def test_threads_are_set() -> None:
    before = torch.get_num_threads()
    try:
        pick_device("cpu", threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
