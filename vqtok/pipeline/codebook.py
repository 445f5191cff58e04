"""Codebooks as pictures: what the decoder makes of each entry alone, and how often it is used.

An entry is decoded as a field of itself, ``FIELD`` codes wide, whose middle is shown. Of a stack
the first stage is looked at, without the others; of several levels, the others are the same
everywhere meanwhile. torch is imported where a model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from vqtok.codes import files
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec
from vqtok.errors import CodesError, UsageError, one_line
from vqtok.metrics.codebook import Usage
from vqtok.pipeline.models import Models
from vqtok.plots import codes as code_plots
from vqtok.plots import sheet

if TYPE_CHECKING:
    from torch import Tensor

    from vqtok.checkpoints.facts import ModelInfo
    from vqtok.protocols import Tokenizer, TrainableTokenizer

By = Literal["colour", "pca"]

FIELD = 3
"""Codes each way of the coarsest level."""

FRAMES = 16
"""Frames of a field of sound; its spectrum is that of the last half."""

BATCH = 128
"""Entries that are decoded together."""


def draw(info: ModelInfo, *, by: By = "colour", use: str | None = None) -> np.ndarray:
    """Draw every entry of a model's codebooks, level by level, and its use beside it.

    Args:
        info: Of a tokenizer.
        by: What the entries are sorted by: their colour, or the two axes along which their vectors
            differ most.
        use: Codes file or corpus in which they are counted; None: nothing is counted.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UsageError: a model without codebooks, or whose codes are of whole signals.
        CodesError: codes of another model, or damaged ones.
    """
    from vqtok.checkpoints import directory

    info.spec.require_codes(info.name)
    info.require_decoder()
    is_image = info.spec.modality == "image"
    by = by if is_image else "pca"  # sound has no colour
    if any("n" in level.axes for level in info.spec.levels):
        reason = "its codes are of whole signals: an entry alone is nothing to look at"
        raise UsageError(info.name, reason)
    counts = None if use is None else counted(info, use)
    model = directory.load(info)
    rest = _ordinary(model)
    parts = []
    for index, level in enumerate(info.spec.levels):
        shown = entries(model, index, np.arange(level.codebook_size), rest=rest)
        order = _order(model, index, shown, by=by)
        used = None if counts is None else counts[index][order]
        name = "" if len(info.spec.levels) == 1 else f"{level.name}: "
        what = "entries" + (f" of the first of {level.depth} stages" if level.depth else "")
        title = f"{name}{level.codebook_size:,} {what}, each alone, by {_BY[by]}"
        title += "" if used is not None else trained(info.training, level.name)
        panels = (code_plots.book_panels if is_image else code_plots.spectra_panels)(
            shown[order], used, title=title
        )
        heading = one_line(f"Codebook of {info.name}") if not index else ""
        parts.append(sheet.pixels(panels, title=heading, across=is_image))
    return code_plots.below(parts)


_BY = {"colour": "brightness and hue", "pca": "their first two principal components"}


def colours(info: ModelInfo, codes: Codes) -> list[np.ndarray | None]:
    """Find the mean decoded colour of each entry that a picture's codes use.

    Returns:
        For each level (K, 3) uint8, or None where entries have no colour of their own: sound,
        stacks, codes of whole pictures.
    """
    from vqtok.checkpoints import directory

    plain = [level.axes == ("h", "w") for level in codes.spec.levels]
    if codes.spec.modality != "image" or not any(plain):
        return [None for _ in plain]
    model = directory.load(info)
    # What the other levels say most often stands for nothing in particular.
    rest = [int(np.bincount(array.reshape(-1)).argmax()) for array in codes.levels]
    found: list[np.ndarray | None] = []
    for index, (level, array) in enumerate(zip(codes.spec.levels, codes.levels, strict=True)):
        if not plain[index]:
            found.append(None)
            continue
        table = np.zeros((level.codebook_size, 3), np.uint8)
        used = np.unique(array)
        shown = entries(model, index, used, rest=rest)
        table[used] = np.rint((shown.mean(axis=(2, 3)) + 1) * 127.5)
        found.append(table)
    return found


def entries(model: Tokenizer, level: int, wanted: np.ndarray, *, rest: Sequence[int]) -> np.ndarray:
    """Decode entries of a level, each alone.

    Args:
        model: A tokenizer in evaluation mode.
        level: Number of the level.
        wanted: (n,) entries.
        rest: The entry of each level that all positions have of the levels that are not looked at.

    Returns:
        Of images (n, 3, h, w) float32 in [-1, 1], the pixels of one code; of audio (n, bins) log10
        magnitudes of a mel spectrum.
    """
    spec = model.spec
    is_image = spec.modality == "image"
    stride = max(each.stride[0] for each in spec.levels)
    extent = (FIELD * stride,) * 2 if is_image else (FRAMES * stride,)
    parts = []
    for start in range(0, len(wanted), BATCH):
        some = wanted[start : start + BATCH]
        arrays = []
        for index, each in enumerate(spec.levels):
            shape = each.shape(extent)
            if each.depth:
                shape = (1, *shape[1:])
            values = some if index == level else np.full(len(some), rest[index])
            arrays.append(
                np.broadcast_to(values.reshape(-1, *(1 for _ in shape)), (len(some), *shape))
            )
        parts.append(_decoded(model, arrays, extent))
    decoded = np.concatenate(parts)
    if not is_image:
        return _spectra(decoded, rate=int(spec.rate or 0))
    size = spec.levels[level].stride[0]
    middle = slice(stride, stride + size)
    found = decoded[:, :, middle, middle]
    return np.repeat(found, 3, axis=1) if found.shape[1] == 1 else found


def _decoded(model: Tokenizer, arrays: Sequence[np.ndarray], extent: tuple[int, ...]) -> np.ndarray:
    """Decode codes (n, *axes) of every level: (n, C, *extent)."""
    import torch

    levels = tuple(torch.from_numpy(np.ascontiguousarray(each, np.int64)) for each in arrays)
    label = next(iter(model.labels.names), None)
    ours = _trainable(model)
    with torch.inference_mode():
        if ours is None:
            out = model.decode(Codes(model.spec, levels, extent), label=label)
        else:  # many at a time
            z_qs = [q.decode(each) for q, each in zip(ours.quantizers, levels, strict=True)]
            z_q = cast("Tensor", z_qs) if len(z_qs) > 1 else z_qs[0]
            out = ours.render(z_q, extent, label=label)
    found: np.ndarray = out.float().cpu().numpy()
    return found


def _trainable(model: Tokenizer) -> TrainableTokenizer | None:
    return cast("TrainableTokenizer", model) if hasattr(model, "quantizers") else None


def _spectra(sound: np.ndarray, *, rate: int) -> np.ndarray:
    import torch

    from vqtok.pipeline.pictures import log_mel

    last = np.ascontiguousarray(sound[:, 0, sound.shape[-1] // 2 :])
    return np.stack([log_mel(torch.from_numpy(x)[None], rate=rate).mean(axis=1) for x in last])


def _ordinary(model: Tokenizer) -> list[int]:
    """Find an entry of each level that stands for nothing in particular: nearest to the mean."""
    levels = model.spec.levels
    rest = [0 for _ in levels]
    if len(levels) > 1:
        for index in reversed(range(len(levels))):
            wanted = np.arange(levels[index].codebook_size)
            flat = entries(model, index, wanted, rest=rest).reshape(len(wanted), -1)
            rest[index] = int(np.square(flat - flat.mean(axis=0)).sum(axis=1).argmin())
    return rest


def _order(model: Tokenizer, level: int, shown: np.ndarray, *, by: By) -> np.ndarray:
    """Sort entries for a grid of rows: (K,) numbers."""
    if by == "pca":
        return code_plots.rows_by(*_components(_vectors(model, level, shown)))
    colour = shown.mean(axis=(2, 3))
    return code_plots.rows_by(*code_plots.brightness_and_hue(colour))


def _vectors(model: Tokenizer, level: int, shown: np.ndarray) -> np.ndarray:
    """Take the entries' vectors, (K, D); what they decode to, of models that keep them inside."""
    import torch

    ours = _trainable(model)
    if ours is None:
        return shown.reshape(len(shown), -1)
    codes = torch.arange(len(shown))[None]
    codes = codes[:, None] if model.spec.levels[level].depth else codes
    with torch.inference_mode():
        found: np.ndarray = ours.quantizers[level].decode(codes)[0].float().numpy().T
    return found


