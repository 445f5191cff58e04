"""``vqtok info DIR``: what a folder of media holds."""

from __future__ import annotations

import json


def test_a_folder_is_summed_up(vqtok, picture, recording, here):
    picture("d/a.png", width=24, height=16)
    picture("d/below/b.jpg", width=48, height=32)
    picture("d/c.png", width=32, height=16)
    recording("d/s.wav", length=8000)
    (here / "d/notes.txt").write_text("hello")
    (here / "d/damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    result = vqtok("info", "d")
    assert result.exit_code == 0, result.stderr
    lines = [line.split(":", 1)[1].strip() for line in result.stdout.splitlines()[1:]]
    assert lines[:3] == [
        "folder of media",
        "4 (2 PNG, 1 JPEG)",
        "from 24 × 16, median 32 × 16, to 48 × 32 pixels",
    ]
    assert lines[3] == "1 (1 WAV)"
    assert lines[-2] == "1 .txt"
    assert lines[-1].startswith("1: d/damaged.png: ")
    data = json.loads(vqtok("info", "d", "--json").stdout)
    assert data["files"] == {"audio": 1, "image": 4}
    assert data["pixels"] == {"from": [16, 24], "median": [16, 32], "to": [32, 48]}
    assert [each["file"] for each in data["unreadable"]] == ["d/damaged.png"]


def test_a_folder_without_media_says_so(vqtok, here):
    (here / "d").mkdir()
    (here / "d/notes.txt").write_text("hello")
    result = vqtok("info", "d")
    assert result.exit_code == 1
    assert "in this directory" in result.stderr
