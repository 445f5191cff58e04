"""Installed packages add quantizers, tokenizers and layouts; nothing else does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import TINY_IMAGE
from tests.programs import ROOT, environment, run
from vqtok import config, plugins
from vqtok.checkpoints import directory, foreign
from vqtok.errors import CheckpointError, ConfigError
from vqtok.protocols import Config

LAB = '''
from dataclasses import dataclass

import torch
from torch import nn

import vqtok
from vqtok.checkpoints.foreign._layout import Family, Match
from vqtok.protocols import Assigned, Quantized


@dataclass(frozen=True)
class Rounding:
    """Rounds the mean of a latent to one of K whole numbers."""

    codebook_size: int = 7

    def build(self, *, dim):
        return Rounder(self, dim)


class Rounder(nn.Module):
    depth = None

    def __init__(self, config, dim):
        super().__init__()
        self.config, self.codebook_size, self.dim = config, config.codebook_size, dim
        self.generator = None

    def forward(self, z):
        codes = self.assign(z, tolerance=0.0).codes
        z_q = z + (self.decode(codes) - z).detach()
        return Quantized(z_q, codes, z.new_zeros(()))

    def assign(self, z, *, tolerance):
        half = self.codebook_size // 2
        codes = (z.mean(1) + half).round().long().clamp(0, self.codebook_size - 1)
        return Assigned(codes, torch.zeros_like(codes, dtype=torch.bool))

    def decode(self, codes):
        z_q = codes.float()[:, None] - self.codebook_size // 2
        return z_q.expand(-1, self.dim, *z_q.shape[2:]).contiguous()


@dataclass(frozen=True)
class Grey:
    """A tokenizer of pictures: the mean grey of squares."""

    side: int = 4

    @property
    def spec(self):
        level = vqtok.LevelSpec("codes", ("h", "w"), 256, (self.side, self.side))
        return vqtok.CodeSpec("image", (level,))

    def build(self, **context):
        def encode(x):
            means = nn.functional.avg_pool2d(x.mean(1, keepdim=True), self.side)[:, 0]
            return ((means + 1) * 127.5).round().long().clamp(0, 255)

        def decode(codes):
            grey = (codes / 127.5 - 1)[:, None]
            rows = grey.repeat_interleave(self.side, -2).repeat_interleave(self.side, -1)
            return rows.expand(-1, 3, -1, -1)

        made = vqtok.wrap(encode, decode, spec=self.spec, name="grey")
        made.config, made.spec = self, self.spec
        made.register_buffer("side", torch.tensor([float(self.side)]))
        return made


FAMILIES = (Family("Grey", "files with one number, `grey.side`", "itself"),)


def recognise(found):
    if not found.has("grey.side"):
        return None
    side = found.tensors["grey.side"]
    return Match("Grey", Grey(int(side)), lambda: {"side": side.reshape(1)})
'''

POINTS = """
[vqtok.quantizers]
rounding = lab_of_tests:Rounding
fsq = lab_of_tests:Nothing
broken = lab_of_tests_that_is_broken:Config

[vqtok.tokenizers]
grey = lab_of_tests:Grey

