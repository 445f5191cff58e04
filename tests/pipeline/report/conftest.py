"""A page of a small evaluation, of pictures and recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.fakes import Pixels, Samples
from tests.pipeline.test_evaluate import write_audio, write_image
from vqtok.backends.torch_backend import coder
from vqtok.media.plan import Job
from vqtok.pipeline import compare
from vqtok.pipeline.compare import Comparison, Method
from vqtok.pipeline.evaluate import EvaluateOptions
from vqtok.pipeline.report.page import Report

SIZES = ((40, 24), (600, 530), (64, 48))
HOSTILE_MODEL = 'm" onerror="alert(1)" y="'
HOSTILE = "<script>alert(1)</script>&\"'.png"


def make(folder: Path, target: Path, *, examples: int = 8) -> Comparison:
    """Evaluate what ``media`` wrote, and write the page."""
    kinds = {".png": "image", ".wav": "audio"}
    jobs = [Job(path, None, kinds[path.suffix]) for path in sorted(folder.iterdir())]  # type: ignore[arg-type]
    rows = [
        Method("pixels", lambda _: coder(Pixels()), ("image",)),
        compare.classical("jpeg"),
        Method(HOSTILE_MODEL, lambda _: coder(Samples()), ("audio",)),
        compare.classical("opus"),
    ]
    metrics = EvaluateOptions(metrics=("psnr", "si-sdr"))  # others take seconds
    run, report = Comparison(rows, options=metrics), Report(jobs, examples=examples)
    for result in run.run(jobs, on_pair=report.pair):
        report.finish(result)
    report.write(target, run.summaries(), likes={"image": "pixels", "audio": HOSTILE_MODEL})
    return run


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures, two recordings and one that is damaged."""
    folder = tmp_path_factory.mktemp("media")
    for index, size in enumerate(SIZES):
        write_image(folder / f"{index}.png", size=size, seed=index)
    write_image(folder / HOSTILE.replace("/", "\N{FRACTION SLASH}"), seed=9)
    write_audio(folder / "a.wav", seconds=1)
    write_audio(folder / "b.wav", seconds=12, channels=3)
    (folder / "damaged.png").write_text("no <b>picture</b>")
    return folder


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small pictures, two short recordings and one that is damaged: a page in a moment."""
    folder = tmp_path_factory.mktemp("few")
    for index, size in enumerate(((40, 24), (64, 48), (24, 40))):
        write_image(folder / f"{index}.png", size=size, seed=index)
    for name in ("a.wav", "b.wav"):
        write_audio(folder / name, seconds=1)
    (folder / "damaged.png").write_text("no <b>picture</b>")
    return folder


@pytest.fixture(scope="session")
def page(media: Path) -> Path:
    target = media.parent / f"{media.name}-page" / "report.html"
    make(media, target)
    return target
