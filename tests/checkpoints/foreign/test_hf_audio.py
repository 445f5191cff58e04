"""Directories of transformers' audio codecs, written by its own classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from tests.checkpoints.foreign.audio import agrees
from tests.tokenizers.published import DAC, ENCODEC, MIMI, lively, sound
from vqtok.checkpoints import foreign
from vqtok.errors import CheckpointError


def saved(path: Path, model: Any) -> Path:
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def encodec() -> Any:
    from transformers import EncodecConfig, EncodecModel

    keys = {k: v for k, v in ENCODEC.items() if k != "num_quantizers"}
    torch.manual_seed(0)
    model = EncodecModel(EncodecConfig(target_bandwidths=[0.4, 2.0], **keys)).eval()
    lively(model)
    return model


@pytest.fixture(scope="module")
def dac() -> Any:
    from transformers import DacConfig, DacModel

    torch.manual_seed(0)
    model = DacModel(DacConfig(**DAC)).eval()
    lively(model)
    return model


@pytest.fixture(scope="module")
def mimi() -> Any:
    from transformers import MimiConfig, MimiModel

    torch.manual_seed(0)
    model = MimiModel(MimiConfig(**MIMI | {"upsampling_ratios": [4, 2]})).eval()
    lively(model)
    return model


@torch.no_grad()
@pytest.mark.parametrize("length", [1003, 5, 800])
def test_encodec_codes_and_sound_are_those_of_transformers(
    tmp_path: Path, encodec: Any, length: int
):
    x = sound(length, batch=2)
    up = encodec.encode(x, bandwidth=2.0)
    heard = encodec.decode(up.audio_codes, up.audio_scales)[0]
    if length > 100:
        agrees(
            saved(tmp_path / "m", encodec),
            x,
            [up.audio_codes[0]],
            heard[..., :length],
            family="EnCodec 24 kHz",
        )
    model: Any = foreign.open(saved(tmp_path / "m", encodec))
    assert model.spec.depth == 5
    assert torch.equal(model.encode(x).levels[0], up.audio_codes[0])


@torch.no_grad()
def test_encodec_at_a_lower_bandwidth_is_fewer_stages(tmp_path: Path, encodec: Any):
    x = sound(500)
    up = encodec.encode(x, bandwidth=0.4)
    heard = encodec.decode(up.audio_codes, up.audio_scales)[0][..., :500]
    model: Any = foreign.open(saved(tmp_path / "m", encodec))
    depth = up.audio_codes.shape[2]
    assert depth < model.spec.depth
    codes = model.encode(x).truncate(depth)
    assert torch.equal(codes.levels[0], up.audio_codes[0])
    torch.testing.assert_close(model.decode(codes), heard, atol=1e-5, rtol=0)


@torch.no_grad()
def test_encodec_with_the_older_names_of_normalised_weights_is_the_same(
    tmp_path: Path, encodec: Any
):
    path = saved(tmp_path / "m", encodec)
    sign = foreign.describe(path).fingerprint
    file = path / "model.safetensors"
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in load_file(file).items()
    }
    assert any(name.endswith("weight_v") for name in old)
    save_file(old, file)
    assert foreign.describe(path).fingerprint == sign


@torch.no_grad()
@pytest.mark.parametrize("ratios", [(2, 5), (2, 4)])
def test_dac_codes_and_sound_are_those_of_transformers(tmp_path: Path, ratios: tuple[int, ...]):
    from transformers import DacConfig, DacModel

    torch.manual_seed(0)
    upstream = DacModel(DacConfig(**(DAC | {"downsampling_ratios": ratios}))).eval()
    lively(upstream)
    x = sound(1003)
    hop = ratios[0] * ratios[1]
    up = upstream(F.pad(x, (0, -1003 % hop)))
    delay = 1003 + -1003 % hop - up.audio_values.shape[-1]
    assert delay == (2 if 5 in ratios else 0)
    heard = F.pad(upstream.decode(audio_codes=up.audio_codes).audio_values, (delay, 0))
    agrees(
        saved(tmp_path / "m", upstream), x, [up.audio_codes], heard[:, None, :1003], family="DAC"
    )


@torch.no_grad()
def test_mimi_codes_and_sound_are_those_of_transformers(tmp_path: Path, mimi: Any):
    x = sound(1003, batch=1)
    codes = mimi.encode(x).audio_codes
    heard = mimi.decode(codes).audio_values[..., :1003]
    agrees(saved(tmp_path / "m", mimi), x, [codes], heard, family="Mimi")


@torch.no_grad()
def test_mimi_with_few_codebooks_is_what_upstream_makes_of_them(tmp_path: Path, mimi: Any):
    x = sound(500)
    codes = mimi.encode(x, num_quantizers=2).audio_codes
    model: Any = foreign.open(saved(tmp_path / "m", mimi))
    mine = model.encode(x).truncate(2)
    assert torch.equal(mine.levels[0], codes)
    heard = mimi.decode(codes).audio_values[..., :500]
    torch.testing.assert_close(model.decode(mine), heard, atol=1e-5, rtol=0)


def test_mimi_by_the_names_of_the_published_file_is_the_same(tmp_path: Path, mimi: Any):
    path = saved(tmp_path / "m", mimi)
    sign = foreign.describe(path).fingerprint
    tensors, file = load_file(path / "model.safetensors"), path / "model.safetensors"
    flat = {"encoder.encoder_seanet.": "encoder.", "decoder.decoder_seanet.": "decoder."}
    nested = {new: old for old, new in flat.items()}
    inner = ("encoder_transformer.", "downsample.", "decoder_transformer.", "upsample.")
    is_nested = any(name.startswith("encoder.encoder_seanet.") for name in tensors)
    other = {}
    for name, tensor in tensors.items():
        for old, new in (flat if is_nested else nested).items():
            if name.startswith(old):
                name = name.replace(old, new, 1)
                break
        for part in inner:
            half = "encoder." if part in inner[:2] else "decoder."
            if is_nested and name.startswith(half + part):
                name = name.removeprefix(half)
            elif not is_nested and name.startswith(part):
                name = half + name
        other[name] = tensor
    assert set(other) != set(tensors)
    save_file(other, file)
    assert foreign.describe(path).fingerprint == sign


@pytest.mark.parametrize(("key", "value"), [("use_causal_conv", False), ("trim_right_ratio", 0.5)])
def test_variants_that_we_do_not_have_are_refused_by_name(
    tmp_path: Path, encodec: Any, key: str, value: object
):
    path = saved(tmp_path / "m", encodec)
    data = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(data | {key: value}))
    with pytest.raises(CheckpointError, match=key):
        foreign.open(path)


def test_a_config_that_does_not_fit_the_weights_is_refused(tmp_path: Path, dac: Any):
    path = saved(tmp_path / "m", dac)
    data = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(data | {"codebook_dim": 7}))
    with pytest.raises(CheckpointError, match="shape"):
        foreign.open(path)


@torch.no_grad()
@pytest.mark.parametrize("length", [460, 690])
def test_stereo_encodec_takes_lengths_at_which_upstream_fails(tmp_path: Path, length: int):
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(0)
    upstream = EncodecModel(EncodecConfig(**STEREO)).eval()
    lively(upstream)
    # The last chunk lies in the overlap of the one before.
    x = sound(2 * length).reshape(1, 2, length)
    with pytest.raises(RuntimeError):
        upstream(x, bandwidth=3.5)
    model: Any = foreign.open(saved(tmp_path / "m", upstream))
    codes = model.encode(x).check()
    heard = model.decode(codes)
    assert heard.shape == x.shape
    assert heard.isfinite().all()
    first = upstream.encode(x[..., :240], bandwidth=3.5).audio_codes[0]
    assert torch.equal(codes.levels[0][..., :30], first)


STEREO: dict[str, Any] = {
    "target_bandwidths": [1.0, 3.5],
    "sampling_rate": 800,
    "audio_channels": 2,
    "hidden_size": 8,
    "num_filters": 4,
    "upsampling_ratios": [4, 2],
    "codebook_size": 16,
    "normalize": True,
    "chunk_length_s": 0.3,
    "overlap": 0.05,
    "norm_type": "time_group_norm",
    "use_causal_conv": False,
}


@torch.no_grad()
@pytest.mark.parametrize("length", [1003, 240, 228, 229, 7, 680])
def test_stereo_encodec_codes_scales_and_sound_are_those_of_transformers(
    tmp_path: Path, length: int
):
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(0)
    upstream = EncodecModel(EncodecConfig(**STEREO)).eval()
    lively(upstream)
    x = sound(2 * length).reshape(1, 2, length) * torch.linspace(0.1, 1, length)
    up = upstream.encode(x, bandwidth=3.5)
    heard = upstream.decode(
        up.audio_codes, up.audio_scales, last_frame_pad_length=up.last_frame_pad_length
    )[0][..., :length]
    frames = STEREO["sampling_rate"] * 3 // 10 // 8
    codes = F.pad(up.audio_codes, (0, frames - up.audio_codes.shape[-1]))
    codes = codes.permute(1, 2, 0, 3).flatten(2)  # (1, Q, chunks · frames)
    scales = torch.cat([each.flatten() for each in up.audio_scales]).numpy().tobytes()
    read = torch.tensor(list(scales), dtype=torch.int64)[None]
    if length > 500:
        ours = agrees(
            saved(tmp_path / "m", upstream), x, [codes, read], heard, family="EnCodec 48 kHz"
        )
        assert ours.spec.channels == 2
    model: Any = foreign.open(saved(tmp_path / "m", upstream))
    found = model.encode(x).check()
    assert torch.equal(found.levels[0], codes)
    assert torch.equal(found.levels[1], read)
    torch.testing.assert_close(model.decode(found), heard, atol=1e-5, rtol=0)
