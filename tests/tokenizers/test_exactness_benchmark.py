"""The benchmark of exactness runs, and finds no difference."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image

from tests.programs import LIMIT_S

ROOT = Path(__file__).parents[2]


def test_the_benchmark_compares_every_way_of_coding(tmp_path: Path) -> None:
    photo = Image.open(ROOT / "tests/data/photo.png").convert("RGB")
    photo.crop((0, 0, 144, 72)).save(tmp_path / "photo.png")
    command = [sys.executable, "benchmarks/exactness.py", "--images", str(tmp_path)]
    report = tmp_path / "exactness.json"
    subprocess.run([*command, "--json", str(report)], cwd=ROOT, check=True, timeout=LIMIT_S)
    rows = json.loads(report.read_text())
    assert [row["way"] for row in rows][:4] == [
        "two threads",
        "batches of 3",
        "batches of 8",
        "tiles of 128",
    ]
    assert all(row["decided"] == 0 and row["latents"] == 18 * 9 for row in rows)
