"""A corpus job gives each item the codes that it has alone, whatever it is coded with."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.pipeline.ledger import Ledger, pictures, recordings
from vqtok.backends.torch_backend import coder
from vqtok.checkpoints import directory
from vqtok.codes import files
from vqtok.errors import UsageError
from vqtok.media.items import Item, items_of
from vqtok.media.plan import Job
from vqtok.pipeline import corpus, signals
from vqtok.pipeline.corpus import CorpusOptions, encode_corpus, job_of, local_engine, spec_of
from vqtok.pipeline.encode import EncodeOptions, encode
from vqtok.pipeline.results import Done, Failed
from vqtok.pipeline.workers import Timing


@pytest.fixture
def tokenizers(shelf: Path) -> dict[str, Any]:
    return {
        "image": directory.load(shelf / "image-f8"),
        "audio": directory.load(shelf / "audio-24k"),
    }


def run(
    items: list[Item], tokenizer: Any, options: CorpusOptions | None = None, **engine: Any
) -> tuple[Ledger, list[Done | Failed]]:
    ledger = Ledger(len(items))
    made = local_engine(coder(tokenizer), options or CorpusOptions(), **engine)
    return ledger, list(encode_corpus(items, ledger, made, folder=Path("corpus")))  # type: ignore


def alone(path: Path, tokenizer: Any, **options: Any) -> bytes:
    """What ``vqtok encode FILE`` writes."""
    target = path.with_name(f"{path.stem}.alone.safetensors")
    job = Job(path, target, "image" if path.suffix == ".png" else "audio")
    (done,) = encode(
        [job], coder_for=lambda kind: coder(tokenizer), options=EncodeOptions(**options)
    )
    assert isinstance(done, Done)
    return target.read_bytes()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("kind", ["image", "audio"])
def test_codes_and_headers_are_those_of_the_files_alone(kind, threads, tmp_path, tokenizers):
    make = {"image": pictures, "audio": recordings}[kind]
    make(tmp_path / "d", 20)
    items = items_of([str(tmp_path / "d")], (kind,))
    ledger, results = run(items, tokenizers[kind], readers=3, threads=threads)
    assert len(results) == 20 and not ledger.reasons
    for number, item in enumerate(items):
        assert ledger.codes[number] == alone(tmp_path / "d" / item.name, tokenizers[kind])


def test_batches_and_bounds_change_nothing(tmp_path, tokenizers, monkeypatch):
    pictures(tmp_path / "d", 25)
    items = items_of([str(tmp_path / "d")], ("image",))
    found = []
    for batch, waiting in ((1, 1), (3 * 24 * 40 * 4, 3 * 24 * 40 * 9), (1 << 21, 1 << 25)):
        monkeypatch.setattr(corpus, "BATCH", batch)
        monkeypatch.setattr(corpus, "WAITING", waiting)
        found.append(run(items, tokenizers["image"], threads=2)[0].codes)
    assert found[0] == found[1] == found[2]


def test_long_recordings_are_streamed_and_coded_the_same(tmp_path, tokenizers, monkeypatch):
    recordings(tmp_path / "d", 6)
    items = items_of([str(tmp_path / "d")], ("audio",))
    short = run(items, tokenizers["audio"])[0]
    monkeypatch.setattr(signals, "LONG_S", 0.5)
    lengths = [signals.read(0, item, signals.Reading("audio", 8000)).alone for item in items]
    assert 0 < sum(lengths) < 6
    assert run(items, tokenizers["audio"])[0].codes == short.codes


def test_large_pictures_are_read_in_windows_and_coded_the_same(tmp_path, tokenizers, monkeypatch):
    pictures(tmp_path / "d", 8)
    items = items_of([str(tmp_path / "d")], ("image",))
    whole = run(items, tokenizers["image"])[0]
    monkeypatch.setattr(signals, "LARGE", 24 * 40 - 1)
    alone = [signals.read(0, item, signals.Reading("image")).alone for item in items]
    assert sum(alone) >= 5
    assert run(items, tokenizers["image"])[0].codes == whole.codes
    monkeypatch.setattr(signals, "LARGE", 10)
    refused = run(items, tokenizers["image"], CorpusOptions(max_pixels=24 * 40 - 1))[0]
    assert sum("more than the limit" in why for why in refused.reasons.values()) >= 5


def test_a_tar_gives_what_its_files_give(tmp_path, tokenizers):
    pictures(tmp_path / "d", 12)
    with tarfile.open(tmp_path / "d.tar", "w") as archive:
        for path in sorted((tmp_path / "d").iterdir()):
            archive.add(path, path.name)
    (tmp_path / "list.txt").write_text(
        "".join(f"{p}\n" for p in sorted((tmp_path / "d").iterdir()))
    )
    ways = [str(tmp_path / "d"), str(tmp_path / "d.tar"), f"@{tmp_path / 'list.txt'}"]
    ledgers = [run(items_of([way], ("image",)), tokenizers["image"])[0] for way in ways]
    assert len(ledgers[0].codes) == 12
    assert ledgers[0].codes == ledgers[1].codes == ledgers[2].codes


def test_failures_are_recorded_with_reasons_and_the_rest_go_on(tmp_path, tokenizers):
    pictures(tmp_path / "d", 6)
    recordings(tmp_path / "d", 1)
    (tmp_path / "d" / "bad.png").write_bytes(b"no picture")
    whole = (tmp_path / "d" / "001.png").read_bytes()
    (tmp_path / "d" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "d" / "empty.png").touch()
    items = items_of([str(tmp_path / "d"), str(tmp_path / "none.png")], ("image", "audio"))
    ledger, results = run(items, tokenizers["image"])
    by_name = {Path(items[n].name).name: reason for n, reason in ledger.reasons.items()}
    assert sorted(by_name) == ["000.wav", "bad.png", "cut.png", "empty.png", "none.png"]
    assert by_name["000.wav"] == "audio, expected image"
    assert by_name["bad.png"] == "not an image that vqtok reads"
    assert "truncated" in by_name["cut.png"]
    assert by_name["empty.png"] == "empty file"
    assert by_name["none.png"] == "cannot read: no such file or directory"
    assert not any(str(tmp_path) in reason for reason in by_name.values())
    assert len(ledger.codes) == 6 and len(results) == len(items)
    assert sum(isinstance(result, Failed) for result in results) == 5


def test_an_item_that_the_model_cannot_take_fails_alone(tmp_path, tokenizers, monkeypatch):
    pictures(tmp_path / "d", 9)
    items = items_of([str(tmp_path / "d")], ("image",))
    whole = run(items, tokenizers["image"])[0]
    real = type(tokenizers["image"]).encode_many

    def picky(self: Any, xs: Any) -> Any:
        if any(x.shape[-2:] != (24, 40) for x in xs):
            raise RuntimeError("not this one")
        return real(self, xs)

    monkeypatch.setattr(type(tokenizers["image"]), "encode_many", picky)
    ledger, _ = run(items, tokenizers["image"])
    assert sorted(ledger.reasons) == [0, 3, 6]
    assert "internal: RuntimeError: not this one" in ledger.reasons[0]
    assert ledger.codes == {n: c for n, c in whole.codes.items() if n % 3}


def test_a_model_that_is_not_exact_gets_its_items_one_by_one(tmp_path, tokenizers, monkeypatch):
    pictures(tmp_path / "d", 5)
    items = items_of([str(tmp_path / "d")], ("image",))
    whole = run(items, tokenizers["image"])[0]
    monkeypatch.setattr(tokenizers["image"], "exact", False)
    sizes = []
    real = type(tokenizers["image"]).encode_many

    def encode_many(self: Any, xs: Any) -> Any:
        sizes.append(len(xs))
        return real(self, xs)

    monkeypatch.setattr(type(tokenizers["image"]), "encode_many", encode_many)
    assert run(items, tokenizers["image"])[0].codes == whole.codes
    assert sizes == [1] * 5


def test_depth_and_mono_are_those_of_encode(tmp_path, tokenizers):
    recordings(tmp_path / "d", 4)
    items = items_of([str(tmp_path / "d")], ("audio",))
    options = CorpusOptions(depth=2, mono=True)
    ledger, _ = run(items, tokenizers["audio"], options)
    for number, item in enumerate(items):
        expected = alone(tmp_path / "d" / item.name, tokenizers["audio"], depth=2, mono=True)
        assert ledger.codes[number] == expected
        codes, header = files.read(io.BytesIO(expected))
        assert codes.depth == 2 and header.channels == 1


def test_what_is_done_is_not_done_again(tmp_path, tokenizers):
    pictures(tmp_path / "d", 8)
    items = items_of([str(tmp_path / "d")], ("image",))
    whole, _ = run(items, tokenizers["image"])
    ledger = Ledger(len(items))
    engine = local_engine(coder(tokenizers["image"]), CorpusOptions(), threads=2)
    first = encode_corpus(items, ledger, engine, folder=Path("c"))  # type: ignore
    for _ in range(3):
        next(first)
    first.close()
    done = dict(ledger.codes)
    assert len(done) == 3  # recorded before it is told
    rest = list(encode_corpus(items, ledger, engine, folder=Path("c")))  # type: ignore
    assert len(rest) == 8 - len(done)
    assert ledger.codes == whole.codes


def test_the_callers_number_of_threads_is_left_as_it_was(tmp_path, tokenizers):
    pictures(tmp_path / "d", 4)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        run(items_of([str(tmp_path / "d")], ("image",)), tokenizers["image"])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_timing_says_how_busy_the_model_was(tmp_path, tokenizers):
    pictures(tmp_path / "d", 12)
    timing = Timing()
    run(items_of([str(tmp_path / "d")], ("image",)), tokenizers["image"], timing=timing, threads=2)
    assert timing.workers == 2
    assert 0 < timing.busy <= 1 and timing.busy_s <= 2 * timing.wall_s


def test_a_job_is_its_model_and_what_its_codes_depend_on(shelf):
    info = directory.describe(str(shelf / "audio-24k"))
    first = job_of(info, CorpusOptions())
    assert first["fingerprint"] == info.fingerprint and first["model"] == "audio-24k"
    for other in (CorpusOptions(depth=1), CorpusOptions(mono=True), CorpusOptions(max_pixels=5)):
        assert job_of(info, other) != first
    assert spec_of(info, CorpusOptions(depth=2)).levels[0].depth == 2
    assert spec_of(info, CorpusOptions()).fingerprint == info.fingerprint
    with pytest.raises(UsageError, match="has 3"):
        job_of(info, CorpusOptions(depth=4))
    with pytest.raises(UsageError, match="no residual stages"):
        job_of(directory.describe(str(shelf / "image-f8")), CorpusOptions(depth=1))


def test_codes_do_not_hold_the_signal_in_memory(tmp_path, tokenizers):
    pictures(tmp_path / "d", 1)
    items = items_of([str(tmp_path / "d")], ("image",))
    (outcome,) = local_engine(coder(tokenizers["image"]), CorpusOptions())(items, [0])
    assert outcome.signal.arrays == ()
    assert outcome.codes.levels[0].dtype == np.uint8  # type: ignore[union-attr]
