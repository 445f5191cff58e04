from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.pipeline.fakes import Pixels, Samples, coder_for
from tests.pipeline.test_evaluate import Evaluation, pixels_of, write_audio, write_image
from vqtok.backends.torch_backend import coder
from vqtok.codes.container import Codes
from vqtok.errors import CodesError, UsageError
from vqtok.media.classical import code_image
from vqtok.media.plan import Job
from vqtok.metrics import image
from vqtok.pipeline import compare, evaluate
from vqtok.pipeline.classical import Classical
from vqtok.pipeline.compare import Compared, Comparison, Method
from vqtok.pipeline.evaluate import EvaluateOptions, ItemReport
from vqtok.pipeline.results import Failed

PSNR = EvaluateOptions(metrics=("psnr",))
SDR = EvaluateOptions(metrics=("si-sdr", "delay"))


class Coarse(Pixels):
    """Black and white: one bit a pixel, in a codebook of two."""

    name = "coarse"

    def __init__(self) -> None:
        super().__init__()
        from vqtok.codes.spec import CodeSpec, LevelSpec

        level = LevelSpec("codes", ("h", "w"), 2, (1, 1))
        self.spec = CodeSpec("image", (level,), None, "2" * 16)

    def encode(self, x: torch.Tensor) -> Codes:
        return Codes(self.spec, ((x.mean(1) > 0).long(),), tuple(x.shape[-2:]))

    def decode(self, codes: Codes, **how: object) -> torch.Tensor:
        return (codes.levels[0].float() - 0.5)[:, None].expand(-1, 3, -1, -1)


class Pipe(io.BytesIO):
    """Bytes that can be read once, as from standard input."""

    name = "<stdin>"

    def seekable(self) -> bool:
        return False


class Fails(Pixels):
    def encode(self, x: torch.Tensor) -> Codes:
        if x.shape[-1] == 31:
            raise CodesError("no codes for this width")
        return super().encode(x)


def model(tokenizer: Any, label: str = "", *, has_codes: bool = True) -> Method:
    kind = tokenizer.spec.modality
    return Method(label or tokenizer.name, lambda _: coder(tokenizer), (kind,), has_codes=has_codes)


def images(folder: Path, *sizes: tuple[int, int]) -> list[Job]:
    return [
        Job(write_image(folder / f"{i}.png", size=size, seed=i), None, "image")
        for i, size in enumerate(sizes)
    ]


def compared(results: list[Compared | Failed]) -> list[Compared]:
    assert all(isinstance(each, Compared) for each in results), results
    return [each for each in results if isinstance(each, Compared)]


def test_each_row_is_what_an_evaluation_of_it_alone_says(tmp_path: Path) -> None:
    jobs = images(tmp_path, (40, 24), (31, 17))
    both = Comparison([model(Coarse()), model(Pixels())], options=PSNR)
    found = compared(list(both.run(jobs)))
    for tokenizer, summary in zip((Coarse(), Pixels()), both.summaries(), strict=True):
        alone = Evaluation(lambda _, t=tokenizer: coder(t), options=PSNR)  # type: ignore[misc]
        reports = list(alone.run(jobs))
        mine = [each.reports[tokenizer.name] for each in found]
        assert [r.values for r in mine] == [r.values for r in reports]  # type: ignore[union-attr]
        (expected,) = alone.summaries()
        assert summary.statistics == expected.statistics
        assert (summary.rate, summary.codebook) == (expected.rate, expected.codebook)


def test_classical_codecs_keep_within_the_bits_of_the_first_model_wherever_they_stand(
    tmp_path: Path,
) -> None:
    jobs = images(tmp_path, (400, 300), (300, 200))
    rows = [compare.classical("webp"), model(Coarse()), model(Pixels()), compare.classical("jpeg")]
    run = Comparison(rows, options=PSNR)
    found = compared(list(run.run(jobs)))
    for each in found:
        assert list(each.reports) == ["webp", "coarse", "pixels", "jpeg"]
        bits = {label: report.bits or 0 for label, report in each.reports.items()}
        assert bits["coarse"] == each.reports["coarse"].amount
        for codec in ("webp", "jpeg"):
            assert 0 < bits[codec] <= bits["coarse"]
    webp = run.summaries()[0]
    assert (webp.model, webp.over, webp.codebook) == ("webp", 0, None)
    assert webp.rate == pytest.approx(
        sum(each.reports["webp"].bits or 0 for each in found) / (400 * 300 + 300 * 200)
    )
    assert "the codes of coarse" in webp.protocol[-1]
    assert json.loads(json.dumps(webp.to_json(), allow_nan=False))["over"] == 0


def test_files_that_no_setting_makes_small_enough_are_counted(tmp_path: Path) -> None:
    jobs = images(tmp_path, (16, 16), (256, 256))
    run = Comparison([model(Coarse()), compare.classical("jpeg")], options=PSNR)
    small, _ = compared(list(run.run(jobs)))
    assert small.reports["jpeg"].bits > small.reports["coarse"].bits  # type: ignore[operator]
    assert [summary.over for summary in run.summaries()] == [0, 1]


def test_a_codec_that_is_told_no_bits_takes_all_it_likes(tmp_path: Path) -> None:
    (job,) = images(tmp_path, (64, 48))
    alone = Method("best", lambda _: Classical("jpeg", like="nothing"), ("image",), has_codes=False)
    (found,) = compared(list(Comparison([alone], options=PSNR).run([job])))
    best = code_image(pixels_of(job.source)[0].numpy(), "jpeg", math.inf)  # type: ignore[arg-type]
    assert found.reports["best"].bits == best.bits


