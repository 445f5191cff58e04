"""Files of a few bytes that would keep or fill a machine: one clear refusal, soon.

Time is not measured: each of these runs for ever, takes all memory or ends the process unless it is
refused, and each is read with a limit on the processor time of the whole file of tests.
"""

from __future__ import annotations

import pickle
import resource
import struct
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.examples import in_turn
from tests.hostile.programs import BOMBS, FORMS, KEY, PROTO, archive, doubling, legacy
from vqtok.checkpoints import foreign
from vqtok.checkpoints.foreign import _archives, _reading
from vqtok.errors import CheckpointError


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    """Twenty seconds of the processor and 2 GB more than there is, for each."""
    used = time.process_time()
    before = [resource.getrlimit(each) for each in (resource.RLIMIT_CPU, resource.RLIMIT_AS)]
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + 20, before[0][1]))
    space = pages * resource.getpagesize() + (2 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (space, before[1][1]))
    yield
    resource.setrlimit(resource.RLIMIT_CPU, before[0])
    resource.setrlimit(resource.RLIMIT_AS, before[1])


@pytest.mark.parametrize(("bomb", "form"), in_turn([*BOMBS], [*FORMS]))
def test_a_bomb_is_one_refusal(tmp_path: Path, bomb: str, form: str):
    path = tmp_path / "x.ckpt"
    path.write_bytes(FORMS[form](BOMBS[bomb]))
    with pytest.raises(CheckpointError) as told:
        foreign.open(path)
    assert len(str(told.value)) < 700


@pytest.mark.parametrize("bomb", [name for name in BOMBS if " in " in name])
def test_what_nests_deeply_is_read_in_steps_that_do_not_recurse(tmp_path: Path, bomb: str):
    (tmp_path / "x.pt").write_bytes(archive(BOMBS[bomb]))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    try:
        with pytest.raises(CheckpointError) as told:
            foreign.recognise(tmp_path / "x.pt")
    finally:
        sys.setrecursionlimit(limit)
    assert "recursion" not in str(told.value)


def tensor(count: bytes, place: bytes, *, rest: bytes = b"\x89", key: bytes = b"0") -> bytes:
    """A tensor of float32 numbers in the storage of that name, as instructions."""
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX"
        + struct.pack("<I", len(key)) + key + b"X\x03\x00\x00\x00cpu" + count + b"tQ"
        + place + rest + b"ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes((len(data),)) + data


FLAT = b"K\x00K\x04\x85K\x01\x85"


@pytest.mark.parametrize(
    ("place", "count"),
    [
        (b"K\x00" + number(1 << 40) + b"\x85K\x00\x85", number(4)),
        (b"K\x00" + number(1 << 62) + b"\x85K\x01\x85", number(4)),
        (b"K\x00" + number(-4) + b"\x85K\x01\x85", number(4)),
        (number(1 << 40) + b"K\x04\x85K\x01\x85", number(4)),
        (b"K\x01K\x04\x85K\x01\x85", number(4)),
        (b"K\x00K\x04\x85" + number(1 << 50) + b"\x85", number(4)),
        (b"K\x00(" + b"K\x01" * 70 + b"t(" + b"K\x01" * 70 + b"t", number(4)),
        (b"K\x00K\x04\x85)", number(4)),
        (b"K\x00G" + struct.pack(">d", 4.0) + b"\x85K\x01\x85", number(4)),
        (b"K\x00\x88\x85K\x01\x85", number(4)),
        (b"K\x00N\x85K\x01\x85", number(4)),
        (FLAT, number(1 << 60)),
        (FLAT, number(-4)),
        (FLAT, number(5)),
        (FLAT, b"N"),
        (FLAT, doubling(60)),
    ],
)
def test_a_tensor_of_impossible_sizes_is_refused(tmp_path: Path, place: bytes, count: bytes):
    made = PROTO + b"}" + KEY + tensor(count, place) + b"s."
    (tmp_path / "x.pt").write_bytes(archive(made, storages={"0": bytes(16)}))
    with pytest.raises(CheckpointError, match="damaged"):
        _reading.read(tmp_path / "x.pt")


def test_a_sound_tensor_made_by_hand_is_read(tmp_path: Path):
    made = PROTO + b"}" + KEY + tensor(number(4), FLAT) + b"s."
    (tmp_path / "x.pt").write_bytes(archive(made, storages={"0": bytes(16)}))
    assert torch.equal(_reading.read(tmp_path / "x.pt").tensors["a"], torch.zeros(4))


def test_more_tensors_than_the_file_has_bytes_are_refused(tmp_path: Path):
    size = 1 << 20
    shape = b"K\x00" + number(size) + b"\x85K\x01\x85"
    one = tensor(number(size), shape)
    items = b"".join(b"X\x04\x00\x00\x00%04d" % each + one for each in range(200))
    path = tmp_path / "x.pt"
    path.write_bytes(archive(PROTO + b"}(" + items + b"u.", storages={"0": bytes(4 * size)}))
    with pytest.raises(CheckpointError, match=r"bytes of tensors in a file of"):
        _reading.read(path)


@pytest.mark.parametrize("key", ["0", "0.py", "0.debug_pkl"])
@pytest.mark.parametrize("scripted", [False, True])
def test_numbers_that_are_compressed_are_refused_and_not_unpacked(
    tmp_path: Path, key: str, scripted: bool
):
    count = 1 << 30  # 4 GB, twice what there may be
    shape = b"K\x00" + number(count) + b"\x85K\x01\x85"
    made = PROTO + b"}" + KEY + tensor(number(count), shape, key=key.encode()) + b"s."
    path = tmp_path / "x.pt"
    path.write_bytes(archive(made, scripted=scripted))
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as more,
        more.open(f"a/data/{key}", "w", force_zip64=True) as member,
    ):
        member.write(bytes(1 << 20))
    with pytest.raises(CheckpointError, match="is compressed"):
        _reading.read(path)