def _components(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project (K, D) vectors on the two directions in which they vary most."""
    centred = (vectors - vectors.mean(axis=0)).astype(np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    first = centred @ axes[0]
    return first, centred @ axes[1] if len(axes) > 1 else first


def counted(info: ModelInfo, use: str) -> list[np.ndarray]:
    """Count the entries in a codes file or a corpus: (K,) of each level, of the first stage."""
    from vqtok.corpus.index import is_corpus
    from vqtok.corpus.reader import CorpusReader

    path = Path(use)
    if path.is_dir() and is_corpus(path):
        reader = CorpusReader(path)
        _check_same(info, reader.spec, use)
        flat, counts, start = reader.histogram(), [], 0
        for level in reader.spec.levels:
            size = level.codebook_size
            counts.append(flat[start : start + size].astype(np.int64))
            start += (level.depth or 1) * size
        return counts
    if not path.is_file():
        raise UsageError(f"--use {use}", "neither a codes file nor a corpus")
    codes, header = files.read(path, contexts=Models(str(info.path)).contexts)
    _check_same(info, header.spec, use)
    counts = []
    for level, array in zip(codes.spec.levels, codes.levels, strict=True):
        usage = Usage.of(level)
        usage.add(array)
        counts.append(usage.counts[0])
    return counts


def _check_same(info: ModelInfo, spec: CodeSpec, use: str) -> None:
    if spec.fingerprint not in (info.fingerprint, *info.reads):
        raise CodesError(use, f"codes of another model than {info.name}")


def trained(training: Mapping[str, Any], level: str) -> str:
    """Say how the entries were used when training measured it; "" if that is not known."""
    metrics = training.get("metrics")
    found = metrics if isinstance(metrics, dict) else {}
    share, perplexity = (
        found.get(f"{name}_{level}", found.get(name)) for name in ("use", "perplexity")
    )
    if not isinstance(share, float) or not isinstance(perplexity, float):
        return ""
    return f"; in training's held-out files {share:.1%} used, perplexity {perplexity:,.0f}"
