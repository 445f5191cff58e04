"""Published audio codecs through the commands: codes, sound of the same length, metrics, pipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.numpy import load_file

from tests.checkpoints.foreign.test_hf_audio import STEREO
from tests.checkpoints.foreign.test_snac import SIZES
from tests.tokenizers.published import ENCODEC, lively, tiny
from vqtok.checkpoints import directory
from vqtok.tokenizers.published import snac


@pytest.fixture
def speech(here: Path) -> np.ndarray:
    rng = np.random.default_rng(0)
    samples = 0.3 * rng.standard_normal((1777, 2))
    soundfile.write("speech.wav", samples, 1600)
    return samples


@pytest.fixture
def encodec(here: Path) -> Path:
    from transformers import EncodecConfig, EncodecModel

    keys = {k: v for k, v in ENCODEC.items() if k != "num_quantizers"}
    torch.manual_seed(0)
    model = EncodecModel(EncodecConfig(target_bandwidths=[0.4, 2.0], **keys)).eval()
    lively(model)
    model.save_pretrained("facebook-encodec")
    return Path("facebook-encodec/")


@pytest.fixture
def levels(here: Path) -> Path:
    torch.manual_seed(0)
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in SIZES.items()}
    model: Any = snac.Config(**plain).build().eval()
    lively(model)
    directory.save("many-rates", model)
    return Path("many-rates/")


@pytest.fixture
def stereo(here: Path) -> Path:
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(0)
    model = EncodecModel(EncodecConfig(**STEREO)).eval()
    lively(model)
    model.save_pretrained("stereo")
    return Path("stereo/")


def test_a_directory_as_downloaded_codes_a_recording_to_the_depth_asked_for(vqtok, encodec, speech):
    args = ("speech.wav", "-m", encodec, "--depth", "2", "-o", "codes.safetensors")
    assert vqtok("encode", *args).exit_code == 0
    codes = load_file("codes.safetensors")["codes"]
    assert codes.shape == (2, 2, 112)  # two channels, two stages, 889 samples of 8
    assert vqtok("decode", "codes.safetensors", "-m", encodec, "-o", "b.wav").exit_code == 0
    back, rate = soundfile.read("b.wav")
    assert (back.shape, rate) == (speech.shape, 1600)


def test_without_a_depth_all_stages_are_used(vqtok, encodec, speech):
    assert vqtok("encode", "speech.wav", "--mono", "-m", encodec, "-o", "a.npy").exit_code == 0
    assert np.load("a.npy").shape == (5, 112)


def test_a_converted_directory_gives_the_same_codes(vqtok, encodec, speech):
    assert vqtok("convert", encodec, "-o", "mine").exit_code == 0
    for name, model in (("a.npy", encodec), ("b.npy", "mine/")):
        assert vqtok("encode", "speech.wav", "-m", model, "-o", name).exit_code == 0
    assert np.array_equal(np.load("a.npy"), np.load("b.npy"))


@pytest.mark.parametrize("suffix", ["npy", "safetensors"])
def test_codes_of_several_rates_come_back_from_a_file(vqtok, levels, speech, suffix):
    name = f"a.{suffix}"
    assert vqtok("encode", "speech.wav", "-m", levels, "-o", name).exit_code == 0
    if suffix == "safetensors":
        shapes = {key: array.shape for key, array in load_file(name).items()}
        assert shapes == {"codes0": (2, 38), "codes1": (2, 76), "codes2": (2, 152)}
    assert vqtok("decode", name, "-m", levels, "-o", "b.wav").exit_code == 0
    back, rate = soundfile.read("b.wav")
    assert (back.shape, rate) == (speech.shape, 1600)
    model: Any = directory.load(levels)
    assert vqtok("decode", name, "-m", levels, "--native-rate", "-o", "c.wav").exit_code == 0
    heard, _ = soundfile.read("c.wav")
    assert np.abs(heard).max() > 0.001
    assert len(heard) == 889
    assert model.spec.rate == 800


def test_codes_of_several_rates_go_through_a_pipe(vqtok, levels, speech):
    sent = vqtok("encode", "-", "-m", levels, "-o", "-", input=Path("speech.wav").read_bytes())
    assert sent.exit_code == 0
    Path("sent.safetensors").write_bytes(sent.stdout_bytes)
    assert vqtok("decode", "sent.safetensors", "-m", levels, "-o", "b.wav").exit_code == 0
    assert soundfile.info("b.wav").frames == len(speech)


def test_a_model_that_takes_a_recording_whole_says_so(vqtok, levels, speech):
    result = vqtok("encode", "speech.wav", "-m", levels, "-o", "a.npy")
    assert "coded whole" in result.stderr


def test_eval_counts_the_bits_of_every_level(vqtok, levels, encodec, speech):
    result = vqtok("eval", "speech.wav", "-m", levels, "--json")
    assert result.exit_code == 0
    item = json.loads(result.stdout.splitlines()[0])
    assert item["tokens"] == 2 * (38 + 76 + 152)
    assert vqtok("eval", "speech.wav", "-m", encodec, "--json").exit_code == 0


def test_info_tells_of_a_directory_as_downloaded(vqtok, encodec):
    result = vqtok("info", encodec)
    assert result.exit_code == 0
    assert "EnCodec 24 kHz" in result.stdout
    assert "5 × 16 entries" in result.stdout


def test_every_family_saved_by_us_is_found_by_the_fingerprint(vqtok, here, speech):
    directory.save("m", tiny("dac"))
    assert vqtok("encode", "speech.wav", "-m", "m/", "-o", "a.npy").exit_code == 0
    assert vqtok("decode", "a.npy", "-m", "m/", "-o", "b.wav").exit_code == 0
    assert soundfile.info("b.wav").frames == len(speech)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_stereo_model_gives_back_as_many_channels_as_there_were(vqtok, stereo, speech, channels):
    soundfile.write("speech.wav", speech[:, :channels], 1600)
    args = ("speech.wav", "-m", stereo, "--depth", "3", "-o", "a.safetensors")
    assert vqtok("encode", *args).exit_code == 0
    shapes = {key: array.shape for key, array in load_file("a.safetensors").items()}
    assert shapes == {"codes": (3, 120), "scale": (16,)}  # four chunks, both channels together
    assert vqtok("decode", "a.safetensors", "-m", stereo, "-o", "b.wav").exit_code == 0
    back, rate = soundfile.read("b.wav", always_2d=True)
    assert (back.shape, rate) == ((1777, channels), 1600)
    assert vqtok("eval", "speech.wav", "-m", stereo, "--json").exit_code == 0


def test_more_channels_than_a_stereo_model_takes_are_refused_with_the_way_out(
    vqtok, stereo, speech
):
    soundfile.write("speech.wav", np.repeat(speech, 2, axis=1), 1600)
    result = vqtok("encode", "speech.wav", "-m", stereo, "-o", "a.safetensors")
    assert result.exit_code == 1
    assert "speech.wav: 4 channels, this model codes 2 together" in result.stderr
    assert "--mono" in result.stderr
    mixed = ("speech.wav", "--mono", "-m", stereo, "-o", "a.safetensors")
    assert vqtok("encode", *mixed).exit_code == 0


def test_a_corpus_of_a_stereo_model_decodes_like_single_files(vqtok, stereo, speech):
    Path("in").mkdir()
    for name, channels in (("a", 1), ("b", 2)):
        soundfile.write(f"in/{name}.wav", speech[:, :channels], 1600)
    assert vqtok("encode", "in", "-o", "corpus", "--format", "tar", "-m", stereo).exit_code == 0
    assert vqtok("decode", "corpus", "-m", stereo, "-o", "out/").exit_code == 0
    for name, channels in (("a", 1), ("b", 2)):
        found = next(Path("out").rglob(f"{name}*.wav"))
        assert soundfile.info(found).channels == channels
        assert vqtok("encode", f"in/{name}.wav", "-m", stereo, "-o", f"{name}.npy").exit_code == 0
        assert vqtok("decode", f"{name}.npy", "-m", stereo, "-o", f"{name}.wav").exit_code == 0
        assert np.array_equal(soundfile.read(found)[0], soundfile.read(f"{name}.wav")[0])