@pytest.mark.parametrize("name", ["data.pkl", "byteorder"])
@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_pickle_is_refused_whatever_the_method(tmp_path: Path, name: str, method: int):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as made:
        for each, data in (("data.pkl", PROTO + b"}."), ("byteorder", b"little")):
            made.writestr(f"a/{each}", data, method if each == name else zipfile.ZIP_STORED)
    with pytest.raises(CheckpointError, match=f"{name} is compressed"):
        _reading.read(path)


def test_compressed_code_of_an_archive_does_no_harm(tmp_path: Path):
    path = tmp_path / "x.pt"
    path.write_bytes(archive(PROTO + b"}" + KEY + tensor(number(4), FLAT) + b"s.",
                             storages={"0": bytes(16)}, scripted=True))  # fmt: skip
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as more:
        more.writestr("a/code/__torch__.py", bytes(1 << 20))
    assert set(_reading.read(path).tensors) == {"a"}


def test_two_members_of_one_name_are_refused(tmp_path: Path):
    path = tmp_path / "x.pt"
    path.write_bytes(archive(PROTO + b"}."))
    with zipfile.ZipFile(path, "a") as more:
        more.writestr("b/data.pkl", PROTO + b"N.")
    with pytest.raises(CheckpointError, match=r"two members called data\.pkl"):
        _reading.read(path)


def changed_contents(data: bytes, change: Callable[[bytearray, int], None]) -> bytes:
    """The archive after a change of each entry in its table of contents."""
    out, at = bytearray(data), data.index(b"PK\x01\x02")
    while out[at : at + 4] == b"PK\x01\x02":
        change(out, at)
        at += 46 + sum(struct.unpack_from("<HHH", out, at + 28))
    return bytes(out)


def test_members_that_overlap_are_refused(tmp_path: Path):
    path = tmp_path / "x.pt"
    made = PROTO + b"}" + KEY + tensor(number(4), FLAT) + b"s."
    whole = archive(made, storages={"0": bytes(16)})

    def everything(out: bytearray, at: int) -> None:
        size = len(data) - 60
        struct.pack_into("<II", out, at + 20, size, size)

    def same_place(out: bytearray, at: int) -> None:
        struct.pack_into("<I", out, at + 42, 0)

    for change in (everything, same_place):
        data = whole
        path.write_bytes(changed_contents(data, change))
        with pytest.raises(CheckpointError, match="damaged: "):
            _reading.read(path)


def test_a_table_of_contents_without_an_end_is_refused(tmp_path: Path):
    data = bytearray(archive(PROTO + b"}."))
    entry = data[data.index(b"PK\x01\x02") : data.index(b"PK\x05\x06")]
    end = data[data.index(b"PK\x05\x06") :]
    table = entry * (1 + (6 << 20) // len(entry))
    struct.pack_into("<II", end, 12, len(table), data.index(b"PK\x01\x02"))
    (tmp_path / "x.pt").write_bytes(data[: data.index(b"PK\x01\x02")] + table + end)
    with pytest.raises(CheckpointError, match="table of contents beyond all reason"):
        _reading.read(tmp_path / "x.pt")


def holes(path: Path, count: int) -> None:
    """A file with so many numbers that are not on the disk."""
    shape = b"K\x00" + number(count) + b"\x85K\x01\x85"
    pickled, padding = PROTO + b"}" + KEY + tensor(number(count), shape) + b"s.", b""
    while (made := archive(pickled, storages={"pad": padding, "0": b"-hole-"})).index(
        b"-hole-"
    ) % 4:
        padding += b"x"  # torch puts numbers where they need not be moved
    at, table, end = made.index(b"-hole-"), made.index(b"PK\x01\x02"), made.index(b"PK\x05\x06")
    with path.open("wb") as stream:
        stream.write(made[:at])
        stream.seek(at + 4 * count)
        contents = bytearray(made[table:end])
        last = contents.rindex(b"PK\x01\x02")
        struct.pack_into("<II", contents, last + 20, 4 * count, 4 * count)
        stream.write(contents)
        closing = bytearray(made[end:])
        struct.pack_into("<I", closing, 16, at + 4 * count)
        stream.write(closing)


def test_numbers_stay_in_the_file_until_they_are_used(tmp_path: Path):
    holes(tmp_path / "x.pt", 60_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert _archives.read(tmp_path / "x.pt")["a"].shape == (60_000_000,)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_file_of_holes_is_refused(tmp_path: Path):
    holes(tmp_path / "x.pt", 1 << 28)
    with pytest.raises(CheckpointError, match="a file of holes"):
        _reading.read(tmp_path / "x.pt")


@pytest.mark.parametrize("size", [20, 1 << 40])
def test_a_legacy_file_with_fewer_numbers_than_it_says_is_refused(tmp_path: Path, size: int):
    made = PROTO + b"}" + KEY + tensor(number(size), FLAT) + b"s."
    (tmp_path / "x.pt").write_bytes(legacy(made))
    with pytest.raises(CheckpointError, match=r"damaged: (truncated|more numbers)"):
        _reading.read(tmp_path / "x.pt")
