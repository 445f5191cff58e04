"""Tokenizers inside checkpoints of language models, and encoders alone, against transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from tests.checkpoints.foreign.conftest import agrees, picture, randomised
from tests.checkpoints.foreign.test_llamagen import expected
from tests.checkpoints.foreign.test_llamagen import made as llamagen
from vqtok.checkpoints import directory, foreign
from vqtok.cli.app import app
from vqtok.errors import CheckpointError, UsageError

SIZES: dict[str, Any] = {
    "base_channels": 32,
    "channel_multiplier": [1, 2, 2],
    "num_res_blocks": 2,
    "latent_channels": 16,
    "embed_dim": 4,
    "in_channels": 3,
}


def janus(side: int = 6) -> Any:
    from transformers import JanusVQVAE, JanusVQVAEConfig

    config = JanusVQVAEConfig(**SIZES, num_embeddings=50, num_patches=side)
    return randomised(JanusVQVAE(config))


def chameleon() -> Any:
    from transformers import ChameleonVQVAE, ChameleonVQVAEConfig

    config = ChameleonVQVAEConfig(**SIZES, num_embeddings=50, resolution=64, attn_resolutions=[16])
    return randomised(ChameleonVQVAE(config))


def apertus() -> Any:
    from transformers import Apertus1p5VisionTokenizerConfig as Config
    from transformers import Apertus1p5VisionTokenizerModel as Model

    sizes = SIZES | {"num_res_blocks": 4, "codebook_size": 50, "resolution": 64}
    return randomised(Model(Config(**sizes, attn_resolutions=[16])))


def emu3() -> Any:
    from transformers import Emu3VQVAE, Emu3VQVAEConfig

    sizes = SIZES | {"codebook_size": 50, "latent_channels": 4, "hidden_size": 64}
    model = randomised(Emu3VQVAE(Emu3VQVAEConfig(**sizes, attn_resolutions=[2])))
    generator = torch.Generator().manual_seed(3)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.2)
        elif name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    latents: list[Tensor] = []
    hook = model.quant_conv.register_forward_hook(lambda *given: latents.append(given[2]))
    model.encode(picture(48, 48, seed=5), image_sizes=torch.tensor([(48, 48)] * 2))
    hook.remove()
    # Entries that lie where latents do.
    rows = latents[0].movedim(1, -1).reshape(-1, 4)
    model.quantize.embedding.weight.copy_(rows[:: len(rows) // 50][:50])
    return model


def inside(
    folder: Path, state: dict[str, Tensor], prefix: str, *, kind: str, shards: int = 4
) -> Path:
    """A language model's directory, in so many shards, with a tokenizer's weights in the second."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "vocab_size": 7}))
    held = [{f"model.language_model.layers.{i}.w": torch.zeros(5, 3)} for i in range(shards)]
    held[min(1, shards - 1)] |= {prefix + name: tensor for name, tensor in state.items()}
    if shards == 1:
        save_file(held[0], folder / "model.safetensors")
        return folder
    names = [f"model-{i:05}-of-{shards:05}.safetensors" for i in range(1, shards + 1)]
    for name, tensors in zip(names, held, strict=True):
        save_file(tensors, folder / name)
    table = {key: name for name, part in zip(names, held, strict=True) for key in part}
    index = {"metadata": {}, "weight_map": table}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@torch.no_grad()
@pytest.mark.parametrize("shards", [1, 4])
def test_codes_and_pixels_of_janus_are_those_of_transformers(tmp_path: Path, shards: int):
    model = janus()
    path = inside(
        tmp_path / "lm", model.state_dict(), "model.vqmodel.", kind="janus", shards=shards
    )
    x = picture(24, 24)
    codes = model.encode(x).image_tokens.reshape(2, 6, 6)
    shown = model.decode(codes.flatten(1))
    assert foreign.recognise(path).family == "Janus"
    agrees(path, x, [codes], shown)


@torch.no_grad()
def test_janus_by_its_authors_names_is_llamagen(tmp_path: Path):
    state = llamagen()
    path = inside(tmp_path / "lm", state, "gen_vision_model.", kind="multi_modality")
    x = picture(32, 40)
    codes, shown = expected(state, x)
    assert foreign.recognise(path).family == "LlamaGen VQ-8, VQ-16"
    agrees(path, x, [codes], shown)


def encodes_as(path: Path, x: Tensor, codes: Tensor) -> Any:
    """Hold an encoder alone to upstream, and what ``save`` makes of it."""
    ours: Any = directory.load(path)
    directory.save(path.parent / "converted", ours)
    again: Any = directory.load(path.parent / "converted")
    facts = [foreign.describe(path), directory.describe(path.parent / "converted")]
    assert facts[0].fingerprint == facts[1].fingerprint
    assert [each.decodes for each in facts] == [False, False]
    for model in (ours, again):
        found = model.encode(x).check()
        assert found.levels[0].unique().numel() > 4
        assert torch.equal(found.levels[0], codes)
        for attempt in (
            lambda model=model, found=found: model.decode(found),
            lambda model=model: model(x),
            lambda model=model: model.render(model.latents(x), x.shape[2:]),
        ):
            with pytest.raises(UsageError, match="encodes only: this model has no decoder"):
                attempt()
    return ours


