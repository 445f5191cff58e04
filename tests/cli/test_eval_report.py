"""``eval --report``: one page, beside what is printed."""

from __future__ import annotations

import pytest

PSNR = ("--metrics", "psnr")


def test_the_page_holds_what_the_table_says(vqtok, picture, here):
    for index in range(3):
        picture(f"d/{index}.png", width=64, height=48 + index)
    flags = ("-m", "image-f8", "-m", "jpeg", *PSNR)
    result = vqtok("eval", "d/", *flags, "--report", "out/page.html", "--examples", "2")
    assert result.exit_code == 0, result.stderr
    assert "wrote out/page.html" in result.stderr
    assert result.stdout == vqtok("eval", "d/", *flags).stdout
    page = (here / "out/page.html").read_text(encoding="utf-8")
    assert page.count("<article") == 2
    line = next(line for line in result.stdout.splitlines() if line.startswith("jpeg "))
    assert " ".join(line.split()[1:4]) in page


def test_one_model_and_a_recording_do_too(vqtok, recording, here):
    recording("a.wav", length=9000, channels=2)
    result = vqtok("eval", "a.wav", "--report", "page.html", "--metrics", "si-sdr", "--json", "-q")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    page = (here / "page.html").read_text(encoding="utf-8")
    assert "data:audio/flac" in page
    assert "audio-24k" in page


def test_a_page_is_not_overwritten_unless_told_to(vqtok, picture, here):
    picture("a.png")
    (here / "page.html").write_text("mine")
    result = vqtok("eval", "a.png", "--report", "page.html", *PSNR)
    assert result.exit_code == 2
    assert "page.html: already exists" in result.stderr
    assert (here / "page.html").read_text() == "mine"
    assert vqtok("eval", "a.png", "--report", "page.html", "-f", *PSNR).exit_code == 0
    assert (here / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--report", "a.png", "-f"], "--report a.png: a page ends in .html"),
        (["--report", "folder.html"], "folder.html: is a directory"),
        (["--examples", "3"], "--examples: needs a page"),
    ],
)
def test_what_cannot_be_a_page_is_refused_before_any_work(vqtok, picture, here, flags, message):
    picture("a.png")
    (here / "folder.html").mkdir()
    result = vqtok("eval", "a.png", *flags, *PSNR)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_there_is_no_page_of_nothing(vqtok, here):
    (here / "a.png").write_text("no picture")
    result = vqtok("eval", "a.png", "--report", "page.html", *PSNR)
    assert result.exit_code == 1
    assert not (here / "page.html").exists()


def test_a_page_that_cannot_be_written_is_refused_before_any_work(vqtok, picture, here):
    picture("a.png")
    (here / "file").write_text("in the way")
    result = vqtok("eval", "a.png", "--report", "file/page.html", *PSNR)
    assert result.exit_code == 2
    assert "file: cannot write there: file is not a directory" in result.stderr
    assert result.stdout == ""
