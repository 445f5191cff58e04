"""What can be said of a codes file, a model, a picture or a recording without a model. No torch."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vqtok.checkpoints import directory
from vqtok.checkpoints.weight_files import is_foreign
from vqtok.codes import rates
from vqtok.compose.merges import FILE as MERGES
from vqtok.compose.state import is_stream
from vqtok.corpus.single import is_codes_tar
from vqtok.errors import MediaError, UsageError, VqtokError
from vqtok.media.kinds import HEAD_BYTES, modality, sniff
from vqtok.media.opening import os_message, seekable, subject
from vqtok.pipeline import array_facts
from vqtok.pipeline.corpus_facts import (
    CorpusFacts,
    UnfinishedFacts,
    corpus_facts,
    corpus_picture,
    tar_facts,
)
from vqtok.pipeline.facts import (
    AudioFacts,
    CodesFacts,
    Expected,
    ImageFacts,
    LevelFacts,
)
from vqtok.pipeline.folder_facts import FolderFacts, folder_facts
from vqtok.pipeline.model_facts import ModelFacts, PriorFacts, facts_of
from vqtok.pipeline.models import DEFAULTS
from vqtok.pipeline.stream_facts import MergesFacts, StreamFacts, merges_facts, stream_facts

if TYPE_CHECKING:
    import numpy as np

    from vqtok.checkpoints.directory import ModelInfo
    from vqtok.codes.header import Header
    from vqtok.codes.packed.vqz import Context
    from vqtok.pipeline.codebook import By

__all__ = [
    "AudioFacts",
    "CodesFacts",
    "CorpusFacts",
    "Facts",
    "FolderFacts",
    "ImageFacts",
    "MergesFacts",
    "ModelFacts",
    "PriorFacts",
    "StreamFacts",
    "UnfinishedFacts",
]


Facts = (
    CodesFacts
    | ModelFacts
    | ImageFacts
    | AudioFacts
    | CorpusFacts
    | UnfinishedFacts
    | FolderFacts
    | StreamFacts
    | MergesFacts
)


def inspect(place: str | BinaryIO, *, model: str | None = None, size: str | None = None) -> Facts:
    """Facts of whatever this is.

    Args:
        place: A file, a model directory, the NAME of a model, or a binary stream. A file wins
            over a model of the same name.
        model: NAME or directory of the model that codes without a header are for.
        size: Original size of these, as ``--size`` takes it.

    Raises:
        VqtokError: nothing of that name, or a file that is damaged.
    """
    if model is not None and isinstance(place, str) and array_facts.is_array(Path(place)):
        return array_facts.array_facts(Path(place), directory.describe(model), size=size)
    if not isinstance(place, str):
        with seekable(place) as stream:
            kind = sniff(stream.read(HEAD_BYTES))
            stream.seek(0)
            return _by_kind(kind, stream)
    path = Path(place)
    if is_codes_tar(path):
        return tar_facts(path)
    if path.is_file() and not is_foreign(path):
        return _by_kind(modality(path), path)
    if _is_corpus(path):
        return corpus_facts(path)
    if is_stream(path):
        return stream_facts(path)
    if (path / MERGES).is_file():
        return merges_facts(path)
    is_model = (path / "config.json").is_file() or is_foreign(path)
    if path.is_dir() and not is_model and place not in model_names():
        return folder_facts(path)
    try:
        info = directory.describe(place)
        _check_weights(info)
        return facts_of(info.name, info)
    except UsageError as error:
        if error.subject == repr(place):
            _check_reachable(path)
            # It may have been meant as either, so both are named.
            raise UsageError(place, "no such file or model", hint=error.hint) from error
        raise


def _check_weights(info: ModelInfo) -> None:
    """Checks that another program's weights are those of its config, if its library is here.

    Raises:
        VqtokError: they are not.
    """
    if info.read.open is not None:
        try:
            info.read.open()
        except UsageError as error:
            if not isinstance(error.__cause__, ImportError):
                raise


def _check_reachable(path: Path) -> None:
    """Refuse a path at which there is something that cannot be looked at.

    Raises:
        MediaError: why.
    """
    try:
        path.stat()
    except OSError as error:
        absent = isinstance(error, FileNotFoundError | NotADirectoryError)
        if not absent or path.is_symlink():
            raise MediaError(path, f"cannot read: {os_message(error)}") from error


def models() -> tuple[list[ModelFacts], list[VqtokError]]:
    """Returns every model on the search path, sorted by name, and why the damaged ones are none."""
    sound, damaged = directory.survey()
    return [facts_of(info.name, info) for info in sound], damaged


def model_names() -> list[str]:
    """Names of all models, by listing folders alone."""
    return list(directory.available())


def code_picture(
    place: str | BinaryIO,
    *,
    model: str | None = None,
    by: By = "colour",
    use: str | None = None,
) -> np.ndarray:
    """Returns a picture of a codes file, a corpus or a model's codebook, (H, W, 3) uint8.

    Of codes the map, in the colours of their decoded entries if the model is here, and the
    histogram of its entries; of a corpus the histogram alone.

    Args:
        place: As ``inspect`` takes it.
        model: NAME or directory of the model of the codes; None: it is looked for.
        by: What a codebook's entries are sorted by.
        use: Codes file or corpus in which they are counted.

    Raises:
        CodesError: a damaged file, or codes of another model.
        UsageError: what has no codes, or a use of what is no model.
    """
    from vqtok.pipeline import codebook, pictures

    path = Path(place) if isinstance(place, str) else None
    is_corpus = path is not None and _is_corpus(path)
    is_model = path is not None and (not path.is_file() or is_foreign(path))
    if isinstance(place, str) and is_model and not is_corpus:
        info = directory.describe(place)
        if info.learned is not None or info.family == "classifiers":
            raise UsageError(info.name, "not a tokenizer: it has no codebook to draw")
        return codebook.draw(info, by=by, use=use)
    if use is not None:
        raise UsageError("--use", "counts entries beside the codebook of a model", hint="name one")
    if path is not None and is_corpus:
        return corpus_picture(path)
    from vqtok.codes import files

    codes, header = files.read(place if path is None else path, contexts=_contexts)
    if model is not None:
        from vqtok.pipeline.models import Models

        return pictures.of_codes(
            header, codes, colours=codebook.colours(Models(model).info_for_header(header), codes)
        )
    colours = None  # each entry its own
    found = directory.find(header.spec.fingerprint, name=header.model)
    if found is not None:
        with suppress(VqtokError):  # a map has colours without it
            colours = codebook.colours(found, codes)
    return pictures.of_codes(header, codes, colours=colours)


def _is_corpus(path: Path) -> bool:
    from vqtok.corpus.index import is_corpus

    return path.is_dir() and is_corpus(path)


def _by_kind(kind: str | None, source: Path | BinaryIO) -> Facts:
    if kind == "codes":
        return _codes(source)
    if kind == "image":
        return _image(source)
    if kind == "audio":
        return _audio(source)
    raise MediaError(
        subject(source),
        "neither codes nor an image nor audio",
        hint="vqtok info takes codes files, media files, models and checkpoints",
    )


def _codes(source: Path | BinaryIO) -> CodesFacts:
    from vqtok.codes import files
    from vqtok.metrics.codebook import Usage

    codes, header = files.read(source, contexts=_contexts)
    levels = []
    for level, array in zip(codes.spec.levels, codes.levels, strict=True):
        usage = Usage.of(level)
        usage.add(array)
        shape = tuple(array.shape if len(array) > 1 else array.shape[1:])
        levels.append(LevelFacts(level, shape, usage))
    found = directory.find(header.spec.fingerprint, name=header.model)
    return CodesFacts(
        subject=subject(source),
        header=header,
        levels=tuple(levels),
        size_bytes=source.stat().st_size if isinstance(source, Path) else None,
        found=None if found is None else str(found.path),
    )


def _contexts(header: Header, fingerprint: str) -> Context:
    """Finds what codes were packed with."""
    from vqtok.pipeline.models import Models

    return Models().contexts(header, fingerprint)


def _image(source: Path | BinaryIO) -> ImageFacts:
    from vqtok.media import image

    found = image.probe(source)
    expected = _expected("image", (found.height, found.width))
    return ImageFacts(subject=subject(source), image=found, expected=expected)


def _audio(source: Path | BinaryIO) -> AudioFacts:
    from vqtok.media import audio

    found = audio.probe(source)
    expected = None
    info = _default("audio")
    if info is not None:
        length = audio.resampled_length(found.length, found.rate, int(info.spec.rate or found.rate))
        expected = _expected("audio", (length,), channels=found.channels)
    return AudioFacts(subject=subject(source), audio=found, expected=expected)


def _expected(kind: str, extent: tuple[int, ...], *, channels: int = 1) -> Expected | None:
    info = _default(kind)
    if info is None or not info.spec.levels:
        return None
    return Expected(
        model=info.name,
        shapes=info.spec.shapes(extent),
        channels=channels,
        tokens=channels * info.spec.tokens(extent),
        bits=channels * rates.bits_of(info.spec, extent),
    )


def _default(kind: str) -> ModelInfo | None:
    try:
        return directory.describe(DEFAULTS[kind])
    except VqtokError:
        return None  # the file can be described without it
