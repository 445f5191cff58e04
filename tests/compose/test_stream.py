"""Streams: every code and text comes back, whatever the output, and killed runs end the same."""

from __future__ import annotations

import gc
import io
import itertools
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.compose import streams, words
from tests.compose.streams import (
    SPECS,
    assert_holds,
    captions,
    corpus,
    expected,
    text_of,
    write,
)
from tests.corpus.samples import contents
from tests.corpus.test_interruption import Killed, killed_at
from tests.programs import LIMIT_S, environment
from vqtok.compose.learning import MergeRecipe, learn_merges
from vqtok.compose.merges import FILE, MergesFile
from vqtok.compose.outputs import OUTPUTS
from vqtok.compose.reader import StreamReader
from vqtok.compose.stream import Choices, rehearse
from vqtok.corpus.formats import FORMATS
from vqtok.corpus.reader import CorpusReader
from vqtok.corpus.writer import CorpusWriter
from vqtok.errors import UsageError, VqtokError
from vqtok.pipeline.compose import Request, prepare

fresh = itertools.count()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpora, captions and a tokenizer of text."""
    return streams.lay(tmp_path_factory.mktemp("streams"))


def both(place: Path, **options: object) -> Request:
    chosen = {"text": str(place / "captions.jsonl"), "tokenizer": place / "tokenizer.json"}
    return Request((place / "image", place / "audio"), **{**chosen, **options})  # type: ignore[arg-type]


def merges_of(folder: Path, *corpora: Path) -> Path:
    """Merges of corpora, of pairs that are there at all."""
    found = learn_merges([CorpusReader(each) for each in corpora], MergeRecipe(min_count=1))
    folder.mkdir()
    (folder / FILE).write_bytes(MergesFile.of(found, {}).data)
    return folder


ALL = {**expected(SPECS["image"]), **expected(SPECS["audio"])}


@pytest.mark.parametrize("format", sorted(OUTPUTS))
@pytest.mark.parametrize("pack", [None, 7, 4096])
@pytest.mark.parametrize("shuffle", [None, 3])
@pytest.mark.parametrize("split", [0.0, 0.3])
def test_every_code_and_text_comes_back(
    place: Path, format: str, pack: int | None, shuffle: int | None, split: float
):
    folder = place / str(next(fresh))
    totals, prepared = write(folder, both(place), Choices(format, pack, shuffle, split))
    reader = assert_holds(folder, ALL, texts=True)
    assert totals.documents == 12 and totals.unused == 2  # those of the items that failed
    assert sum(reader.info.splits.values()) == 12
    assert list(reader.info.splits) == (["train", "validation"] if split else ["tokens"])
    ids = np.concatenate([each.ids for each in reader.documents()])
    assert ids.min() >= 0 and ids.max() < prepared.vocabulary.size
    assert len(ids) == totals.tokens == sum(totals.kinds.values())
    plain = place / str(next(fresh))
    write(plain, both(place))
    order = [each.ids.tolist() for each in reader.documents()]
    straight = [each.ids.tolist() for each in StreamReader(plain).documents()]
    assert sorted(order) == sorted(straight)
    assert (order == straight) == (shuffle is None and not split)


@pytest.mark.parametrize("mode", ["codes", "text-to-codes", "codes-to-text"])
@pytest.mark.parametrize("format", FORMATS)
def test_corpora_of_every_format_become_the_same_stream(tmp_path: Path, format: str, mode: str):
    carried = format != "bin"
    streams.lay(tmp_path, format=format, carried=carried, shard_items=4)
    own = {"text": None} if carried else {}
    if mode == "codes":
        own = {"text": None, "tokenizer": None}
    write(tmp_path / "out", both(tmp_path, mode=mode, layout="rows", **own))
    reader = assert_holds(tmp_path / "out", ALL, texts=mode != "codes")
    order = ["text", "codes"] if mode == "text-to-codes" else ["codes", "text"]
    for document in reader.documents():
        kinds = ["text" if part.kind == "text" else "codes" for part in document.listed.parts]
        assert kinds == (["codes"] if mode == "codes" else order)


def test_images_alone_become_what_format_bin_writes(place: Path):
    folder = place / str(next(fresh))
    write(folder, Request((place / "image",)))
    for name in ("tokens.bin", "tokens.idx"):
        assert (folder / name).read_bytes() == (place / "image" / name).read_bytes()
    write(place / "sound", Request((place / "audio",)))
    assert (place / "sound/tokens.bin").read_bytes() == (place / "audio/tokens.bin").read_bytes()


def megatron(path: Path) -> list[np.ndarray]:
    """Megatron's ``IndexedDataset``, read as its format is documented."""
    data = path.with_suffix(".idx").read_bytes()
    assert data[:9] == b"MMIDIDX\0\0"
    version, code, sequences, documents = struct.unpack_from("<QBQQ", data, 9)
    assert version == 1
    dtype = {8: np.uint16, 4: np.int32}[code]
    at = 9 + struct.calcsize("<QBQQ")
    lengths = np.frombuffer(data, "<i4", sequences, at)
    pointers = np.frombuffer(data, "<i8", sequences, at + 4 * sequences)
    ends = np.frombuffer(data, "<i8", documents, at + 12 * sequences)
    assert len(data) == at + 12 * sequences + 8 * documents
    assert ends.tolist() == list(range(sequences + 1))
    if not path.stat().st_size:  # which no program maps
        return []
    flat = np.memmap(path, dtype=dtype, mode="r")
    starts = pointers // np.dtype(dtype).itemsize
    return [flat[s : s + n] for s, n in zip(starts, lengths, strict=True)]


