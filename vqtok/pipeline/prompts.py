"""What samples begin with: codes from a file, or a picture or recording that is encoded first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vqtok.codes import files
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec
from vqtok.errors import UsageError
from vqtok.media import audio, image
from vqtok.media.kinds import modality
from vqtok.pipeline.models import Models
from vqtok.protocols import Coder, Prompt


def read(path: Path, spec: CodeSpec, *, name: str, coder: Callable[[], Coder]) -> Codes:
    """Codes of the first channel of what a file holds.

    Args:
        path: Codes, with or without a header, or a picture or recording.
        spec: Of the codes that the prior knows, with the fingerprint of their tokenizer.
        name: Of that tokenizer, for messages.
        coder: Loads it; called for pictures and recordings.

    Raises:
        CodesError: codes of another tokenizer, or damaged ones.
        MediaError: a file that cannot be read.
        UsageError: a file of another kind.
    """
    kind = modality(path)
    if kind == "codes":
        codes, header = files.read_foreign(path, spec, contexts=Models().contexts)
        files.check_model(header, spec, name=name)
        return Codes(spec, tuple(level[:1] for level in codes.levels), codes.extent)
    if kind != spec.modality:
        raise UsageError(
            f"--prompt {path}", f"neither codes nor of the prior's kind, {spec.modality}"
        )
    return _encoded(path, spec, coder())


def prompt(codes: Codes, extent: tuple[int, ...], *, keep: int | None) -> Prompt:
    """States how much of codes a sample begins with.

    Args:
        codes: Of one signal.
        extent: Of the sample.
        keep: Rows or frames of the first level. None: half of a picture's rows; all frames of a
            recording that is shorter than the sample, or else half of the sample's.
    """
    if keep is None:
        level = codes.spec.levels[0]
        axis = next((i for i, each in enumerate(level.axes) if each != "q"), 0)
        whole, there = (level.shape(size)[axis] for size in (extent, codes.extent))
        keep = there if codes.spec.modality == "audio" and there < whole else whole // 2
    return Prompt(codes, keep)


def _encoded(path: Path, spec: CodeSpec, coder: Coder) -> Codes:
    if spec.modality == "audio":
        samples, _ = audio.read(path, rate=int(spec.rate or 1), mono=True)
        signal = samples[:1]
    else:
        signal, _ = image.read(path)
    codes = coder.encode_many([np.ascontiguousarray(signal)])[0]
    return Codes(spec, codes.levels, codes.extent)
