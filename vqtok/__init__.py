"""vqtok: images and audio ⇄ discrete codes, with any VQ-VAE-family checkpoint.

Public names are resolved on first use (PEP 562), so that ``import vqtok`` never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from vqtok.api import decode_file as decode_file
    from vqtok.api import encode_file as encode_file
    from vqtok.api import load as load
    from vqtok.api import models as models
    from vqtok.api import read_codes as read_codes
    from vqtok.api import write_codes as write_codes
    from vqtok.checkpoints.directory import save as save
    from vqtok.checkpoints.priors import load as load_prior
    from vqtok.checkpoints.priors import save as save_prior
    from vqtok.cli.embedded import run as run
    from vqtok.codes.container import Codes as Codes
    from vqtok.codes.spec import CodeSpec as CodeSpec
    from vqtok.codes.spec import LevelSpec as LevelSpec
    from vqtok.errors import VqtokError as VqtokError
    from vqtok.pipeline.wrapped import wrap as wrap

_HOMES = {
    "encode_file": ("vqtok.api", "encode_file"),
    "decode_file": ("vqtok.api", "decode_file"),
    "models": ("vqtok.api", "models"),
    "write_codes": ("vqtok.api", "write_codes"),
    "load": ("vqtok.api", "load"),
    "save": ("vqtok.checkpoints.directory", "save"),
    "load_prior": ("vqtok.checkpoints.priors", "load"),
    "save_prior": ("vqtok.checkpoints.priors", "save"),
    "Codes": ("vqtok.codes.container", "Codes"),
    "CodeSpec": ("vqtok.codes.spec", "CodeSpec"),
    "LevelSpec": ("vqtok.codes.spec", "LevelSpec"),
    "read_codes": ("vqtok.api", "read_codes"),
    "run": ("vqtok.cli.embedded", "run"),
    "wrap": ("vqtok.pipeline.wrapped", "wrap"),
    "VqtokError": ("vqtok.errors", "VqtokError"),
}

__all__ = [
    "CodeSpec",
    "Codes",
    "LevelSpec",
    "VqtokError",
    "__version__",
    "decode_file",
    "encode_file",
    "load",
    "load_prior",
    "models",
    "read_codes",
    "run",
    "save",
    "save_prior",
    "wrap",
    "write_codes",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vqtok' has no attribute {name!r}")
    threads = importlib.import_module("vqtok.threads")
    threads.configure()  # before torch is loaded
    threads.configure_products()  # and numpy
    module, attribute = _HOMES[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