[vqtok.layouts]
a-broken-one = lab_of_tests_that_is_broken
grey = lab_of_tests
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of installed packages, as pip leaves it, with one that adds something."""
    site = tmp_path / "site"
    facts = site / "lab_of_tests-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-of-tests\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(POINTS)
    (site / "lab_of_tests.py").write_text(LAB)
    (site / "lab_of_tests_that_is_broken.py").write_text("raise RuntimeError('it is\\nbroken')\n")
    monkeypatch.syspath_prepend(str(site))
    plugins._say.cache_clear()
    yield site
    for name in [each for each in sys.modules if each.startswith("lab_of_tests")]:
        del sys.modules[name]


def shell(*words: str, site: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    given = {**environment(), "PYTHONPATH": f"{ROOT}:{site}"}
    command = [sys.executable, "-m", "vqtok", *words]
    return subprocess.run(
        command, env=given, cwd=cwd, capture_output=True, text=True, check=False, timeout=600
    )


def test_a_quantizer_of_a_package_is_a_type_of_configs(lab: Path, tmp_path: Path) -> None:
    data = TINY_IMAGE | {"quantizer": {"type": "quantizers/rounding", "codebook_size": 5}}
    found = config.parse(data, Config)
    assert config.dump(found)["quantizer"] == data["quantizer"]
    assert "rounding" in config.members("quantizers")
    torch.manual_seed(0)
    model: Any = found.build().eval()
    assert model.spec.levels[0].codebook_size == 5
    directory.save(tmp_path / "m", model)
    again: Any = directory.load(tmp_path / "m")
    x = torch.rand(1, 3, 37, 41) * 2 - 1
    assert torch.equal(again.encode(x).levels[0], model.encode(x).levels[0])
    assert not (tmp_path / "m" / "graphs.json").exists(), "graphs know no quantizers of others"


def test_ours_come_first(lab: Path) -> None:
    found = config.config_class("quantizers/fsq")
    assert found.__module__ == "vqtok.quantizers.fsq"
    assert config.members("quantizers").count("fsq") == 1


def test_what_is_not_installed_is_no_type(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown type 'quantizers/rounding'"):
        config.config_class("quantizers/rounding")


@pytest.mark.parametrize("name", ["lab_of_tests:Rounding", "lab_of_tests.Rounding", "../lab"])
def test_a_config_names_no_module(lab: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="unknown type"):
        config.config_class(f"quantizers/{name}")
    assert "lab_of_tests" not in sys.modules


def test_a_broken_one_is_one_error_where_it_is_named(lab: Path) -> None:
    with pytest.raises(ConfigError, match="plug-in broken of lab-of-tests cannot be loaded: it is"):
        config.config_class("quantizers/broken")


def test_a_broken_layout_is_a_line_and_the_others_are_tried(
    lab: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save({"grey.side": torch.tensor(8.0)}, tmp_path / "grey.pt")
    model: Any = directory.load(tmp_path / "grey.pt")
    assert [each.getMessage() for each in caplog.records] == [
        "Warning: plug-in a-broken-one of lab-of-tests cannot be loaded: it is broken; left out"
    ]
    x = torch.rand(1, 3, 19, 21) * 2 - 1
    assert model.encode(x).levels[0].shape == (1, 3, 3)
    assert model.decode(model.encode(x)).shape == x.shape
    assert foreign.describe(tmp_path / "grey.pt").foreign == "Grey"
    caplog.clear()
    torch.save({"other": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not of a known family") as caught:
        foreign.describe(tmp_path / "other.pt")
    assert "Grey" in str(caught.value.hint)
    assert not caplog.records, "said once"


def test_ours_are_recognised_before_any_package_is_imported(lab: Path, tmp_path: Path) -> None:
    from tests.checkpoints.foreign.checkpoints import CHECKPOINTS

    foreign.describe(CHECKPOINTS["VQ-VAE-2 (rosinality)"](tmp_path))
    assert "lab_of_tests" not in sys.modules


def test_commands_use_it(lab: Path, tmp_path: Path) -> None:
    torch.save({"grey.side": torch.tensor(8.0)}, tmp_path / "grey.pt")
    photo = str(ROOT / "tests" / "data" / "photo.png")
    made = shell("encode", photo, "-m", "grey.pt", "-o", "a.npy", "-q", site=lab, cwd=tmp_path)
    assert (made.returncode, made.stdout) == (0, "")
    assert made.stderr.count("\n") == 1 and "a-broken-one" in made.stderr
    kept = shell("convert", "grey.pt", "-o", "kept/", "-q", site=lab, cwd=tmp_path)
    assert kept.returncode == 0, kept.stderr
    model = json.loads((tmp_path / "kept" / "config.json").read_text())["model"]
    assert model == {"type": "tokenizers/grey", "side": 8}
    back = shell("decode", "a.npy", "-m", "kept/", "-o", "b.png", "-q", site=lab, cwd=tmp_path)
    assert back.returncode == 0, back.stderr


def test_help_imports_no_package_and_no_torch(lab: Path) -> None:
    program = (
        "import sys; sys.argv = ['vqtok', 'train', '--help']\n"
        "from vqtok.cli.app import app\n"
        "app(standalone_mode=False)\n"
        "print([m for m in sys.modules if m.startswith('lab_of') or m in "
        "('torch', 'importlib.metadata')])"
    )
    done = run(f"import sys; sys.path.insert(0, {str(lab)!r})\n{program}")
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
