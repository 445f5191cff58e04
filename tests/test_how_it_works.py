"""docs/how-a-vq-vae-works.md: its commands run in order, and make the pictures that it shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.test_readme import ROOT, desk, run

__all__ = ["desk"]  # a fixture

PAGE = ROOT / "docs" / "how-a-vq-vae-works.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, flags=re.M | re.S)
SHOWN = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", TEXT)
MOST_BYTES = 2_000_000


def scripts() -> dict[str, str]:
    """Name → text of each script of the page."""
    found = {}
    for language, text in BLOCKS:
        if language == "python":
            name = re.match(r"# (\w+\.py)\n", text)
            assert name is not None, text
            found[name[1]] = text
    return found


def commands() -> list[str]:
    return [line for language, text in BLOCKS if language == "bash" for line in text.splitlines()]


def smaller(command: str) -> str:
    """The same training in a few steps."""
    command = re.sub(r"--steps \d+|--set train\.steps=\d+", "--set train.steps=4", command)
    return re.sub(
        r"(evaluate_every|blocks|kl_steps\":|anneal_steps\":)(=| )\d+", r"\1\g<2>2", command
    )


def test_every_picture_is_there_described_and_made_by_a_command() -> None:
    made = "\n".join([*commands(), *scripts().values()])
    assert len(SHOWN) >= 10
    for described, name in SHOWN:
        assert len(described) > 20
        assert Path(name).name in made
        with Image.open(PAGE.parent / name) as picture:
            picture.load()
    files = list((PAGE.parent / "pictures").iterdir())
    assert {f"pictures/{each.name}" for each in files} == {name for _, name in SHOWN}
    assert sum(each.stat().st_size for each in files) < MOST_BYTES


def test_all_blocks_are_scripts_or_commands_and_every_script_is_run() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "bash"}
    assert [f"python {name}" for name in scripts()] == [
        line for line in commands() if line.startswith("python ")
    ]
    for line in commands():
        assert re.match(r"(python \w+\.py|vqtok (train|sample|info|encode|decode|eval) .*)$", line)


def test_what_is_drawn_of_the_gradient_is_the_gradient(tmp_path: Path) -> None:
    checks = """
assert torch.equal(z.grad, 2 * (z_q - target).detach())  # that at the entry
distance = (points.T[:, None] - entries.T[None]).norm(dim=2)
assert torch.allclose(chosen.T, entries.T[distance.argmin(dim=1)])
"""
    (tmp_path / "straight.py").write_text(scripts()["straight.py"] + checks)
    done = subprocess.run(
        [sys.executable, "straight.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "straight.png") as drawn:
        assert min(drawn.size) > 200


@pytest.mark.slow
def test_every_command_runs_and_makes_its_picture(desk: Path) -> None:
    """With few digits and steps."""
    pytest.importorskip("sklearn")
    for name, text in scripts().items():
        (desk / name).write_text(text)
    for line in commands():
        run(smaller(line).replace("python ", f"{sys.executable} ", 1), desk)
        if line == "python digits.py":
            for folder in (desk / "digits").iterdir():
                for path in sorted(folder.iterdir())[4:]:
                    path.unlink()
            recipe = json.loads((desk / "digits.json").read_text())
            recipe["train"] |= {"steps": 4, "evaluate_every": 2}
            recipe["model"]["quantizer"] |= {"warmup": 1}
            (desk / "digits.json").write_text(json.dumps(recipe))
    for _, name in SHOWN:
        with Image.open(desk / Path(name).name) as picture:
            picture.load()
    assert "dashed line" in (desk / "page.html").read_text(encoding="utf-8")
