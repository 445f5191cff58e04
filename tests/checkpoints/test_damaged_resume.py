"""A resume file that was edited or damaged is refused, each kind in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from vqtok.checkpoints import resume
from vqtok.errors import CheckpointError

STATE = {
    "recipe": {}, "step": 7, "elapsed_s": 1.5, "vitals": {"skipped": 2}, "scale": {},
    "best": {"step": 5, "value": 20.0}, "reads": ["00"], "files": 3,
}  # fmt: skip


def parts() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    return model, torch.optim.AdamW(model.parameters())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    model, optimizer = parts()
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    resume.save(
        tmp_path, modules={"model": model}, optimizers={"optimizer": optimizer}, state=STATE
    )
    return tmp_path


def rewrite(run: Path, text: str, **tensors: torch.Tensor | None) -> None:
    path = run / resume.FILE
    kept = {**load_file(path), **tensors}
    path.unlink()
    save_file({k: v for k, v in kept.items() if v is not None}, path, metadata={"vqtok": text})


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", "[" * 100_000, "9" * 5000, "{}",
        *(json.dumps({**STATE, **edit}) for edit in (
            {"recipe": []}, {"step": -1}, {"step": "7"}, {"step": True}, {"step": 1 << 60},
            {"elapsed_s": float("nan")}, {"elapsed_s": None}, {"vitals": []},
            {"vitals": {"skipped": "2"}}, {"best": {"step": None}},
            {"scale": {"scale": [1]}}, {"reads": "00"}, {"reads": [7]}, {"files": "3"},
        )),
    ],
    ids=lambda text: text[-40:],
)  # fmt: skip
def test_a_state_that_is_none_is_refused(run: Path, text: str):
    rewrite(run, text)
    with pytest.raises(CheckpointError, match=r"resume\.safetensors: damaged: "):
        resume.read_state(run)


def test_a_sound_state_is_read(run: Path):
    assert resume.read_state(run) == STATE
    model, optimizer = parts()
    resume.restore(run, modules={"model": model}, optimizers={"optimizer": optimizer})
    assert float(optimizer.state[model.weight]["step"]) == 1.0


EDITS: list[Callable[[], dict[str, Any]]] = [
    lambda: {"optimizer.0.exp_avg": torch.zeros(3, 3)},
    lambda: {"optimizer.0.exp_avg": None},
    lambda: {"optimizer.0.extra": torch.zeros(2, 3)},
    lambda: {"optimizer.0.step": torch.tensor(-1e30)},
    lambda: {"optimizer.0.step": torch.tensor(torch.nan)},
    lambda: {"optimizer.0.exp_avg_sq": torch.full((2, 3), -1.0)},
    lambda: {"optimizer.0.exp_avg": torch.full((2, 3), torch.inf)},
    lambda: {"optimizer.9.step": torch.zeros(())},
    lambda: {"optimizer.x.step": torch.zeros(())},
    lambda: {"optimizer.-1.step": torch.zeros(())},
    lambda: {"model.weight": torch.zeros(2, 4)},
    lambda: {"model.weight": None},
    lambda: {"average.weight": torch.zeros(2, 3)},
]


@pytest.mark.parametrize("edit", EDITS)
def test_tensors_that_do_not_fit_are_refused(run: Path, edit: Callable[[], dict[str, Any]]):
    rewrite(run, json.dumps(STATE), **edit())
    model, optimizer = parts()
    with pytest.raises(CheckpointError, match="does not fit the recipe"):
        resume.restore(run, modules={"model": model}, optimizers={"optimizer": optimizer})
