"""A small checkpoint of every family, written as the tests of each family write it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Make = Callable[[Path], Path]


def module(name: str) -> Any:
    """The tests of one family; a package that they need and that is missing skips the test."""
    return importlib.import_module(f"tests.checkpoints.foreign.test_{name}")


def stored(name: str, tests: str, *keys: str, **options: Any) -> Make:
    """A file of what the tests' ``made`` gives, below some keys."""

    def make(folder: Path) -> Path:
        held: Any = module(tests).made(**options)
        for key in keys:
            held = {key: held}
        torch.save(held, folder / name)
        return folder / name

    return make


def diffusers(**changes: Any) -> Make:
    def make(folder: Path) -> Path:
        module("diffusers").made(**changes).save_pretrained(folder / "vq")
        return folder / "vq"

    return make


def dalle(folder: Path) -> Path:
    tests, sizes = module("dalle"), {"n_hid": 64, "n_blk_per_group": 1, "vocab_size": 512}
    (folder / "dvae").mkdir()
    encoder = tests.dall_e.Encoder(**sizes)
    decoder = tests.dall_e.Decoder(n_init=8, **sizes)
    torch.save(tests.randomised(encoder, 1), folder / "dvae" / "encoder.pkl")
    torch.save(tests.randomised(decoder, 2), folder / "dvae" / "decoder.pkl")
    return folder / "dvae"


def taming(folder: Path, *, gumbel: bool = False) -> Path:
    tests = module("taming")
    model = tests.randomised(tests.Upstream(blocks=2, gumbel=gumbel))
    return Path(tests.saved(folder / "last.ckpt", model))


def ibq(folder: Path) -> Path:
    tests = module("taming")
    state = tests.randomised(tests.Upstream(blocks=4)).state_dict()
    shadow = {f"model_ema.{name.replace('.', '')}": value for name, value in state.items()}
    held = {**state, **shadow, "model_ema.decay": torch.tensor(0.999)}
    torch.save({"state_dict": held}, folder / "ibq.ckpt")
    return folder / "ibq.ckpt"


def cosmos(folder: Path) -> Path:
    tests = module("cosmos")
    return Path(tests.plain(folder / "cosmos", tests.made(4, 1, attends=1), torch.zeros(0)))


def transformers(family: str) -> Make:
    def make(folder: Path) -> Path:
        tests = module("hf_audio")
        published: Any = importlib.import_module("tests.tokenizers.published")
        one = {key: value for key, value in published.ENCODEC.items() if key != "num_quantizers"}
        kind, keys = {
            "encodec": ("Encodec", one | {"target_bandwidths": [2.0]}),
            "encodec 48": ("Encodec", tests.STEREO),
            "dac": ("Dac", published.DAC),
            "mimi": ("Mimi", published.MIMI | {"upsampling_ratios": [4, 2]}),
        }[family]
        torch.manual_seed(0)
        upstream: Any = importlib.import_module("transformers")
        config = getattr(upstream, f"{kind}Config")(**keys)
        model = getattr(upstream, f"{kind}Model")(config).eval()
        published.lively(model)
        return Path(tests.saved(folder / "m", model))

    return make


def wavtokenizer(folder: Path) -> Path:
    module("wavtokenizer").made().save_pretrained(folder / "m")
    return folder / "m"


def wavtokenizer_ckpt(folder: Path) -> Path:
    module("wavtokenizer").published(folder / "m.ckpt")
    return folder / "m.ckpt"


def xcodec(folder: Path) -> Path:
    module("xcodec").made().save_pretrained(folder / "m")
    return folder / "m"


def language_model(name: str, prefix: str, **options: Any) -> Make:
    """A directory of a language model with a tokenizer inside; prefix "": the tokenizer alone."""

    def make(folder: Path) -> Path:
        tests = module("language_models")
        state = getattr(tests, name)(**options).state_dict()
        return Path(tests.inside(folder / "lm", state, prefix, kind=name))

    return make


def snac(folder: Path) -> Path:
    tests = module("snac")
    tests.published(tests.upstream.__wrapped__(), folder / "m", **tests.VARIANTS["as 44k"])
    return folder / "m"


def dac_pth(folder: Path) -> Path:
    tests = module("original_audio")
    model = tests.published_dac(tests.upstream.__wrapped__())
    state = {"state_dict": model.state_dict(), "metadata": {"kwargs": tests.KWARGS}}
    torch.save(state, folder / "weights.pth")
    return folder / "weights.pth"


def encodec_th(folder: Path) -> Path:
    tests = module("original_audio")
    model = tests.published_encodec(tests.upstream.__wrapped__())
    torch.save(model.state_dict(), folder / "encodec_24khz-00000000.th")
    return folder / "encodec_24khz-00000000.th"


CHECKPOINTS: dict[str, Make] = {
    "diffusers VQModel": diffusers(),
    "MoVQ": diffusers(norm_type="spatial", vq_embed_dim=4),
    "LlamaGen VQ-8, VQ-16": stored("vq_ds16_c2i.pt", "llamagen", "model"),
    "VQ-VAE-2 (rosinality)": stored("vqvae_560.pt", "rosinality"),
    "DALL-E dVAE": dalle,
    "MaskGIT VQGAN": stored("maskgit.bin", "maskgit"),
    "Open-MAGVIT2": stored("imagenet_256_L.ckpt", "magvit2", "state_dict"),
    "VAR": stored("vae_ch160v4096z32.pth", "var"),
    "TiTok": stored("tokenizer_titok_l32.bin", "titok", mixes=True),
    "Cosmos DI": cosmos,
    "VQGAN": taming,
    "Gumbel VQGAN": lambda folder: taming(folder, gumbel=True),
    "IBQ": ibq,
    "Janus": language_model("janus", "model.vqmodel."),
    "Chameleon": language_model("chameleon", "model.vqmodel."),
    "Emu3.5 IBQ of Apertus": language_model("apertus", "model.vision_tokenizer."),
    "Emu3": language_model("emu3", "model.vqmodel."),
    "EnCodec 24 kHz": transformers("encodec"),
    "EnCodec 48 kHz": transformers("encodec 48"),
    "DAC": transformers("dac"),
    "Mimi": transformers("mimi"),
    "X-codec": xcodec,
    "WavTokenizer": wavtokenizer,
    "WavTokenizer `.ckpt`": wavtokenizer_ckpt,
    "SNAC": snac,
    "DAC `.pth`": dac_pth,
    "EnCodec `.th`": encodec_th,
}
"""Family → what writes a checkpoint of it into a folder."""
