"""Facts of codes without a header, for the model that the user names. No torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vqtok.codes import files
from vqtok.errors import CodesError
from vqtok.media.kinds import modality
from vqtok.pipeline import arrays
from vqtok.pipeline.facts import CodesFacts, LevelFacts

if TYPE_CHECKING:
    from vqtok.checkpoints.directory import ModelInfo


def is_array(path: Path) -> bool:
    """Tell whether a file holds codes or tokens without a header."""
    if not path.is_file():
        return False
    if path.suffix.lower() == arrays.TOKENS:
        return True
    return modality(path) == "codes" and not files.has_header(path)


def array_facts(path: Path, info: ModelInfo, *, size: str | None) -> CodesFacts:
    """Describe all items of a file.

    Raises:
        CodesError: they do not fit the model.
        UsageError: a size that is none.
    """
    from vqtok.metrics.codebook import Usage

    spec = info.spec
    spec.require_codes(info.name)
    found = arrays.read(path, spec, size=arrays.size_of(size, spec) if size else None)
    if not len(found):
        raise CodesError(path, "no codes")
    usages = [Usage.of(level) for level in spec.levels]
    lengths, extent = [0] * len(spec.levels), 0
    for codes, header in found:
        for number, array in enumerate(codes.levels):
            usages[number].add(array)
            lengths[number] += array.shape[-1]
        extent += header.extent[-1]
    codes, header = found[0]
    shapes = [array.shape if len(array) > 1 else array.shape[1:] for array in codes.levels]
    if len(found) > 1 and spec.modality == "audio":  # as one recording after the other
        shapes = [(*s[:-1], length) for s, length in zip(shapes, lengths, strict=True)]
        header = replace(header, extent=(extent,))
    elif len(found) > 1:
        shapes = [(len(found), *shape) for shape in shapes]
    levels = zip(spec.levels, shapes, usages, strict=True)
    return CodesFacts(
        subject=str(path),
        header=replace(header, model=info.name),
        levels=tuple(LevelFacts(level, tuple(shape), usage) for level, shape, usage in levels),
        size_bytes=path.stat().st_size,
        found=str(info.path),
        items=len(found),
    )
