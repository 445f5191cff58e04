"""``eval``: a table for people, JSON Lines for scripts, pictures on demand."""

from __future__ import annotations

import json

import pytest

from tests.cli.pictures import look

PSNR = ("--metrics", "psnr,ssim")


def test_the_table_has_a_row_per_file_and_a_summary(vqtok, picture):
    picture("d/a.png", width=32, height=32)
    picture("d/b.png", width=16, height=24)
    result = vqtok("eval", "d/", "-m", "image-f8", *PSNR)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["PSNR", "dB", "SSIM", "bits/pixel", "file"]
    assert [line.split()[-1] for line in lines[1:3]] == ["d/a.png", "d/b.png"]
    assert any(line.startswith("2 images, image-f8 (") for line in lines)
    assert any(" ± " in line for line in lines)
    assert any("of 64 entries used by 22 codes" in line for line in lines)


def test_json_has_a_line_per_file_then_the_summary(vqtok, recording):
    recording("clips/a.wav", length=9000)
    recording("clips/b.wav", length=8000, channels=2)
    result = vqtok("eval", "clips/", "--json", "--metrics", "si-sdr,mel", "--depth", "2")
    *files, summary = (json.loads(line) for line in result.stdout.splitlines())
    assert [each["source"] for each in files] == ["clips/a.wav", "clips/b.wav"]
    assert summary["summary"] == "audio"
    assert (summary["files"], summary["depth"]) == (2, 2)
    means = [each["si_sdr_db"] for each in files]
    assert summary["si_sdr_db"]["mean"] == pytest.approx(sum(means) / 2, abs=1e-4)
    assert all(each["kbit_per_s"] > 0 for each in files)


def test_reconstructions_are_kept_with_a_comparison(vqtok, picture, here):
    picture("a.png", width=40, height=30)
    assert vqtok("eval", "a.png", "-o", "kept", *PSNR).exit_code == 0
    assert look("kept/a.recon.png").size == (40, 30)
    assert look("kept/a.compare.png").format == "PNG"
    again = vqtok("eval", "a.png", "-o", "kept", *PSNR)
    assert again.exit_code == 2
    assert "already exists" in again.stderr
    assert vqtok("eval", "a.png", "-o", "kept", "-f", *PSNR).exit_code == 0


def test_nothing_is_written_without_o(vqtok, picture, here):
    picture("a.png")
    vqtok("eval", "a.png", *PSNR)
    assert [path.name for path in here.iterdir()] == ["a.png"]


def test_the_kept_picture_is_what_decode_makes(vqtok, picture, here):
    picture("a.png")
    vqtok("eval", "a.png", "-o", "kept/", *PSNR)
    vqtok("encode", "a.png")
    vqtok("decode", "a.safetensors")
    assert (here / "kept/a.recon.png").read_bytes() == (here / "a.recon.png").read_bytes()


def test_a_bad_file_does_not_stop_the_others(vqtok, picture, here):
    picture("a.png")
    (here / "b.png").write_text("no picture")
    result = vqtok("eval", "b.png", "a.png", "nope.png", *PSNR)
    assert result.exit_code == 1
    assert "1 image, image-f8" in result.stdout
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert {line.split(": ")[1] for line in errors} == {"b.png", "nope.png"}


def test_an_unknown_metric_is_suggested(vqtok, picture):
    picture("a.png")
    result = vqtok("eval", "a.png", "--metrics", "psrn")
    assert result.exit_code == 2
    assert "did you mean psnr?" in result.stderr


def test_verbose_states_the_protocol(vqtok, picture):
    picture("a.png")
    result = vqtok("eval", "a.png", "-v", *PSNR)
    assert "PSNR: RGB rounded to 8 bits" in result.stderr


def test_metrics_of_another_kind_of_files_are_refused(vqtok, picture):
    picture("a.png")
    result = vqtok("eval", "a.png", "--metrics", "stoi,mel")
    assert result.exit_code == 2
    assert "--metrics stoi,mel: not for image files" in result.stderr
    assert "psnr" in result.stderr
