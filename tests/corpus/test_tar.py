"""Format "tar" as other programs see it, and what a crafted archive can do."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import tarfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from tests.codes import strategies as some
from tests.corpus.samples import Corpus, corpora, item, small
from tests.examples import examples
from vqtok.codes import files
from vqtok.corpus import disk, items
from vqtok.corpus.items import Entry
from vqtok.corpus.reader import CorpusReader
from vqtok.errors import CodesError


def samples_of(folder: Path) -> list[dict[str, Any]]:
    shards = sorted(str(path) for path in folder.glob("shard-*.tar"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its files to the collector
        gc.freeze()  # what there is already need not be looked at
        found = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))
        gc.collect()
        gc.unfreeze()
    return found


@examples(15, many=100)
@given(corpus=corpora())
def test_webdataset_finds_every_item_whole(
    tmp_path_factory: pytest.TempPathFactory, corpus: Corpus
):
    folder = tmp_path_factory.mktemp("tar")
    corpus.write(folder, "tar")
    good = [n for n, result in enumerate(corpus.results) if not isinstance(result, str)]
    found = samples_of(folder) if good else []
    assert len({sample["__key__"] for sample in found}) == len(good)
    for number, sample in zip(good, found, strict=True):
        assert {key for key in sample if not key.startswith("__")} == {"npy", "json"}
        told = json.loads(sample["json"])
        assert (told["name"], told["number"]) == (corpus.names[number], number)
        codes, header = corpus.results[number]
        assert told["extent"] == list(header.extent)
        array = np.load(io.BytesIO(sample["npy"]), allow_pickle=False)
        assert array.size == codes.tokens
        if len(codes.levels) == 1:
            np.testing.assert_array_equal(array.reshape(codes.levels[0].shape), codes.levels[0])


def test_webdataset_decodes_the_arrays_itself(tmp_path: Path):
    codes, header = some.image()
    corpus = Corpus(codes.spec, ["cats.old/a.b.png"], [(codes, header)])
    corpus.write(tmp_path, "tar")
    (sample,) = samples_of(tmp_path)
    decoded = webdataset.autodecode.Decoder([])(sample)
    assert decoded["__key__"] == "cats.old/a_b"
    np.testing.assert_array_equal(decoded["npy"], codes.levels[0][0])
    assert decoded["json"]["model"] == "image-f8"


def test_members_are_plain_and_say_nothing_of_the_machine(tmp_path: Path):
    small().write(tmp_path, "tar")
    with tarfile.open(tmp_path / "shard-00000.tar") as archive:
        for member in archive:
            assert member.isreg()
            facts = (member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode)
            assert facts == (0, 0, 0, "", "", 0o644)


def put(archive: tarfile.TarFile, name: str, data: bytes, kind: bytes = tarfile.REGTYPE) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(data), kind, "/etc/passwd"
    archive.addfile(member, io.BytesIO(data))


def forge(folder: Path, members: list[tuple[Any, ...]], **format: Any) -> None:
    """Replace the only shard by these members, with an index that vouches for it."""
    with tarfile.open(folder / "shard-00000.tar", "w", **format) as archive:
        for member in members:
            put(archive, *member)
    vouch(folder)


def vouch(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    data = (folder / "shard-00000.tar").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    index["shards"][0]["extents"][0].update(bytes=len(data), sha256=digest)
    (folder / "index.json").write_text(json.dumps(index))


@pytest.fixture
def single(tmp_path: Path) -> tuple[Path, bytes, dict[str, Any]]:
    """A corpus of one item, and its two members."""
    corpus = Corpus(small().spec, ["a.png"], [item(small().spec, 1)])
    corpus.write(tmp_path, "tar")
    codes, header = item(small().spec, 1)
    whole = io.BytesIO()
    files.write(whole, codes, header, format="npy")
    return tmp_path, whole.getvalue(), items.label(Entry(0, "a.png", codes, header))


def as_json(label: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**label, **changes}).encode()


def test_what_is_forged_with_the_right_members_is_read(single):
    folder, npy, label = single
    forge(folder, [("a.npy", npy), ("a.json", as_json(label))])
    assert [entry.name for entry in CorpusReader(folder)] == ["a.png"]


@pytest.mark.parametrize(
    "name", ["../../evil.png", "/etc/passwd", "a/../../b", "", 7, None, "a\\b", "a\0b"]
)
def test_a_name_that_leads_elsewhere_is_never_handed_out(single, name: object):
    folder, npy, label = single
    forge(folder, [("a.npy", npy), ("a.json", as_json(label, name=name))])
    with pytest.raises(CodesError, match=r"shard-00000\.tar: unsafe name"):
        list(CorpusReader(folder))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_links_devices_and_folders_are_refused(single, kind: bytes):
    folder, _, label = single
    forge(folder, [("a.npy", b"", kind), ("a.json", as_json(label))])
    with pytest.raises(CodesError, match=r"shard-00000\.tar: unsafe member"):
        list(CorpusReader(folder))


def test_a_sparse_member_larger_than_the_archive_is_refused(single):
    folder, npy, label = single
    member = tarfile.TarInfo("a.npy")
    member.size = len(npy)
    member.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "0,1",
        "GNU.sparse.size": str(1 << 50),
    }
    with tarfile.open(folder / "shard-00000.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member, io.BytesIO(npy))
        put(archive, "a.json", as_json(label))
    vouch(folder)
    with pytest.raises(CodesError, match=r"shard-00000\.tar: unsafe member"):
        list(CorpusReader(folder))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE])
@pytest.mark.parametrize("size", [1 << 40, 1 << 62, (1 << 63) - 1, -1024, -(1 << 40)])
def test_a_size_beyond_the_shard_reserves_no_memory(single, kind: bytes, size: int, monkeypatch):
    folder, npy, label = single
    forge(folder, [("a.npy", npy), ("a.json", as_json(label))])
    lie = tarfile.TarInfo("a.npy")
    lie.type, lie.size = kind, size
    shard = folder / "shard-00000.tar"
    shard.write_bytes(lie.tobuf(tarfile.GNU_FORMAT) + shard.read_bytes())
    vouch(folder)
    asked: list[int] = []
    opened = disk.regular

    @contextmanager
    def watched(path: Path) -> Iterator[Any]:
        with opened(path) as stream:
            read = stream.read
            watch = SimpleNamespace(
                read=lambda size=-1: (asked.append(size), read(size))[1],
                seek=stream.seek, tell=stream.tell, fileno=stream.fileno,
            )  # fmt: skip
            yield watch if path == shard else stream

    monkeypatch.setattr(disk, "regular", watched)
    with pytest.raises(CodesError, match=r"shard-00000\.tar: "):
        list(CorpusReader(folder))
    largest = shard.stat().st_size
    assert asked and all(0 <= size <= max(largest, 1 << 20) for size in asked)


def test_a_pickled_array_is_not_loaded(single):
    folder, _, label = single
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    forge(folder, [("a.npy", pickled.getvalue()), ("a.json", as_json(label))])
    with pytest.raises(CodesError, match="an array of"):
        list(CorpusReader(folder))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "0 items found, 1 expected"),
        (["a.npy"], "not followed by its .json"),
        (["a.json", "a.npy"], "not followed by its .json"),
        (["a.npy", "b.json"], "not followed by its .json"),
        (["a.npy", "a.json", "b.npy", "b.json"], "out of order"),
    ],
)
def test_members_missing_or_out_of_order_are_told(single, members: list[str], message: str):
    folder, npy, label = single
    data = {"npy": npy, "json": as_json(label)}
    forge(folder, [(name, data[name.split(".")[1]]) for name in members])
    with pytest.raises(CodesError, match=message):
        list(CorpusReader(folder))


def test_an_item_of_another_model_is_refused(single):
    folder, npy, label = single
    other = as_json(label, fingerprint="ffffffffffffffff")
    forge(folder, [("a.npy", npy), ("a.json", other)])
    with pytest.raises(CodesError, match="another model"):
        list(CorpusReader(folder))


@given(data=st.data())
def test_an_archive_damaged_with_a_matching_checksum_is_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    folder = tmp_path_factory.mktemp("damaged")
    corpus = small(count=3)
    corpus.write(folder, "tar")
    path = folder / "shard-00000.tar"
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, 3 * 2 * 1024))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    vouch(folder)
    try:
        list(CorpusReader(folder))
    except CodesError as error:
        assert "shard-00000.tar: " in str(error)
