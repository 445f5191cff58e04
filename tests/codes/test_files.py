"""Codes files: what is written comes back, byte for byte the same each time."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import numpy as safetensors_numpy
from safetensors import safe_open

from tests.codes import strategies as some
from tests.programs import run
from vqtok.codes import files, streams
from vqtok.codes import header as headers
from vqtok.codes.container import Codes
from vqtok.codes.files import Header, Source
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CodesError, UsageError

formats = pytest.mark.parametrize("format", ["npy", "safetensors"])


def as_bytes(codes: Codes, header: Header, format: str) -> bytes:
    stream = io.BytesIO()
    files.write(stream, codes, header, format=format)
    return stream.getvalue()


def assert_same(found: Codes, expected: Codes) -> None:
    assert found.spec == expected.spec
    assert found.extent == expected.extent
    for a, b in zip(found.levels, expected.levels, strict=True):
        np.testing.assert_array_equal(a, b)


@given(some.items(), st.sampled_from(("npy", "safetensors")))
def test_any_codes_come_back_equal_in_either_format(item: tuple[Codes, Header], format: str):
    codes, header = item
    found, found_header = files.read(io.BytesIO(as_bytes(codes, header, format)))
    assert_same(found, codes)
    assert found_header == header
    for level, array in zip(codes.spec.levels, found.levels, strict=True):
        assert array.dtype == level.dtype


@given(some.items(), st.sampled_from(("npy", "safetensors")))
def test_the_same_codes_make_the_same_bytes(item: tuple[Codes, Header], format: str):
    codes, header = item
    first = as_bytes(codes, header, format)
    again, again_header = files.read(io.BytesIO(first))
    assert as_bytes(again, again_header, format) == first


@formats
@pytest.mark.parametrize("item", [some.image(), some.audio(), some.audio(1, 2), some.hierarchy()])
def test_a_path_is_read_as_a_stream_is(tmp_path: Path, item: tuple[Codes, Header], format: str):
    path = tmp_path / f"codes.{format}"
    files.write(path, *item)
    assert path.read_bytes() == as_bytes(*item, format)
    assert_same(files.read(path)[0], item[0])
    assert files.read_header(path) == item[1]


@pytest.mark.parametrize(
    ("item", "shape"),
    [
        (some.image(), (5, 3)),
        (some.audio(1), (4, 4)),
        (some.audio(2), (2, 4, 4)),
        (some.audio(1, 2), (2, 4)),
        (some.hierarchy(), (5 * 3 + 9 * 5,)),
    ],
)
def test_numpy_loads_the_plain_array(tmp_path: Path, item: tuple[Codes, Header], shape):
    path = tmp_path / "codes.npy"
    files.write(path, *item)
    array = np.load(path, allow_pickle=False)
    assert array.shape == shape
    assert array.dtype == np.uint16
    flat = np.concatenate([each.reshape(len(item[0]), -1) for each in item[0].levels], axis=1)
    np.testing.assert_array_equal(array.reshape(len(item[0]), -1), flat)


def test_the_second_record_is_the_header_as_json(tmp_path: Path):
    path = tmp_path / "codes.npy"
    files.write(path, *some.image())
    with path.open("rb") as stream:
        np.load(stream)
        data = json.loads(np.load(stream).tobytes())
        assert stream.read() == b""
    assert data["format"] == 1
    assert data["extent"] == [33, 20]
    assert data["fingerprint"] == "0123456789abcdef"


def test_safetensors_holds_one_tensor_per_level(tmp_path: Path):
    path = tmp_path / "codes.safetensors"
    codes, header = some.hierarchy()
    files.write(path, codes, header)
    with safe_open(path, framework="np") as stored:
        assert sorted(stored.keys()) == ["bottom", "top"]
        np.testing.assert_array_equal(stored.get_tensor("top"), codes.levels[0][0])
        assert json.loads(stored.metadata()["vqtok"])["model"] == "vqvae2"


@formats
def test_tensors_are_written_as_arrays_are(format: str):
    codes, header = some.audio()
    tensors = replace(codes, levels=tuple(torch.from_numpy(each) for each in codes.levels))
    assert as_bytes(tensors, header, format) == as_bytes(codes, header, format)


def test_a_stream_gets_safetensors_unless_told_otherwise():
    stream = io.BytesIO()
    files.write(stream, *some.image())
    assert stream.getvalue() == as_bytes(*some.image(), "safetensors")


def test_the_format_wins_over_the_suffix(tmp_path: Path):
    path = tmp_path / "codes.safetensors"
    files.write(path, *some.image(), format="npy")
    assert np.load(path).shape == (5, 3)
    assert_same(files.read(path)[0], some.image()[0])


def test_a_pipe_that_the_shell_hands_over_is_read_to_its_end(tmp_path: Path):
    path = tmp_path / "codes.npy"
    files.write(path, *some.image())
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        handed = Path(f"/dev/fd/{process.stdout.fileno()}")  # as of <(cat codes.npy)
        assert_same(files.read(handed)[0], some.image()[0])


def test_unknown_suffixes_and_formats_are_usage_errors(tmp_path: Path):
    with pytest.raises(UsageError, match="unknown suffix"):
        files.write(tmp_path / "codes.txt", *some.image())
    with pytest.raises(UsageError, match="unknown codes format 'pt'"):
        files.write(tmp_path / "codes.npy", *some.image(), format="pt")
    assert list(tmp_path.iterdir()) == []


def test_codes_out_of_range_are_not_written(tmp_path: Path):
    codes, header = some.image()
    for bad, message in ((-1, "code -1 is negative"), (512, "code 512 is at or above")):
        array = codes.levels[0].copy()
        array[0, 0, 0] = bad
        with pytest.raises(CodesError, match=message):
            files.write(tmp_path / "codes.npy", replace(codes, levels=(array,)), header)
    assert list(tmp_path.iterdir()) == []


def test_several_items_do_not_fit_into_one_file(tmp_path: Path):
    codes, header = some.image()
    with pytest.raises(CodesError, match="2 items found, 1 expected"):
        files.write(tmp_path / "codes.npy", Codes.stack([codes, codes]), header)


def test_a_header_at_odds_with_the_codes_is_refused(tmp_path: Path):
    codes, header = some.image()
    with pytest.raises(CodesError, match="differ"):
        files.write(tmp_path / "codes.npy", codes, replace(header, extent=(34, 20)))


@pytest.mark.parametrize("name", ["sub/cat.png", ".."])
def test_a_name_with_a_folder_never_reaches_the_disk(tmp_path: Path, name: str):
    codes, header = some.image()
    with pytest.raises(CodesError, match="plain name"):
        files.write(tmp_path / "codes.npy", codes, replace(header, source=Source(name)))
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_not_unicode_or_would_move_a_cursor_are_cleaned():
    codes, header = some.image()
    wild = replace(header, source=Source(os.fsdecode(b"caf\xe9\x1b[2J.png")))
    _, found = files.read(io.BytesIO(as_bytes(codes, wild, "npy")))
    assert found.source.name == "caf\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[2J.png"


def test_an_unwritable_folder_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CodesError, match="cannot write"):
        files.write(tmp_path / "file" / "codes.npy", *some.image())


def test_a_codes_file_is_known_by_suffix_or_bytes(tmp_path: Path):
    files.write(tmp_path / "a.npy", *some.image())
    files.write(tmp_path / "b.bin", *some.image(), format="npy")
    files.write(tmp_path / "c.bin", *some.image(), format="safetensors")
    (tmp_path / "d.bin").write_bytes(b"\x89PNG\r\n\x1a\n0000")
    found = [path.name for path in sorted(tmp_path.iterdir()) if files.is_codes(path)]
    assert found == ["a.npy", "b.bin", "c.bin"]
    assert files.is_codes(tmp_path / "missing.safetensors")
    assert not files.is_codes(tmp_path / "missing.png")


def test_codes_of_another_model_are_refused_by_fingerprint():
    header = some.image()[1]
    spec = header.spec
    files.check_model(header, spec, name="image-f8")
    other = spec.with_fingerprint("ffffffffffffffff")
    with pytest.raises(CodesError, match=r"made with model image-f8 .* this model is mine") as told:
        files.check_model(header, other, name="mine")
    assert told.value.hint == "pass -m image-f8"
    with pytest.raises(CodesError) as told:
        files.check_model(header, other, name="image-f8")
    assert "very model" in str(told.value.hint)


def test_codes_without_a_fingerprint_must_have_the_models_levels():
    header = some.image()[1]
    unsigned = replace(header, spec=header.spec.with_fingerprint(""))
    files.check_model(unsigned, header.spec, name="image-f8")
    with pytest.raises(CodesError, match="unknown"):
        files.check_model(unsigned, some.hierarchy()[0].spec, name="vqvae2")


def test_reading_needs_no_torch(tmp_path: Path):
    files.write(tmp_path / "a.npy", *some.image())
    files.write(tmp_path / "a.safetensors", *some.image())
    program = (
        "import sys; from pathlib import Path; from vqtok.codes import files\n"
        "for path in sys.argv[1:]: files.read(Path(path)); files.read_header(Path(path))\n"
        "sys.exit('torch' in sys.modules)"
    )
    paths = [str(tmp_path / "a.npy"), str(tmp_path / "a.safetensors")]
    assert run(program, *paths).returncode == 0


@given(some.items())
def test_a_path_may_be_text(tmp_path_factory: pytest.TempPathFactory, item: tuple[Codes, Header]):
    place = str(tmp_path_factory.mktemp("text") / "a.npy")
    files.write(place, *item)
    assert files.read(place)[1] == files.read_header(place) == item[1]


@pytest.mark.parametrize("format", ["npy", "safetensors", "stream"])
def test_codes_are_held_once(tmp_path: Path, format: str):
    level = LevelSpec("codes", ("q", "t"), 1024, (320,), 8)
    spec = CodeSpec("audio", (level,), 24000.0)
    array = np.random.default_rng(0).integers(0, 1024, (2, 8, 1 << 19), dtype=np.uint16)  # 16 MiB
    header = Header(spec, (320 << 19,), channels=2)
    path = tmp_path / "a.npy"
    tracemalloc.start()
    if format == "stream":
        with path.open("wb") as stream:
            writer = streams.Writer(stream, header)
            writer.write(array)
            writer.close(header)
    else:
        files.write(path, Codes(spec, (array,), header.extent), header, format=format)
    written = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    codes, _ = files.read(path)
    read = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(codes.levels[0], array)
    most = array.nbytes * (2 if format == "stream" else 1)  # pieces are put together
    assert written < 3 << 20, written
    assert read < most + (3 << 20), read


@given(st.data())
def test_safetensors_are_those_of_the_library(data: st.DataObject):
    codes, header = data.draw(some.items())
    ours = io.BytesIO()
    files.write(ours, codes, header, format="safetensors")
    plain = codes.numpy()
    tensors = {
        level.name: np.ascontiguousarray(array[0] if len(plain) == 1 else array)
        for level, array in zip(plain.spec.levels, plain.levels, strict=True)
    }
    theirs = safetensors_numpy.save(tensors, metadata={"vqtok": headers.encode(header)})
    assert ours.getvalue() == theirs
    for name, array in safetensors_numpy.load(ours.getvalue()).items():
        np.testing.assert_array_equal(array, tensors[name])


def test_a_copied_fingerprint_with_other_levels_is_refused():
    header = some.audio()[1]
    level = header.spec.levels[0]
    for change in ({"codebook_size": 1 << 20}, {"stride": (1 << 40,)}, {"depth": 65536}):
        lying = replace(header.spec, levels=(replace(level, **change),))
        with pytest.raises(CodesError, match="not those of model audio-24k"):
            files.check_model(replace(header, spec=lying), header.spec, name="audio-24k")


def test_a_header_may_say_how_loud_the_source_was(tmp_path: Path) -> None:
    codes, header = some.audio()
    loud = replace(header, source=replace(header.source, loudness_db=(-23.25, -100.0)))
    files.write(tmp_path / "codes.npy", codes, loud)
    assert files.read(tmp_path / "codes.npy")[1] == loud
    assert "loudness_db" not in header.to_json()["source"]  # as files of 0.1.0 are


@pytest.mark.parametrize("wrong", ["-23", [None], [True], ["-23"], [1e9], [float("nan")], {}])
def test_a_loudness_that_is_none_is_refused(wrong: object) -> None:
    data = some.audio()[1].to_json()
    data["source"]["loudness_db"] = wrong
    with pytest.raises(CodesError, match=r"damaged header: source\.loudness_db"):
        Header.from_json(data)
