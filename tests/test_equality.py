"""The same file and the same shipped model give the same codes, whichever way they are made.

Every way is held against one: the file by itself, whole, with one thread.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import vqtok
from tests.examples import in_turn
from vqtok.backends.torch_backend import coder
from vqtok.checkpoints import directory
from vqtok.codes import files
from vqtok.corpus.formats import FORMATS
from vqtok.corpus.reader import CorpusReader
from vqtok.corpus.writer import CorpusWriter
from vqtok.media import audio, image
from vqtok.media.items import items_of
from vqtok.media.plan import Job
from vqtok.pipeline.corpus import CorpusOptions, encode_corpus, job_of, local_engine, spec_of
from vqtok.pipeline.encode import EncodeOptions, encode
from vqtok.tokenizers import codec
from vqtok.tokenizers.exact import tiling2d

DATA = Path(__file__).parent / "data"
MODELS = Path(__file__).parent.parent / "models"
NAMES = {"image": "image-f8", "audio": "audio-24k"}
SIZES = {
    "few": [(131, 257), (64, 64), (64, 64), (9, 1), (40, 72)],
    "all": [(256, 384), (131, 257), (64, 64), (64, 64), (200, 40), (9, 1), (120, 264), (131, 257)],
}
SECONDS = {
    "few": [2.0, 0.4, 0.4, 0.01, 1.37],
    "all": [11.3, 2.0, 0.4, 2.0, 1.37, 0.01, 3.21, 0.4],
}
CHUNKS = {"image": (48, 64, 104, 160, 256), "audio": (3, 40, 75, 200, 599)}
"""Pixels or frames per tile: none of them is the usual one."""


@pytest.fixture(scope="module", params=["image", "audio"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["few", pytest.param("all", marks=pytest.mark.slow)])
def scale(request: pytest.FixtureRequest) -> str:
    """How many files, and how large: "all" are larger than a tile of the usual size."""
    return str(request.param)


@pytest.fixture(scope="module")
def model(kind: str) -> Any:
    return vqtok.load(MODELS / NAMES[kind])


@pytest.fixture(scope="module")
def folder(kind: str, scale: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pieces of a real photo or of real speech, of many sizes, some of them equal."""
    target = tmp_path_factory.mktemp("media") / kind
    target.mkdir()
    if kind == "image":
        photo = Image.open(DATA / "photo.png").convert("RGB")
        for i, (height, width) in enumerate(SIZES[scale]):
            left, top = 31 * i % (photo.width - width), 17 * i % (photo.height - height)
            photo.crop((left, top, left + width, top + height)).save(target / f"{i}.png")
        return target
    speech, rate = soundfile.read(DATA / "speech.wav", dtype="float32")
    long = np.tile(speech, 4)
    for i, seconds in enumerate(SECONDS[scale]):
        part = long[1000 * i :][: round(seconds * rate)] * (1 - i / 10)
        soundfile.write(target / f"{i}.wav", part, rate, subtype="PCM_16")
    return target


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def codes_of(target: Path | io.BytesIO) -> np.ndarray:
    codes, _ = files.read(target)
    return codes.levels[0]


def by_the_pipeline(model: Any, source: Path | None, *, kind: str, **streams: Any) -> np.ndarray:
    out = io.BytesIO()
    options = EncodeOptions(format="safetensors")
    job = Job(source, None, kind)  # type: ignore[arg-type]
    (done,) = encode(
        [job], coder_for=lambda kind: coder(model), options=options, stdout=out, **streams
    )
    assert done.to_json().get("error") is None
    out.seek(0)
    return codes_of(out)


@pytest.fixture(scope="module")
def expected(kind: str, model: Any, folder: Path) -> list[np.ndarray]:
    with threads(1):
        return [by_the_pipeline(model, path, kind=kind) for path in sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def signals(kind: str, folder: Path) -> list[torch.Tensor]:
    read: dict[str, Callable[[Path], Any]] = {
        "image": image.read,
        "audio": lambda path: audio.read(path, rate=24000),
    }
    return [torch.from_numpy(read[kind](path)[0]) for path in sorted(folder.iterdir())]


def check(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_batches_and_threads(
    count: int, batch: int, model: Any, signals: list[torch.Tensor], expected: list[np.ndarray]
) -> None:
    found = []
    with threads(count):
        for start in range(0, len(signals), batch):
            found += model.encode_many(signals[start : start + batch])
    check([codes.numpy().levels[0] for codes in found], expected)


@pytest.mark.parametrize(("chunk", "count"), in_turn(range(5), (1, 2)))
def test_tiles_of_five_sizes(
    chunk: int,
    count: int,
    kind: str,
    model: Any,
    signals: list[torch.Tensor],
    expected: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr({"image": tiling2d, "audio": codec}[kind], "TILE", CHUNKS[kind][chunk])
    with threads(count):
        found = [model.encode(x[None]).numpy().levels[0] for x in signals]
    check(found, expected)


@pytest.mark.parametrize("size", [7, 320, 7001, 24000, 65536])
def test_samples_that_arrive_in_blocks_of_five_sizes(
    size: int, kind: str, model: Any, signals: list[torch.Tensor], expected: list[np.ndarray]
) -> None:
    if kind == "image":
        pytest.skip("an image arrives whole")
    found = []
    for x in signals:
        pieces = list(model.encode_stream(x[None].split(size, dim=-1)))
        found.append(torch.cat(pieces, dim=-1).numpy())
    check(found, expected)


class Dripping(io.RawIOBase):
    """A pipe that hands out at most so many bytes at a time, and cannot be wound back."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._size = io.BytesIO(data), size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._data.read(min(self._size, len(buffer)))
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize("size", [1, 2, 61, 4096, 65536])
def test_a_pipe_fed_so_many_bytes_at_a_time(
    size: int, kind: str, model: Any, folder: Path, expected: list[np.ndarray]
) -> None:
    found = []
    for path in sorted(folder.iterdir()):
        stdin = io.BufferedReader(Dripping(path.read_bytes(), size), 16)
        found.append(by_the_pipeline(model, None, kind=kind, stdin=stdin))
    check(found, expected)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("format", "count"), in_turn(FORMATS, (1, 2)))
def test_a_corpus_of_files_or_of_a_tar(
    format: str,
    count: int,
    packed: bool,
    kind: str,
    model: Any,
    folder: Path,
    expected: list[np.ndarray],
    tmp_path: Path,
) -> None:
    source = folder
    if packed:
        source = tmp_path / "media.tar"
        with tarfile.open(source, "w") as archive:
            for path in sorted(folder.iterdir()):
                archive.add(path, path.name)
    items = items_of([str(source)], (kind,))  # type: ignore[arg-type]
    options, info = CorpusOptions(), directory.describe(MODELS / NAMES[kind])
    with CorpusWriter(
        tmp_path / "corpus",
        format=format,
        names=[item.name for item in items],
        spec=spec_of(info, options),
        job=job_of(info, options),
        shard_items=3,
    ) as writer:
        engine = local_engine(coder(model), options, threads=count)
        list(encode_corpus(items, writer, engine, folder=tmp_path / "corpus"))
        writer.finish()
    check([entry.codes.levels[0] for entry in CorpusReader(tmp_path / "corpus")], expected)


def test_the_shipped_models_promise_it(model: Any) -> None:
    assert model.exact
