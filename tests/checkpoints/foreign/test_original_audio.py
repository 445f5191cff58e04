"""DAC and EnCodec as their authors publish them, written by their own classes.

Both packages import libraries for resampling and datasets that play no part in the networks; where
those are not installed, empty modules stand in for them.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.checkpoints.foreign.audio import agrees
from tests.tokenizers.published import sound
from vqtok.checkpoints import foreign
from vqtok.errors import CheckpointError

for package, name in (("descript-audio-codec", "dac"), ("encodec", "encodec")):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs the package {package}", allow_module_level=True)

# The packages use what torch calls deprecated; the files that are about hold exactly that.
pytestmark = [
    pytest.mark.outside,
    pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning"),
]

KWARGS: dict[str, Any] = {
    "encoder_dim": 4,
    "encoder_rates": [2, 5],
    "decoder_dim": 16,
    "decoder_rates": [5, 2],
    "n_codebooks": 3,
    "codebook_size": 16,
    "codebook_dim": 4,
    "sample_rate": 800,
}


@pytest.fixture(scope="module")
def upstream() -> dict[str, Any]:
    """The modules that define the networks, imported while stand-ins are in place."""
    tools, ml, torchaudio = (types.ModuleType(n) for n in ("audiotools", "ml", "torchaudio"))
    tools.AudioSignal, tools.ml, ml.BaseModel = object, ml, nn.Module  # type: ignore[attr-defined]
    stand_ins = {"audiotools": tools, "audiotools.ml": ml, "torchaudio": torchaudio}
    spec = importlib.util.find_spec("dac")
    assert spec is not None
    folder = Path(str(spec.origin)).parent
    for name in ("dac", "dac.model", "dac.nn"):  # without what their __init__ imports
        stand_ins[name] = types.ModuleType(name)
        stand_ins[name].__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of scripted functions
        for name, module in stand_ins.items():
            patch.setitem(sys.modules, name, module)
        found = {
            "dac": importlib.import_module("dac.model.dac"),
            "encodec": importlib.import_module("encodec.model"),
            "seanet": importlib.import_module("encodec.modules"),
            "quantization": importlib.import_module("encodec.quantization"),
        }
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("dac", "encodec"):
            del sys.modules[name]
    return found


def published_dac(upstream: dict[str, Any], **more: Any) -> Any:
    torch.manual_seed(0)
    model = upstream["dac"].DAC(**KWARGS, **more).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("weight_v"):
                weight.normal_(0, 1)
            elif name.endswith("weight_g"):
                weight.uniform_(0.5, 1.2)
            elif name.endswith("alpha"):
                weight.uniform_(0.5, 2)
            elif name.endswith("codebook.weight"):
                weight.normal_(0, 0.3)
    return model


def published_encodec(upstream: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    sizes = {"channels": 1, "dimension": 8, "n_filters": 4, "ratios": [4, 2], "norm": "weight_norm"}
    sizes |= {"causal": True}
    encoder = upstream["seanet"].SEANetEncoder(**sizes)
    decoder = upstream["seanet"].SEANetDecoder(**sizes)
    quantizer = upstream["quantization"].ResidualVectorQuantizer(dimension=8, n_q=5, bins=16)
    model = (
        upstream["encodec"]
        .EncodecModel(
            encoder, decoder, quantizer, target_bandwidths=[60.0], sample_rate=24000, channels=1
        )
        .eval()
    )
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith("embed"):
                buffer.normal_(0, 0.05)
            elif name.endswith("inited"):
                buffer.fill_(1.0)
    model.set_target_bandwidth(60.0)
    return model


@torch.no_grad()
def test_dac_codes_and_sound_are_those_of_its_package(tmp_path: Path, upstream: dict[str, Any]):
    model, x = published_dac(upstream), sound(1003)
    _, codes, *_ = model.encode(model.preprocess(x, 800))
    quantized = model.quantizer.from_codes(codes)[0]
    heard = nn.functional.pad(model.decode(quantized), (2, 0))[..., :1003]
    state = {"state_dict": model.state_dict(), "metadata": {"kwargs": KWARGS}}
    torch.save(state, tmp_path / "weights.pth")
    agrees(tmp_path / "weights.pth", x, [codes], heard, family="DAC `.pth`")


def test_dac_without_its_metadata_is_refused_with_the_reason(
    tmp_path: Path, upstream: dict[str, Any]
):
    torch.save({"state_dict": published_dac(upstream).state_dict()}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="sampling rate"):
        foreign.open(tmp_path / "weights.pth")


def test_dac_with_another_latent_dimension_is_refused(tmp_path: Path, upstream: dict[str, Any]):
    model = published_dac(upstream, latent_dim=24)
    kwargs = KWARGS | {"latent_dim": 24}
    state = {"state_dict": model.state_dict(), "metadata": {"kwargs": kwargs}}
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="latent_dim"):
        foreign.open(tmp_path / "weights.pth")


@torch.no_grad()
def test_encodec_codes_and_sound_are_those_of_its_package(tmp_path: Path, upstream: dict[str, Any]):
    model, x = published_encodec(upstream), sound(1003)
    frames = model.encode(x)
    torch.save(model.state_dict(), tmp_path / "encodec_24khz-00000000.th")
    heard = model.decode(frames)[..., :1003]
    ours = agrees(
        tmp_path / "encodec_24khz-00000000.th", x, [frames[0][0]], heard, family="EnCodec `.th`"
    )
    assert ours.spec.depth == 5
    assert ours.spec.rate == 24000


def test_encodec_with_more_blocks_and_other_kernels_is_read_from_its_shapes(
    tmp_path: Path, upstream: dict[str, Any]
):
    sizes = {"channels": 1, "dimension": 8, "n_filters": 4, "ratios": [3, 2], "causal": True}
    sizes |= {"norm": "weight_norm", "n_residual_layers": 2, "kernel_size": 5, "lstm": 1}
    torch.manual_seed(0)
    encoder = upstream["seanet"].SEANetEncoder(**sizes).eval()
    model = nn.ModuleDict(
        {
            "encoder": encoder,
            "decoder": upstream["seanet"].SEANetDecoder(**sizes),
            "quantizer": upstream["quantization"].ResidualVectorQuantizer(
                dimension=8, n_q=2, bins=16
            ),
        }
    )
    torch.save(model.state_dict(), tmp_path / "model.th")
    ours: Any = foreign.open(tmp_path / "model.th")
    x = sound(300)
    with torch.no_grad():
        torch.testing.assert_close(ours.latents(x), encoder(x), atol=1e-6, rtol=1e-5)