def test_values_of_a_codec_are_those_of_its_picture(tmp_path: Path) -> None:
    (job,) = images(tmp_path, (64, 48))
    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    run = Comparison([model(Pixels()), compare.classical("jpeg")], options=PSNR)
    (found,) = compared(
        list(run.run([job], on_pair=lambda _, label, x, y, rate: pairs.update({label: (x, y)})))
    )
    x, y = (torch.from_numpy(each)[None] for each in pairs["jpeg"])
    torch.testing.assert_close(x, pixels_of(job.source))  # type: ignore[arg-type]
    assert found.reports["jpeg"].values["psnr"] == pytest.approx(image.psnr(x, y).item())


def test_a_file_that_fails_in_one_row_counts_in_none(tmp_path: Path) -> None:
    jobs = images(tmp_path, (40, 24), (31, 17), (20, 20))
    (tmp_path / "x.png").write_text("no picture")
    jobs.append(Job(tmp_path / "x.png", None, "image"))
    run = Comparison([model(Pixels()), model(Fails(), "fails")], options=PSNR)
    results = list(run.run(jobs))
    assert [isinstance(each, Failed) for each in results] == [False, True, False, True]
    assert str(jobs[1].source) in str(results[1].error)  # type: ignore[union-attr]
    assert [summary.files for summary in run.summaries()] == [2, 2]
    assert run.summaries()[0].codebook.tokens == 40 * 24 + 20 * 20  # type: ignore[union-attr]


def test_each_kind_of_files_has_its_own_rows_and_its_own_model_to_be_like(tmp_path: Path) -> None:
    jobs = images(tmp_path, (40, 24))
    jobs.append(Job(write_audio(tmp_path / "a.wav"), None, "audio"))
    rows = [model(Pixels()), model(Samples()), compare.classical("opus"), compare.classical("jpeg")]
    run = Comparison(rows, options=EvaluateOptions(metrics=("psnr", "si-sdr")))
    picture, sound = compared(list(run.run(jobs)))
    assert list(picture.reports) == ["pixels", "jpeg"]
    assert list(sound.reports) == ["samples", "opus"]
    assert (run.like("image"), run.like("audio")) == ("pixels", "samples")
    assert [s.model for s in run.summaries()] == ["pixels", "jpeg", "samples", "opus"]


def test_a_file_that_no_row_is_for_is_that_files_failure(tmp_path: Path) -> None:
    sound = Job(write_audio(tmp_path / "a.wav"), None, "audio")
    run = Comparison([model(Pixels()), model(Coarse())], options=PSNR)
    bad, good = run.run([sound, *images(tmp_path, (16, 16))])
    assert isinstance(bad, Failed)
    assert "none of the models is for audio" in str(bad.error)
    assert isinstance(good, Compared)


@pytest.mark.parametrize("name", ["opus", "mp3"])
def test_long_recordings_get_their_bits_segment_by_segment(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "SEGMENT_S", 2)
    path = write_audio(tmp_path / "a.wav", seconds=4.1)
    run = Comparison([model(Samples()), compare.classical(name)], options=SDR)
    parts: list[float] = []
    (found,) = compared(list(run.run([Job(path, None, "audio")], on_part=parts.append)))
    codec, like = found.reports[name], found.reports["samples"]
    assert (codec.extent, codec.channels, codec.tokens) == (like.extent, 1, 0)
    assert len(codec.segment_bits) == len(like.segment_bits) == 2
    assert all(a <= b for a, b in zip(codec.segment_bits, like.segment_bits, strict=True))
    assert sum(codec.segment_bits) == codec.bits
    assert codec.values["delay"] == 0.0
    assert codec.values["si-sdr"] > 10
    assert parts == sorted(parts)
    assert parts[-1] == 1.0


def test_a_codec_needs_a_model_with_codes_of_its_kind() -> None:
    continuous = model(Pixels(), has_codes=False)
    for rows in ([], [model(Samples())], [continuous]):
        with pytest.raises(UsageError, match="-m jpeg: JPEG gets the bits of a model's codes"):
            Comparison([*rows, compare.classical("jpeg")])


def test_standard_input_is_read_for_every_row(tmp_path: Path) -> None:
    (job,) = images(tmp_path, (40, 24))
    data = Pipe(job.source.read_bytes())  # type: ignore[union-attr]
    run = Comparison([model(Coarse()), model(Pixels())], options=PSNR)
    (piped,) = compared(list(run.run([Job(None, None, "image")], stdin=data)))
    (named,) = compared(list(run.run([job])))
    values = [{k: r.values for k, r in each.reports.items()} for each in (piped, named)]
    assert values[0] == values[1]


def test_a_damaged_pipe_is_still_called_stdin() -> None:
    run = Comparison([model(Coarse()), model(Pixels())], options=PSNR)
    (result,) = run.run([Job(None, None, "image")], stdin=Pipe(b"\x89PNG\r\n\x1a\n"))
    assert isinstance(result, Failed)
    assert str(result.error).startswith("stdin: truncated or damaged PNG")


def test_one_model_alone_is_an_evaluation(tmp_path: Path) -> None:
    jobs = images(tmp_path, (40, 24))
    run = Comparison([Method("", coder_for)], options=PSNR)
    (found,) = compared(list(run.run(jobs)))
    (report,) = found.reports.values()
    assert isinstance(report, ItemReport)
    assert run.summaries()[0].model == "pixels"
