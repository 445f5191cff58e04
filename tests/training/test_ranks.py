"""Two processes under torchrun learn what one process with twice the batch learns."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import coded
from tests.programs import LIMIT_S, environment
from tests.training.conftest import IMAGE_EDITS
from vqtok.checkpoints import resume
from vqtok.training.train import train

PLAN = [
    *IMAGE_EDITS,
    "train.steps=12",
    "train.evaluate_every=6",
    "model.quantizer.revive_every=3",
    "model.quantizer.warmup=3",
]


def torchrun(
    data: Path, output: Path, plan: Sequence[str] = PLAN, *options: str
) -> subprocess.CompletedProcess[str]:
    edits = [text for edit in plan for text in ("--set", edit)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = ["vqtok", "train", "--data", str(data), "-o", str(output), "--device", "cpu"]
    return subprocess.run(
        [*torchrun, "-m", *command, "--json", *edits, *options],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.mark.slow
def test_two_ranks_learn_what_one_process_with_twice_the_batch_learns(
    photos: Path, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for _ in train([str(photos)], one, edits=[*PLAN, "train.batch=4"], device="cpu"):
        pass
    done = torchrun(photos, two)
    assert done.returncode == 0, done.stderr
    expected, found = load_file(one / resume.FILE), load_file(two / resume.FILE)
    assert expected.keys() == found.keys()
    for name in ("entries", "learning.count", "learning.total"):
        key = f"model.quantizer.codebook.{name}"
        torch.testing.assert_close(found[key], expected[key], atol=2e-3, rtol=2e-3)
    # Codes are counted over both ranks.
    assert torch.equal(found["health.now_0"].sum(), expected["health.now_0"].sum())
    # One process speaks.
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert events == ["started", *["measuring", "evaluated"] * 2, "finished"]
    steps = [json.loads(line)["step"] for line in (two / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


@pytest.mark.slow
def test_two_ranks_learn_the_prior_of_one_process_with_twice_the_batch(tmp_path: Path) -> None:
    data = coded.folder(tmp_path / "codes")
    # Without dropout and hidden classes, of which each process draws its own.
    plan = [*coded.TINY, "train.steps=6", "model.dropout=0", "model.unlabelled=0"]
    one, two = tmp_path / "one", tmp_path / "two"
    for _ in train([str(data)], one, edits=[*plan, "train.batch=8"], device="cpu"):
        pass
    done = torchrun(data, two, plan)
    assert done.returncode == 0, done.stderr
    expected, found = load_file(one / resume.FILE), load_file(two / resume.FILE)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        if name.startswith("model."):
            torch.testing.assert_close(found[name], value, atol=2e-4, rtol=2e-3, msg=name)


PROGRAM = """
from pathlib import Path
import torch
from vqtok import distributed

def step():
    model = distributed.replicated(torch.nn.Linear(4, 4))
    model(torch.ones(2, 4)).sum().backward()

with distributed.joined(torch.device("cpu")):
    step()
print([each.read_text().strip() for each in Path("/proc/self/task").glob("*/comm")])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="names of threads are in /proc")
def test_no_thread_of_the_group_outlives_it(tmp_path: Path) -> None:
    # One that still held a tensor aborted now and then while the interpreter ended.
    (tmp_path / "program.py").write_text(PROGRAM)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [sys.executable, *launcher, str(tmp_path / "program.py")],
        capture_output=True, text=True, timeout=LIMIT_S, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("python") >= 2
    assert "gloo" not in done.stdout


REPEATED = """
import os, sys
from functools import partial
import torch, torch.distributed as dist
from vqtok import distributed

begin, folder = dist.init_process_group, sys.argv[1]

def once(number):
    # The address of a group serves once.
    options = {"rank": int(os.environ["RANK"]), "world_size": 2}
    method = f"file://{folder}/{number}"
    dist.init_process_group = partial(begin, init_method=method, **options)
    with distributed.joined(torch.device("cpu")):
        model = distributed.replicated(torch.nn.Linear(4, 4))
        model(torch.ones(2, 4)).sum().backward()
        distributed.summed(torch.zeros(2))
        distributed.wait()

for number in range(int(sys.argv[2])):
    once(number)
"""


@pytest.mark.slow
def test_a_group_ends_however_often_it_is_made(tmp_path: Path) -> None:
    # Without releasing reducers first, one of some 200 hung with the interpreter's lock in hand.
    (tmp_path / "program.py").write_text(REPEATED)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [sys.executable, *launcher, str(tmp_path / "program.py"), str(tmp_path), "300"],
        capture_output=True, text=True, timeout=LIMIT_S, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
