"""Tables fit the terminal: snapshots at 80 columns, and what gives way in which order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok.cli.table import LEAST_PATH, Column, fitted, shortened, text_of
from vqtok.codes.rates import digits

WORDS = st.text("abcde/", min_size=1, max_size=30)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_columns_align_and_lines_have_no_trailing_blanks():
    text = text_of([Column("a", ["ccc", "e"]), Column("bb", ["d", ""])])
    assert text.splitlines() == ["a    bb", "ccc  d", "e"]


@given(
    st.lists(st.tuples(WORDS, st.integers(0, 3), st.booleans()), min_size=1, max_size=8),
    st.integers(1, 200),
)
def test_lines_fit_or_nothing_more_can_give_way(drawn, width):
    columns = [
        Column(f"h{i}", [cell], drop, path=path) for i, (cell, drop, path) in enumerate(drawn)
    ]
    kept = fitted(columns, width)
    longest = max(map(len, text_of(kept).splitlines()))
    if longest > width:
        assert len(kept) == 1 or not any(each.drop for each in kept)
        assert all(each.width <= max(LEAST_PATH, 2) for each in kept if each.path)
    dropped = [each.drop for each in columns if each.head not in {one.head for one in kept}]
    if dropped:  # the least important ones, and never one that must stay
        assert min(dropped) > 0
        assert all(each.drop <= min(dropped) for each in kept)
    assert fitted(columns, None) == columns


@given(WORDS, st.integers(LEAST_PATH, 60))
def test_a_shortened_path_keeps_its_end(path, room):
    short = shortened(path, room)
    assert len(short) <= room
    assert path.endswith(short.removeprefix("…"))


def test_models_at_80_columns(vqtok, here, shelf, narrow):
    result = vqtok("models")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["name", "for", "rate", "parameters", "size"]
    assert max(map(len, lines)) <= 80
    assert "not shown here: fingerprint, path; --wide shows all" in result.stderr
    whole = vqtok("models", "--wide")
    assert whole.stdout.splitlines()[0].split()[-2:] == ["fingerprint", "path"]
    assert whole.stderr == ""


def test_eval_of_recordings_at_80_columns(vqtok, recording, narrow):
    name = "a-folder-with-a-long-name/and-a-recording-with-a-long-name.wav"
    recording(name, length=9000)
    flags = ("-m", "audio-24k", "-m", "opus", "--metrics", "si-sdr,si-sdr-aligned,delay,mel,stoi")
    lines = vqtok("eval", name, *flags).stdout.splitlines()
    heads = "SI-SDR dB  Mel    STOI   kbit/s  model      file"
    assert lines[0].split() == heads.split()
    assert all(line.endswith("long-name.wav") for line in lines[1:3])
    assert lines[4] == "1 recording, mean"
    assert lines[5].split() == [
        "model",
        "SI-SDR",
        "dB",
        "Mel",
        "STOI",
        "kbit/s",
        "stored",
        "by",
        "entropy",
        "over",
    ]
    assert max(map(len, lines)) <= 80
    wide = vqtok("eval", name, *flags, "--wide").stdout.splitlines()
    assert wide[1].endswith(name)
    assert "Delay samples" in wide[0]


def test_eval_of_pictures_at_80_columns(vqtok, picture, narrow):
    name = "a-folder-with-a-long-name/and-a-picture-with-quite-a-long-name-too.png"
    picture(name, width=200, height=176)
    lines = vqtok("eval", name, "-m", "image-f8", "-m", "jpeg").stdout.splitlines()
    assert lines[0].split() == ["PSNR", "dB", "SSIM", "MS-SSIM", "bits/pixel", "model", "file"]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("value", "text"), [(300.0, "300"), (1234.5, "1230"), (0.0547, "0.0547"), (6.0, "6"), (0, "0")]
)
def test_numbers_have_no_exponents(value, text):
    assert digits(value) == text