@torch.no_grad()
@pytest.mark.parametrize("shards", [1, 4])
def test_codes_of_chameleon_are_those_of_transformers(tmp_path: Path, shards: int):
    model = chameleon()
    state = model.state_dict()
    path = inside(tmp_path / "lm", state, "model.vqmodel.", kind="chameleon", shards=shards)
    x = picture(32, 40)
    assert foreign.recognise(path).family == "Chameleon"
    encodes_as(path, x, model.encode(x).image_tokens.reshape(2, 8, 10))


@torch.no_grad()
def test_codes_of_apertus_are_those_of_transformers(tmp_path: Path):
    model = apertus()
    model.save_pretrained(tmp_path / "m")
    x = picture(32, 40)
    codes = model.encode(x).image_tokens
    assert foreign.recognise(tmp_path / "m").family == "Emu3.5 IBQ of Apertus"
    encodes_as(tmp_path / "m", x, codes)
    path = inside(tmp_path / "lm", model.state_dict(), "model.vision_tokenizer.", kind="apertus1p5")
    assert torch.equal(foreign.open(path).encode(x).levels[0], codes)


@torch.no_grad()
@pytest.mark.parametrize("alone", [True, False])
def test_codes_and_pixels_of_emu3_are_those_of_transformers(tmp_path: Path, alone: bool):
    model = emu3()
    path = tmp_path / "m"
    if alone:
        model.save_pretrained(path)
    else:
        inside(path, model.state_dict(), "model.vqmodel.", kind="emu3")
    x = picture(32, 40)
    codes = torch.stack(model.encode(x, image_sizes=torch.tensor([(32, 40)] * 2)).image_tokens)
    assert foreign.recognise(path).family == "Emu3"
    agrees(path, x, [codes], model.decode(codes))


def test_of_a_language_model_only_the_tokenizers_shard_is_opened(tmp_path: Path):
    model = janus()
    path = inside(tmp_path / "lm", model.state_dict(), "model.vqmodel.", kind="janus")
    for index in (1, 3, 4):
        (path / f"model-{index:05}-of-00004.safetensors").unlink()
    assert foreign.open(path).spec.levels[0].codebook_size == 50
    (path / "model-00002-of-00004.safetensors").unlink()
    with pytest.raises(CheckpointError, match="00002-of-00004"):
        foreign.open(path)


READ = """
import os, re, sys
from pathlib import Path
from vqtok.checkpoints import foreign

def read():
    rest = Path("/proc/self/io").read_text(), Path("/proc/self/status").read_text()
    called = int(re.search(r"rchar: (\\d+)", rest[0])[1])
    return called + 1024 * int(re.search(r"RssFile:\\s+(\\d+)", rest[1])[1])

foreign.open(Path(sys.argv[1]))  # so that what is imported is not counted
before = read()
held = foreign.read(Path(sys.argv[2]))  # its numbers stay mapped
model = held.open()
print(read() - before, model.spec.fingerprint)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts by /proc")
def test_of_the_tokenizers_shard_only_the_tokenizer_is_read(tmp_path: Path):
    small = inside(tmp_path / "small", janus().state_dict(), "model.vqmodel.", kind="janus")
    large = inside(tmp_path / "large", janus().state_dict(), "model.vqmodel.", kind="janus")
    whole = 1 << 27
    file = large / "model-00002-of-00004.safetensors"
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    table = json.loads(data[8 : 8 + length])
    size = len(data) - 8 - length
    table["model.embed.weight"] = {
        "dtype": "U8", "shape": [whole], "data_offsets": [size, size + whole]
    }  # fmt: skip
    head = json.dumps(table).encode()
    head += b" " * (-len(head) % 8)
    with file.open("wb") as stream:
        stream.write(len(head).to_bytes(8, "little") + head + data[8 + length :])
        for _ in range(whole >> 20):
            stream.write(bytes(1 << 20))
    done = subprocess.run(
        [sys.executable, "-c", READ, str(small), str(large)],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    read, sign = done.stdout.split()
    assert sign == foreign.describe(small).fingerprint
    assert int(read) < 4 * size + (16 << 20) < whole


def test_an_encoder_alone_writes_codes_and_says_that_it_has_no_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from PIL import Image

    model = chameleon()
    path = inside(tmp_path / "lm", model.state_dict(), "model.vqmodel.", kind="chameleon")
    (tmp_path / "models").mkdir()
    directory.save(tmp_path / "models" / "seen", directory.load(path))
    monkeypatch.setenv("VQTOK_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 32), (9, 100, 50)).save("x.png")
    run = CliRunner().invoke
    assert run(app, ["encode", "x.png", "-m", "seen", "-o", "x.npy"]).exit_code == 0
    for command in (["decode", "x.npy"], ["decode", "x.npy", "-m", "seen"],
                    ["eval", "x.png", "-m", "seen"], ["export", "seen", "-o", "out"],
                    ["info", "seen", "--plot", "book.png"]):  # fmt: skip
        result = run(app, command)
        assert result.exit_code in (1, 2), command
        errors = [line for line in result.stderr.splitlines() if line.startswith("Error")]
        assert len(errors) == 1, result.stderr
        assert errors[0].endswith("encodes only: this model has no decoder")
    assert run(app, ["info", "x.npy", "--plot", "map.png"]).exit_code == 0
    assert "none: this model encodes only" in run(app, ["info", "seen"]).stdout
    facts = json.loads(run(app, ["info", "seen", "--json"]).stdout)
    assert facts["decodes"] is False
    assert "encodes only" in run(app, ["models"]).stdout
