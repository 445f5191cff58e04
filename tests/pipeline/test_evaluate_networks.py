"""Evaluation with our own networks, tiny and untrained: it sees what encode and decode make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from tests.pipeline.test_evaluate import Evaluation
from vqtok.backends.torch_backend import coder
from vqtok.media import audio as media_audio
from vqtok.media import image as media_image
from vqtok.media.plan import Job
from vqtok.metrics import audio, image
from vqtok.pipeline.evaluate import EvaluateOptions, ItemReport
from vqtok.quantizers import fsq, rvq
from vqtok.tokenizers import codec, vqvae


@pytest.fixture
def picture_model() -> vqvae.VQVAE:
    torch.manual_seed(0)
    quantizer = fsq.Config(levels=(4, 4, 4))
    sizes = vqvae.Config(quantizer, widths=(8, 8), encoder_blocks=(1, 1), decoder_blocks=(1, 1))
    return sizes.build().eval()


@pytest.fixture
def sound_model() -> codec.Codec:
    torch.manual_seed(0)
    quantizer = rvq.Config(depth=3, codebook_size=16)
    sizes = codec.Config(
        quantizer, rate=8000, width=8, encoder_blocks=1, decoder_blocks=1, latent=4
    )
    return sizes.build().eval()


def test_image_report_is_of_what_the_network_makes(
    tmp_path: Path, picture_model: vqvae.VQVAE
) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a.png"
    Image.fromarray(rng.integers(0, 256, (37, 50, 3), dtype=np.uint8)).save(path)
    target = tmp_path / "a.recon.png"
    run = Evaluation(lambda kind: coder(picture_model))
    (report,) = run.run([Job(path, target, "image")])
    assert isinstance(report, ItemReport), report
    x = torch.from_numpy(media_image.read(path)[0])[None]
    kept = torch.from_numpy(media_image.read(target)[0])[None]
    assert report.values["psnr"] == pytest.approx(image.psnr(x, kept).item(), rel=1e-6)
    codes = picture_model.encode(x).numpy().levels[0]
    assert report.tokens == codes.size == 5 * 7
    assert run.summaries()[0].codebook.used == len(np.unique(codes))
    assert report.rate == pytest.approx(35 * 6 / (37 * 50))


def test_audio_report_is_of_what_the_network_makes(
    tmp_path: Path, sound_model: codec.Codec
) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a.wav"
    soundfile.write(path, rng.normal(0, 0.1, (9001, 2)), 16000, subtype="FLOAT")
    options = EvaluateOptions(depth=2, metrics=("si-sdr", "mel"))
    run = Evaluation(lambda kind: coder(sound_model), options=options)
    (report,) = run.run([Job(path, None, "audio")])
    assert isinstance(report, ItemReport), report
    x = torch.from_numpy(media_audio.read(path, rate=8000)[0])[:, None]
    codes = sound_model.encode(x).truncate(2)
    y = sound_model.decode(codes)
    assert report.values["si-sdr"] == pytest.approx(audio.si_sdr(x, y).mean().item())
    assert report.values["mel"] == pytest.approx(audio.mel_distance(x, y, rate=8000).mean().item())
    assert report.tokens == codes.tokens
    (summary,) = run.summaries()
    stages = codes.numpy().levels[0]
    used = [len(np.unique(stages[:, stage])) for stage in range(2)]
    assert [stage.used for stage in summary.levels["codes"].stages] == used