@pytest.mark.parametrize("pack", [None, 32])
def test_bin_is_read_as_megatron_does_and_packs_are_full(place: Path, pack: int | None):
    folder = place / str(next(fresh))
    totals, _ = write(folder, both(place), Choices(pack=pack, shuffle=1))
    found = megatron(folder / "tokens.bin")
    whole = np.concatenate(found)
    documents = [each.ids for each in StreamReader(folder).documents()]
    np.testing.assert_array_equal(whole, np.concatenate(documents))
    if pack is None:
        assert [len(each) for each in found] == [len(each) for each in documents]
        return
    assert all(len(each) == pack for each in found[:-1]) and 0 < len(found[-1]) <= pack
    starts = np.load(folder / "tokens.boundaries.npy")
    lengths = np.diff([*starts, totals.tokens])
    assert lengths.tolist() == [len(each) for each in documents]


def test_tar_is_read_by_webdataset(place: Path):
    webdataset = pytest.importorskip("webdataset")
    folder = place / str(next(fresh))
    write(folder, both(place), Choices("tar"))
    paths = [str(path) for path in sorted(folder.glob("*.tar"))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves shards open
        found = list(webdataset.WebDataset(paths, shardshuffle=False, empty_check=False))
        gc.collect()
    documents = list(StreamReader(folder).documents())
    assert len(found) == len(documents) == 12
    for sample, document in zip(found, documents, strict=True):
        np.testing.assert_array_equal(np.load(io.BytesIO(sample["npy"])), document.ids)
        assert len(json.loads(sample["json"])["documents"]) == 1


@pytest.mark.parametrize("pack", [None, 50])
def test_parquet_has_ids_runs_and_sources_that_agree(place: Path, pack: int | None):
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = place / str(next(fresh))
    _, prepared = write(folder, both(place), Choices("parquet", pack=pack))
    rows = parquet.read_table(folder / "tokens-00000.parquet").to_pylist()
    vocabulary = prepared.vocabulary
    names = {own.spec.modality: n for n, own in enumerate(vocabulary.tokenizers)}
    seen: dict[str, int] = {}
    for row in rows:
        ids, runs = np.array(row["input_ids"]), row["modality"]
        assert [run["start"] for run in runs[1:]] == [
            run["start"] + run["length"] for run in runs[:-1]
        ]
        assert runs[0]["start"] == 0 and sum(run["length"] for run in runs) == len(ids)
        for run in runs:
            kinds = vocabulary.kinds(ids[run["start"] : run["start"] + run["length"]])
            allowed = {"text": {-1}, "special": {-2}}.get(run["kind"])
            assert set(kinds.tolist()) <= (allowed or {names.get(run["kind"]), -2})
        for source in row["sources"]:
            seen[source["file"]] = seen.get(source["file"], 0) + source["length"]
    blocks = {
        part.source["name"]: part.tokens
        for document in StreamReader(folder).documents()
        for part in document.listed.parts
        if part.source
    }
    assert seen == blocks


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_tables_are_read_by_datasets(place: Path, tmp_path: Path, format: str):
    import datasets

    folder = place / str(next(fresh))
    write(folder, both(place), Choices(format, split=0.3))
    files = {name: str(folder / f"{name}-*.{format}") for name in ("train", "validation")}
    found = datasets.load_dataset(format, data_files=files, cache_dir=str(tmp_path))
    ids = [row["input_ids"] for name in files for row in found[name]]
    assert ids == [each.ids.tolist() for each in StreamReader(folder).documents()]
    if format == "arrow":  # without a copy, too
        mapped = datasets.Dataset.from_file(str(folder / "train-00000.arrow"))
        assert mapped["input_ids"][:] == found["train"]["input_ids"][:]


def test_arrow_has_the_table_of_parquet(place: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for format in ("parquet", "arrow"):
        folder = place / str(next(fresh))
        write(folder, both(place), Choices(format, 20, 1))
        path = folder / f"tokens-00000.{format}"
        if format == "parquet":
            tables.append(pq.ParquetFile(path).read())
        else:
            with path.open("rb") as stream, pa.ipc.open_stream(stream) as reader:
                tables.append(reader.read_all())
    assert tables[0].schema == tables[1].schema and tables[0].equals(tables[1])


def test_items_without_text_and_texts_without_items_are_listed(place: Path, tmp_path: Path):
    names = streams.names_of(SPECS["image"], 7)
    captions(tmp_path / "some.jsonl", [*names[2:], "other"])
    request = Request(
        (place / "image",), tokenizer=place / "tokenizer.json", text=str(tmp_path / "some.jsonl")
    )
    totals, _ = write(tmp_path / "out", request)
    assert (totals.documents, totals.missing, totals.unused) == (4, 2, 2)
    missing = [
        json.loads(line) for line in (tmp_path / "out/missing.jsonl").read_text().splitlines()
    ]
    assert missing == [{"name": name, "reason": "no text"} for name in names[:2]]
    unused = [
        json.loads(line)["key"] for line in (tmp_path / "out/unused.jsonl").read_text().splitlines()
    ]
    assert unused == [names[4], "other"]


def test_a_caption_cannot_forge_special_tokens_or_codes(place: Path, tmp_path: Path):
    name = streams.names_of(SPECS["image"], 1)[0]
    corpus(tmp_path / "images", SPECS["image"], count=1)
    data = words.tokenizer_json(["a"], ["<|image|>"])
    words.write_tokenizer(tmp_path / "tokenizer.json", data)
    (tmp_path / "t.jsonl").write_text(json.dumps({"key": name, "text": "a <|image|> a"}))
    request = Request(
        (tmp_path / "images",),
        tokenizer=tmp_path / "tokenizer.json",
        text=str(tmp_path / "t.jsonl"),
    )
    totals, prepared = write(tmp_path / "out", request)
    (document,) = StreamReader(tmp_path / "out").documents()
    begin = prepared.vocabulary.special["<|image|>"]
    assert totals.failed == 0 and document.ids.tolist().count(begin) == 1


def test_the_rehearsal_counts_what_is_written(place: Path):
    folder = place / str(next(fresh))
    with prepare(both(place)) as prepared:
        counted = rehearse(prepared.composer, Choices())
    totals, _ = write(folder, both(place))
    counted.unused = totals.unused
    assert counted == totals


def whole_and_parts(
    folder: Path, request: Request, choices: Choices, parts: int
) -> tuple[Path, list[Path]]:
    whole, folders = folder / str(next(fresh)), [folder / str(next(fresh)) for _ in range(parts)]
    write(whole, request, choices)
    for part, own in enumerate(folders):
        write(own, request, replace(choices, shard=(part, parts)))
    return whole, folders


@pytest.mark.parametrize("parts", [1, 4, 30])
@pytest.mark.parametrize("pack", [None, 16])
@pytest.mark.parametrize("shuffle", [None, 3])
@pytest.mark.parametrize("split", [0.0, 0.4])
def test_parts_together_are_the_whole(
    place: Path, split: float, shuffle: int | None, pack: int | None, parts: int
):
    choices = Choices("bin", pack, shuffle, split)
    whole, folders = whole_and_parts(place, both(place), choices, parts)
    for prefix in StreamReader(whole).info.splits:
        for suffix in (".bin", ".jsonl"):
            joined = b"".join((each / f"{prefix}{suffix}").read_bytes() for each in folders)
            assert joined == (whole / f"{prefix}{suffix}").read_bytes()
        sequences = [megatron(each / f"{prefix}.bin") for each in folders]
        straight = megatron(whole / f"{prefix}.bin")
        if pack is None:
            found = [ids.tolist() for part in sequences for ids in part]
            assert found == [ids.tolist() for ids in straight]
            continue
        for part, folder in zip(sequences, folders, strict=True):  # only its last may be shorter
            assert all(len(ids) == pack for ids in part[:-1])
            starts = np.load(folder / f"{prefix}.boundaries.npy")
            own = list(map(json.loads, (folder / f"{prefix}.jsonl").read_text().splitlines()))
            assert np.diff([*starts, sum(map(len, part))]).tolist() == [
                each["tokens"] for each in own
            ]


@pytest.mark.parametrize("shuffle", [None, 5])
def test_parts_list_each_item_without_text_once(place: Path, tmp_path: Path, shuffle: int | None):
    names = streams.names_of(SPECS["image"], 7)
    captions(tmp_path / "some.jsonl", [*names[1:3], names[6]])
    request = Request(
        (place / "image",), tokenizer=place / "tokenizer.json", text=str(tmp_path / "some.jsonl")
    )
    whole, folders = whole_and_parts(tmp_path, request, Choices("bin", None, shuffle, 0.3), 3)
    found = [each / "missing.jsonl" for each in folders if (each / "missing.jsonl").exists()]
    lines = sorted(line for each in found for line in each.read_bytes().splitlines())
    assert lines == sorted((whole / "missing.jsonl").read_bytes().splitlines()) and len(lines) == 3
    joined = b"".join((each / "train.bin").read_bytes() for each in folders)
    assert joined == (whole / "train.bin").read_bytes()


def test_written_documents_have_parts_too(place: Path, tmp_path: Path):
    names = streams.names_of(SPECS["image"], 4)
    rows = [{"document": [str(number), {"image": names[number % 4]}]} for number in range(1203)]
    rows[7] = {"document": [{"image": "none"}]}
    (tmp_path / "d.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    request = both(place, text=None, documents=tmp_path / "d.jsonl")
    for shuffle in (None, 2):
        choices = Choices("bin", None, shuffle, 0.1)
        whole, folders = whole_and_parts(tmp_path, request, choices, 5)
        for prefix in ("train", "validation"):
            joined = b"".join((each / f"{prefix}.bin").read_bytes() for each in folders)
            assert joined == (whole / f"{prefix}.bin").read_bytes()
        assert sum(each.stat().st_size > 0 for each in tmp_path.glob("*/train.bin")) >= 3


def test_the_rehearsal_of_a_part_counts_what_it_writes(place: Path):
    choices = Choices(shuffle=4, shard=(1, 3))
    with prepare(both(place)) as prepared:
        counted = rehearse(prepared.composer, choices)
    totals, _ = write(place / str(next(fresh)), both(place), choices)
    assert counted == totals and 0 < totals.documents < 12


@pytest.mark.parametrize("choices", [Choices(), Choices("bin", 8, 1, 0.5), Choices("tar")])
@pytest.mark.parametrize("numbers", [(), (4,)])
def test_a_corpus_without_codes_becomes_a_stream_without_documents(
    tmp_path: Path, choices: Choices, numbers: tuple[int, ...]
):
    streams.empty(tmp_path / "none", SPECS["image"], numbers)
    totals, _ = write(tmp_path / "out", Request((tmp_path / "none",)), choices)
    assert (totals.documents, totals.tokens) == (0, 0)
    assert list(StreamReader(tmp_path / "out").documents()) == []


def test_another_job_is_refused_and_f_starts_over(place: Path):
    folder = place / str(next(fresh))
    write(folder, both(place))
    before = contents(folder)
    write(folder, both(place))  # complete already
    with pytest.raises(UsageError, match="composed otherwise: choices"):
        write(folder, both(place), Choices(pack=8))
    assert contents(folder) == before
    (folder / "notes.txt").write_text("mine")
    write(folder, both(place), Choices("tar"), restart=True)
    assert sorted(contents(folder)) == [
        "index.json", "notes.txt", "tokenizer.json", "tokens-00000.tar", "unused.jsonl",
        "vocabulary.json",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="holds a corpus"):
        write(place / "image", both(place), restart=True)
    with pytest.raises(UsageError, match="neither empty nor a stream"):
        write(place, both(place))


@pytest.mark.parametrize("file", ["tokens.bin", "tokens.jsonl", "vocabulary.json"])
def test_damage_is_refused_by_the_name_of_the_file(place: Path, file: str):
    folder = place / str(next(fresh))
    write(folder, both(place))
    data = bytearray((folder / file).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / file).write_bytes(data)
    with pytest.raises(VqtokError, match=file):
        StreamReader(folder).check()


KINDS = {
    "bin": Choices(),
    "packed": Choices("bin", 9, 1, 0.4),
    "tar": Choices("tar", None, 2),
    "merged": Choices("bin", 9, 1),
    "arrow": Choices("arrow", None, 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_killed_at_any_step_it_goes_on_to_the_same_bytes(place: Path, kind: str):
    choices, whole, request = KINDS[kind], place / str(next(fresh)), both(place)
    if kind == "merged":
        merges = merges_of(place / str(next(fresh)), place / "image", place / "audio")
        request = both(place, merges=merges)
    with killed_at(10**9) as taken:
        write(whole, request, choices)
    expected, steps = contents(whole), taken[0]
    assert steps > 50
    for step in range(steps):
        folder = place / str(next(fresh))
        for limit in (step, 20):
            with killed_at(limit), suppress(Killed):
                write(folder, request, choices)
        write(folder, request, choices)
        assert contents(folder) == expected, f"killed at step {step}"


@pytest.mark.slow
@pytest.mark.parametrize("was_complete", [True, False])
def test_killed_while_starting_over_it_ends_in_the_new_stream_alone(
    place: Path, was_complete: bool
):
    old, new, whole = Choices("tar"), Choices("bin", 9), place / str(next(fresh))
    write(whole, both(place), new)
    for step in itertools.count():
        folder = place / str(next(fresh))
        if was_complete:
            write(folder, both(place), old)
            (folder / "notes.txt").write_text("mine")
        else:
            with killed_at(40), suppress(Killed):
                write(folder, both(place), old)
        finished = False
        with killed_at(step), suppress(Killed):
            write(folder, both(place), new, restart=True)
            finished = True
        write(folder, both(place), new, restart=True)
        notes = {"notes.txt": b"mine"} if was_complete else {}
        assert contents(folder) == {**contents(whole), **notes}, f"killed at step {step}"
        if finished:
            return


@pytest.mark.slow
@pytest.mark.parametrize("merged", [False, True])
def test_killed_with_9_at_twenty_random_moments_it_ends_in_the_same_bytes(
    place: Path, tmp_path: Path, merged: bool
):
    spec = SPECS["image"]
    corpus(tmp_path / "many", spec, count=120, shard_items=2)
    captions(tmp_path / "captions.jsonl", streams.names_of(spec, 120))
    request = Request(
        (tmp_path / "many",),
        tokenizer=place / "tokenizer.json",
        text=str(tmp_path / "captions.jsonl"),
        merges=merges_of(tmp_path / "merges", tmp_path / "many") if merged else None,
    )
    write(tmp_path / "whole", request, Choices(pack=64, shuffle=5))
    program = (
        "import sys; from pathlib import Path; from tests.compose.streams import write\n"
        "from vqtok.compose.stream import Choices; from vqtok.pipeline.compose import Request\n"
        "many, tokenizer, text, out, *merges = sys.argv[1:]\n"
        "found = Path(merges[0]) if merges else None\n"
        "request = Request((Path(many),), tokenizer=Path(tokenizer), text=text, merges=found)\n"
        "print('ready', flush=True)\n"
        "write(Path(out), request, Choices(pack=64, shuffle=5))\n"
    )
    arguments = [str(tmp_path / "many"), str(place / "tokenizer.json"), str(request.text)]
    command = [sys.executable, "-c", program, *arguments, str(tmp_path / "out")]
    command += [str(request.merges)] if merged else []
    chance = random.Random(0)
    for _ in range(20):
        with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.random() * 0.3)
            os.kill(process.pid, signal.SIGKILL)
            process.wait(LIMIT_S)
    write(tmp_path / "out", request, Choices(pack=64, shuffle=5))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("beside", [False, True])
def test_texts_that_are_empty_or_not_utf_8_cost_their_items_alone(
    place: Path, tmp_path: Path, beside: bool
):
    names = streams.names_of(SPECS["image"], 7)
    texts = {name: text_of(name).encode() for name in names}
    texts |= {names[1]: b"", names[2]: b" \n", names[3]: b"caf\xe9"}
    with CorpusWriter(
        tmp_path / "c", format="tar", names=names, spec=SPECS["image"], job={}, carry=("txt",)
    ) as writer:
        for number, (name, text) in enumerate(texts.items()):
            path = tmp_path / "texts" / Path(name).with_suffix(".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
            writer.add(number, *streams.item_of(SPECS["image"], number), {"txt": text})
        writer.finish()
    request = Request(
        (tmp_path / "c",),
        tokenizer=place / "tokenizer.json",
        text=str(tmp_path / "texts") if beside else None,
    )
    totals, _ = write(tmp_path / "out", request)
    assert (totals.documents, totals.missing, totals.failed) == (4, 2, 1)
    missing, failed = (
        list(map(json.loads, (tmp_path / f"out/{name}.jsonl").read_text().splitlines()))
        for name in ("missing", "failed")
    )
    assert missing == [{"name": names[n], "reason": "its text is empty"} for n in (1, 2)]
    assert failed == [{"name": names[3], "reason": "its text is not UTF-8"}]
