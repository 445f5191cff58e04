from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from tests.pipeline.fakes import Pixels, Samples, coder_for
from vqtok.backends.torch_backend import coder
from vqtok.errors import MediaError, UsageError
from vqtok.media import audio as media_audio
from vqtok.media.plan import Job
from vqtok.metrics import audio, image
from vqtok.pipeline.compare import Comparison, Method
from vqtok.pipeline.evaluate import EvaluateOptions, ItemReport, segments
from vqtok.pipeline.results import Failed
from vqtok.protocols import Coder


class Evaluation(Comparison):
    """A comparison of one model: its results are reports."""

    def __init__(self, coder_for: Callable[[str], Coder], **options: Any) -> None:
        super().__init__([Method("model", coder_for)], **options)

    def run(self, jobs: Sequence[Job], **how: Any) -> Iterator[ItemReport | Failed]:  # type: ignore[override]
        for each in super().run(jobs, **how):
            yield each if isinstance(each, Failed) else each.reports["model"]


def write_image(path: Path, *, size: tuple[int, int] = (40, 24), seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
    return path


def write_audio(path: Path, *, seconds: float = 1.0, channels: int = 1, rate: int = 8000) -> Path:
    time = np.arange(int(seconds * rate)) / rate
    tones = [0.5 * np.sin(2 * np.pi * 220 * (c + 1) * time) for c in range(channels)]
    noise = np.random.default_rng(0).normal(0, 0.01, (len(time), channels))
    soundfile.write(path, np.stack(tones, axis=1) + noise, rate, subtype="FLOAT")
    return path


def pixels_of(path: Path) -> torch.Tensor:
    with Image.open(path) as picture:
        values = np.array(picture)
    return torch.from_numpy(values).permute(2, 0, 1)[None].float() / 127.5 - 1


def only(results: list[ItemReport | Failed]) -> ItemReport:
    assert len(results) == 1
    assert isinstance(results[0], ItemReport), results[0]
    return results[0]


def evaluation(**options: object) -> Evaluation:
    return Evaluation(coder_for, options=EvaluateOptions(**options))  # type: ignore[arg-type]


def test_image_values_are_those_of_the_metrics_on_the_reconstruction(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png")
    report = only(list(evaluation().run([Job(path, None, "image")])))
    x = pixels_of(path)
    y = Pixels().decode(Pixels().encode(x))
    assert report.values["psnr"] == pytest.approx(image.psnr(x, y).item(), rel=1e-6)
    assert report.values["ssim"] == pytest.approx(image.ssim(x, y).item(), abs=1e-6)
    assert math.isnan(report.values["ms-ssim"])
    assert (report.extent, report.tokens, report.bits, report.rate) == ((24, 40), 960, 3840.0, 4.0)


def test_audio_values_are_means_over_channels_at_the_models_rate(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", channels=2, rate=16000)
    report = only(list(evaluation().run([Job(path, None, "audio")])))
    samples, _ = media_audio.read(path, rate=8000)
    x = torch.from_numpy(samples)[:, None]
    y = Samples().decode(Samples().encode(x))
    assert report.values["si-sdr"] == pytest.approx(audio.si_sdr(x, y).mean().item())
    mel = audio.mel_distance(x, y, rate=8000).mean().item()
    assert report.values["mel"] == pytest.approx(mel)
    assert report.values["delay"] == 0.0
    assert (report.channels, report.tokens, report.amount) == (2, 4 * 8000, 1.0)
    assert report.rate == pytest.approx(128.0)  # 2 channels x 2 stages x 4 bits x 8 kHz


def test_mono_mixes_the_channels_first(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", channels=2)
    report = only(list(evaluation(mono=True).run([Job(path, None, "audio")])))
    assert (report.channels, report.tokens) == (1, 16000)


def test_depth_keeps_the_first_stages(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav")
    runs = {depth: evaluation(depth=depth) for depth in (1, 2)}
    reports = {d: only(list(run.run([Job(path, None, "audio")]))) for d, run in runs.items()}
    assert reports[1].rate == pytest.approx(32.0)
    assert reports[2].values["si-sdr"] > reports[1].values["si-sdr"] + 10
    assert [run.summaries()[0].depth for run in runs.values()] == [1, 2]


def test_grey_originals_are_compared_with_the_grey_that_decode_restores(tmp_path: Path) -> None:
    class Tinted(Pixels):
        def decode(self, codes: object, **how: object) -> torch.Tensor:
            tint = torch.tensor([0.2, 0.0, -0.2])[:, None, None]
            return super().decode(codes) + tint  # type: ignore[arg-type]

    values = np.tile(np.arange(16, dtype=np.uint8) * 8 + 64, (16, 1))
    Image.fromarray(values).save(tmp_path / "grey.png")
    Image.fromarray(values).convert("RGB").save(tmp_path / "rgb.png")
    run = Evaluation(lambda kind: coder(Tinted()))
    jobs = [Job(tmp_path / name, None, "image") for name in ("grey.png", "rgb.png")]
    grey, rgb = run.run(jobs)
    assert isinstance(grey, ItemReport)
    assert isinstance(rgb, ItemReport)
    assert grey.values["psnr"] > 25 > rgb.values["psnr"]


def test_a_failing_file_does_not_stop_the_others_and_counts_nowhere(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_text("not a picture")
    good = [write_image(tmp_path / name, seed=i) for i, name in enumerate(("a.png", "c.png"))]
    run = evaluation()
    jobs = [
        Job(p, None, "image") for p in (good[0], tmp_path / "b.png", tmp_path / "d.png", good[1])
    ]
    results = list(run.run(jobs))
    assert [isinstance(result, Failed) for result in results] == [False, True, True, False]
    assert all(str(r.source) in str(r.error) for r in results if isinstance(r, Failed))
    assert run.summaries()[0].files == 2


def test_a_recording_that_breaks_off_leaves_no_codes_in_the_histogram(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", seconds=100)
    samples, rate = soundfile.read(path, dtype="float32")
    samples[-5] = np.nan  # in the second segment
    soundfile.write(path, samples, rate, subtype="FLOAT")
    good = write_audio(tmp_path / "b.wav")
    run = evaluation(metrics=("si-sdr",))
    jobs = [Job(path, tmp_path / "a.recon.wav", "audio"), Job(good, None, "audio")]
    assert run.summaries() == ()
    bad, _ = run.run(jobs)
    assert isinstance(bad, Failed)
    assert (run.summaries()[0].files, run.summaries()[0].codebook.tokens) == (1, 16000)
    assert not (tmp_path / "a.recon.wav").exists()


def test_the_wrong_modality_for_the_model_is_that_files_failure(tmp_path: Path) -> None:
    def images_only(kind: str) -> Coder:
        if kind != "image":
            raise MediaError(f"model pixels is for images, not for {kind}")
        return coder(Pixels())

    jobs = [
        Job(write_audio(tmp_path / "a.wav"), None, "audio"),
        Job(write_image(tmp_path / "a.png"), None, "image"),
    ]
    run = Evaluation(images_only)
    first, second = run.run(jobs)
    assert isinstance(first, Failed)
    assert "for images" in str(first.error)
    assert isinstance(second, ItemReport)
    assert [summary.modality for summary in run.summaries()] == ["image"]


def test_summary_has_mean_and_sample_sd_over_files_and_rates_over_everything(
    tmp_path: Path,
) -> None:
    sizes = [(16, 16), (40, 24), (31, 17)]
    paths = [write_image(tmp_path / f"{i}.png", size=size, seed=i) for i, size in enumerate(sizes)]
    run = evaluation()
    reports = [
        r for r in run.run([Job(p, None, "image") for p in paths]) if isinstance(r, ItemReport)
    ]
    (summary,) = run.summaries()
    psnrs = [report.values["psnr"] for report in reports]
    assert summary.statistics["psnr"].mean == pytest.approx(np.mean(psnrs))
    assert summary.statistics["psnr"].sd == pytest.approx(np.std(psnrs, ddof=1))
    assert summary.statistics["ms-ssim"].to_json() == {
        "mean": None, "sd": None, "n": 0, "left_out": 3,
    }  # fmt: skip
    assert summary.amount == sum(w * h for w, h in sizes)
    assert summary.rate == pytest.approx(4.0)
    codes = np.concatenate([codes_of(path) for path in paths])
    shares = np.bincount(codes, minlength=16) / len(codes)
    entropy = -(shares[shares > 0] * np.log2(shares[shares > 0])).sum()
    assert summary.entropy_rate == pytest.approx(entropy)
    assert summary.codebook.perplexity == pytest.approx(2**entropy)
    assert summary.codebook.used == len(np.unique(codes))
    assert summary.encode_speed > 0


def codes_of(path: Path) -> np.ndarray:
    x = pixels_of(path)
    return Pixels().encode(x).levels[0].numpy().ravel()  # type: ignore[no-any-return]


def test_json_lines_are_strict_json_with_units_in_the_keys(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", seconds=0.01)  # too short for PESQ and STOI
    write_image(tmp_path / "a.png")
    run = evaluation()
    jobs = [Job(tmp_path / "a.wav", None, "audio"), Job(tmp_path / "a.png", None, "image")]
    lines = [item.to_json() for item in (*run.run(jobs), *run.summaries())]
    sound, picture, *summaries = [json.loads(json.dumps(line, allow_nan=False)) for line in lines]
    assert sound["pesq_wb"] is None
    assert {"si_sdr_db", "si_sdr_aligned_db", "delay_samples", "kbit_per_s"} <= set(sound)
    assert {"psnr_db", "ssim", "ms_ssim", "bits_per_pixel"} <= set(picture)
    assert [line["summary"] for line in summaries] == ["image", "audio"]
    assert all(line["protocol"] for line in summaries)
    assert summaries[1]["pesq_wb"] == {"mean": None, "sd": None, "n": 0, "left_out": 1}


def test_reconstruction_and_comparison_are_kept(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    write_audio(tmp_path / "b.wav", channels=2, rate=16000)
    out = tmp_path / "out"
    jobs = [
        Job(tmp_path / "a.png", out / "a.recon.png", "image"),
        Job(tmp_path / "b.wav", out / "b.recon.wav", "audio"),
    ]
    reports = list(evaluation().run(jobs))
    assert all(isinstance(report, ItemReport) for report in reports), reports
    names = {"a.recon.png", "a.compare.png", "b.recon.wav", "b.compare.png"}
    assert {path.name for path in out.iterdir()} == names
    assert size_of(out / "a.recon.png") == (40, 24)
    kept = soundfile.info(out / "b.recon.wav")
    assert (kept.samplerate, kept.channels, kept.frames) == (8000, 2, 8000)
    assert size_of(out / "b.compare.png")[0] > 400


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_long_recordings_are_evaluated_in_segments(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", seconds=61.5)
    made: list[Samples] = []

    def remember(kind: str) -> Coder:
        made.append(Samples())
        return coder(made[-1])

    options = EvaluateOptions(metrics=("si-sdr", "mel"))
    parts: list[float] = []
    run = Evaluation(remember, options=options)
    job = Job(path, tmp_path / "a.recon.wav", "audio")
    report = only(list(run.run([job], on_part=parts.append)))
    assert made[-1].lengths == [30 * 8000, int(31.5 * 8000)]
    assert report.extent == (int(61.5 * 8000),)
    assert soundfile.info(tmp_path / "a.recon.wav").frames == report.extent[0]
    assert parts[-1] == 1.0
    samples, _ = media_audio.read(path)
    x = torch.from_numpy(samples)[:, None]
    y = Samples().decode(Samples().encode(x))
    cut = 30 * 8000
    values = [
        audio.si_sdr(x[..., part], y[..., part]).item() for part in (slice(cut), slice(cut, None))
    ]
    assert report.values["si-sdr"] == pytest.approx((30 * values[0] + 31.5 * values[1]) / 61.5)


@pytest.mark.parametrize("length", [1, 9, 10, 19, 20, 21, 40, 41, 95])
@pytest.mark.parametrize("block", [1, 7, 100])
def test_segments_join_to_the_whole_and_have_bounded_length(length: int, block: int) -> None:
    whole = np.arange(length, dtype=np.float32)[None]
    blocks = (whole[:, i : i + block] for i in range(0, length, block))
    pieces = list(segments(blocks, 10))
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)
    assert all(piece.shape[1] == 10 for piece in pieces[:-1])
    assert pieces[-1].shape[1] <= 20
    assert len(pieces) == 1 or pieces[-1].shape[1] > 10


def test_only_the_chosen_metrics_are_computed(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png")
    run = evaluation(metrics=("psnr",))
    report = only(list(run.run([Job(path, None, "image")])))
    assert list(report.values) == ["psnr"]
    assert "ssim" not in report.to_json()


def test_missing_packages_leave_their_columns_out_with_one_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    run = evaluation()
    assert run.notes == ["PESQ-WB and STOI left out; to add: pip install 'vqtok[metrics]'"]
    report = only(list(run.run([Job(write_audio(tmp_path / "a.wav"), None, "audio")])))
    assert list(report.values) == ["si-sdr", "si-sdr-aligned", "delay", "mel"]
    assert Evaluation(coder_for, kinds=["image"]).notes == []
    with pytest.raises(UsageError, match="stoi: needs the package pystoi"):
        evaluation(metrics=("stoi",))
