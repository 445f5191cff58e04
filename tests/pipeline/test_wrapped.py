"""Commands on a tokenizer of two functions are those on any model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vqtok
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CodesError, UsageError, VqtokError

GREY = CodeSpec("image", (LevelSpec("codes", ("h", "w"), 256, (8, 8)),))
LOUD = CodeSpec("audio", (LevelSpec("codes", ("q", "t"), 16, (100,), 2),), rate=800.0)


def encode(x: torch.Tensor) -> torch.Tensor:
    means = torch.nn.functional.avg_pool2d(x.mean(1, keepdim=True), 8)[:, 0]
    return ((means + 1) * 127.5).round().long()


def decode(codes: torch.Tensor) -> torch.Tensor:
    grey = (codes / 127.5 - 1)[:, None]
    return grey.repeat_interleave(8, -1).repeat_interleave(8, -2).expand(-1, 3, -1, -1)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        pixels = rng.integers(0, 255, (20 + i, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    return tmp_path


def test_a_batch_and_each_alone_give_what_the_functions_give() -> None:
    lab: Any = vqtok.wrap(encode, decode, spec=GREY, name="lab")
    x = torch.rand(2, 3, 20, 19) * 2 - 1
    codes = lab.encode(x)
    assert codes.levels[0].shape == (2, 3, 3)
    edge = torch.nn.functional.pad(x, (0, 5, 0, 4), mode="replicate")
    assert torch.equal(codes.levels[0], encode(edge))
    assert torch.equal(lab.decode(codes), decode(codes.levels[0])[..., :20, :19])


def test_functions_may_give_arrays_of_numpy_and_several_stages() -> None:
    def listen(x: torch.Tensor) -> np.ndarray:
        levels = x.numpy().reshape(-1, 100).std(axis=1)
        return np.stack([(levels * 15).astype(int) % 16, (levels * 240).astype(int) % 16])

    def play(codes: torch.Tensor) -> np.ndarray:
        return np.repeat((codes[0, 0] / 15).numpy(), 100)

    lab: Any = vqtok.wrap(listen, play, spec=LOUD, name="loud")
    x = torch.rand(1, 1, 450) * 2 - 1
    codes = lab.encode(x)
    assert codes.levels[0].shape == (1, 2, 5)
    assert lab.decode(codes).shape == x.shape


def test_files_corpora_metrics_and_reports_work_on_it(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = vqtok.wrap(encode, decode, spec=GREY, name="lab")
    assert vqtok.run("encode photos/0.png -m lab -o a.npy -q", lab) == 0
    assert np.load("a.npy").shape == (3, 4)
    assert vqtok.run(["decode", "a.npy", "-o", "b.png", "-q"], lab) == 0, "by its fingerprint"
    with Image.open("b.png") as back:
        assert back.size == (30, 20)
    assert vqtok.run("encode photos/ -m lab --format tar -o corpus/ -q", lab) == 0
    capsys.readouterr()
    assert vqtok.run("info corpus/ --json", lab) == 0
    assert json.loads(capsys.readouterr().out)["items"] == 3
    assert vqtok.run("eval photos/ -m lab -m jpeg --report page.html --json -q", lab) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["model"] for row in rows if "model" in row} >= {"lab", "jpeg"}
    assert "lab" in (desk / "page.html").read_text(encoding="utf-8")


def test_an_effort_on_it_is_refused_for_what_it_is(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = vqtok.wrap(encode, decode, spec=GREY, name="lab")
    assert vqtok.run("encode photos/0.png -m lab --effort 1 -o 0.npy", lab) == 2
    assert "Error: lab: --effort" in capsys.readouterr().err


def test_outside_of_the_command_the_name_is_unknown(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = vqtok.wrap(encode, decode, spec=GREY, name="lab")
    assert vqtok.run("info lab -q", lab) == 0
    assert vqtok.run("info lab -q") != 0
    assert "lab: no such file or model" in capsys.readouterr().err


def test_codes_of_another_version_are_refused(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = vqtok.wrap(encode, decode, spec=GREY, name="lab", version="1")
    new = vqtok.wrap(encode, decode, spec=GREY, name="lab", version="2")
    assert old.spec.fingerprint != new.spec.fingerprint
    assert vqtok.run("encode photos/0.png -m lab -o a.npy -q", old) == 0
    assert vqtok.run("decode a.npy -m lab -o b.png -q", new) == 1
    assert not Path("b.png").exists()


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: encode(x)[:, 1:], "integers of shape"),
        (lambda x: encode(x).float(), "integers of shape"),
        (lambda x: (encode(x), encode(x)), "2 levels, 1 expected"),
        (lambda x: x.nonsense, "encode failed: AttributeError"),
    ],
)
def test_wrong_codes_are_one_clear_error(function: Any, reason: str) -> None:
    lab = vqtok.wrap(function, decode, spec=GREY, name="lab")
    with pytest.raises(CodesError, match=reason):
        lab.encode(torch.zeros(1, 3, 16, 16))


def test_codes_out_of_range_are_not_written(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = vqtok.wrap(lambda x: encode(x) + 256, decode, spec=GREY, name="lab")
    assert vqtok.run("encode photos/0.png -m lab -o a.npy -q", lab) == 1
    assert not Path("a.npy").exists()
    assert "lab: encode gave codes from" in capsys.readouterr().err


def test_a_path_is_no_name() -> None:
    with pytest.raises(UsageError, match="not a name"):
        vqtok.wrap(encode, decode, spec=GREY, name="../lab")


def test_it_is_not_saved(tmp_path: Path) -> None:
    lab = vqtok.wrap(encode, decode, spec=GREY, name="lab")
    with pytest.raises((TypeError, VqtokError), match="no file can hold"):
        vqtok.save(tmp_path / "m", lab)
    assert not (tmp_path / "m").exists()
