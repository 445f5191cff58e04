"""What a Python user does in one line: files to codes and back, models by name, codes to files."""

from __future__ import annotations

import os
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, cast, overload

from vqtok import __version__
from vqtok.codes import files
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.errors import MediaError, UsageError

if TYPE_CHECKING:
    from vqtok.checkpoints.directory import ModelInfo
    from vqtok.media.plan import Job, Plan
    from vqtok.protocols import ArrayCoder, Tokenizer


def encode_file(
    source: str | Path,
    target: str | Path | None = None,
    *,
    model: str | Path | None = None,
    depth: int | None = None,
    mono: bool = False,
    background: str = "white",
    device: str = "auto",
    backend: str = "auto",
    effort: int = 0,
    effort_metric: str = "mse",
    overwrite: bool = False,
) -> tuple[Codes, Header]:
    """Encode an image or audio file as ``vqtok encode`` does.

    Args:
        source: The file.
        target: Codes file to write too, ``.npy``, ``.safetensors`` or ``.vqz``.
        model: NAME or directory; None: image-f8 for images, audio-24k for audio.
        depth: Keep the first N residual stages; None: all.
        mono: Mix the channels of audio down to one.
        background: CSS colour behind transparent pixels.
        device: "auto", "cpu", "cuda" or "cuda:1".
        backend: "torch", "onnx", or "auto": onnx on CPUs, where the model has its graphs.
        effort: Of images, 0 to 9: choose codes by what the decoder makes of them.
        effort_metric: What that improves, "mse" or "ssim".
        overwrite: Replace a target that exists.

    Returns:
        What ``read_codes`` gives for the codes file: numpy codes (B, *axes), B = 1 or the channels
        of a recording, and the header that decoding to the original's form needs.

    Raises:
        VqtokError: a file or model that is missing, damaged or of another kind.
    """
    from vqtok.effort import levels
    from vqtok.pipeline import encode, plans
    from vqtok.pipeline.models import Models
    from vqtok.pipeline.results import Failed

    chosen = levels.chosen(effort, effort_metric)
    models = Models(
        None if model is None else str(model),
        device=device,
        backend=backend,
        effort=chosen,
        depth=depth,
    )
    job = _only(plans.for_encode([_file(source)], output="-"))
    job = replace(job, target=None if target is None else _free(target, job, overwrite))
    models.check_codes({job.kind})
    made = BytesIO()
    (result,) = encode.encode(
        [job],
        coder_for=lambda kind: models.load(models.info_for_kind(kind)),
        options=encode.EncodeOptions(
            depth=depth,
            mono=mono,
            background=background,
            effort=chosen,
            context_for=models.contexts.packing,
        ),
        stdout=made,
    )
    if isinstance(result, Failed):
        raise result.error
    made.seek(0)
    return files.read(job.target or made, contexts=models.contexts)


def decode_file(
    source: str | Path,
    target: str | Path | None = None,
    *,
    model: str | Path | None = None,
    size: tuple[int, ...] | None = None,
    label: str | None = None,
    depth: int | None = None,
    device: str = "auto",
    backend: str = "auto",
    overwrite: bool = False,
) -> Path:
    """Decode a codes file to an image or audio file as ``vqtok decode`` does.

    Args:
        source: The codes file.
        target: Its suffix says the format; None: beside the source, ``.recon.png`` or
            ``.recon.wav``.
        model: NAME or directory; None: the one whose fingerprint the codes carry.
        size: Original (H, W), or (L,) in samples, of codes that are flat and have no header.
        label: Class or speaker, for models that have some.
        depth: Use the first N residual stages; None: all that the file has.
        device: "auto", "cpu", "cuda" or "cuda:1".
        backend: "torch", "onnx", or "auto": onnx on CPUs, where the model has its graphs.
        overwrite: Replace a target that exists.

    Returns:
        The file that was written.

    Raises:
        VqtokError: a file or model that is missing, damaged or of another kind.
    """
    from vqtok.pipeline import decode, plans
    from vqtok.pipeline.models import Models
    from vqtok.pipeline.results import Failed

    models = Models(None if model is None else str(model), device=device, backend=backend)
    named = models.named()
    if named is not None:
        named.spec.require_codes(named.name)
        named.require_decoder()
    foreign = None if named is None else named.spec
    job = _only(plans.for_decode([_file(source)], foreign=foreign, force=True))
    made = _free(target or job.target or "", job, overwrite)
    (result,) = decode.decode(
        [replace(job, target=made)],
        coder_for=lambda header: models.load(models.info_for_header(header)),
        options=decode.DecodeOptions(
            depth=depth, foreign=foreign, size=size, label=label, contexts=models.contexts
        ),
    )
    if isinstance(result, Failed):
        raise result.error
    return made


@overload
def load(
    name: str | Path, *, device: str = "cpu", backend: Literal["torch"] = "torch"
) -> Tokenizer: ...


@overload
def load(name: str | Path, *, device: str = "cpu", backend: Literal["onnx"]) -> ArrayCoder: ...


def load(
    name: str | Path, *, device: str = "cpu", backend: Literal["torch", "onnx"] = "torch"
) -> Tokenizer | ArrayCoder:
    """Make a model ready to use, from its directory.

    Args:
        name: NAME of a model, a directory, or a checkpoint that another program wrote.
        device: Where the weights go, as torch names devices.
        backend: "torch": a module, tensors in and out. "onnx": without torch, on CPUs; numpy arrays
            in and out, the same codes.

    Raises:
        UsageError: no such model, or a package that is missing.
        ConfigError: a config that does not fit, with the place in it.
        CheckpointError: files missing or damaged, or a model without graphs for "onnx".
    """
    from vqtok.checkpoints import directory
    from vqtok.pipeline.models import Runtime

    if backend == "torch":
        return directory.load(name, device=device)
    runtime = Runtime(device, backend=backend)
    info = directory.describe(str(name) if isinstance(name, Path) else name)
    return cast("ArrayCoder", runtime.coder(info))


def models() -> list[ModelInfo]:
    """List the models that can be named, sorted by name, from their small files; no torch.

    Damaged ones are left out; ``vqtok models`` says what is wrong with them.
    """
    from vqtok.checkpoints import registry

    return registry.names()


def read_codes(
    source: str | Path | BinaryIO,
    *,
    model: str | Path | None = None,
    size: tuple[int, ...] | None = None,
) -> tuple[Codes, Header]:
    """Read a codes file; ``codes.arrays()`` gives its levels by name, as the model has them.

    ``np.load`` of a hierarchy's ``.npy`` gives one flat sequence, and no file has a batch axis for
    one image; here every level has its own shape behind a batch axis.

    Args:
        source: A path, or a binary stream, read to its end.
        model: NAME or directory of the model that a file without a header is for: ``(h, w)``,
            ``(B, h, w)``, ``(q, t)``, flat, or tokens.
        size: Original (H, W), or (L,) in samples, of what is flat.

    Returns:
        numpy codes (B, *axes), B = 1, the channels of a recording, or the images of a file without
        a header; and the header, which then is made up.

    Raises:
        CodesError: unreadable, damaged, without a header and no model, or of another model.
    """
    from vqtok.pipeline.models import Models

    if model is None:
        return files.read(source, contexts=Models().contexts)
    from vqtok.checkpoints import directory
    from vqtok.pipeline import arrays

    place = Path(source) if isinstance(source, str) else source
    found = arrays.read(
        place, directory.describe(str(model)).spec, size=size, contexts=Models(str(model)).contexts
    )
    return Codes.stack([codes for codes, _ in found]), found[0][1]


def write_codes(
    target: str | Path | BinaryIO,
    codes: Codes,
    header: Header | None = None,
    *,
    format: str | None = None,
) -> None:
    """Write the codes of one image or recording, replacing a file that exists.

    Args:
        target: A path, replaced in one step when the file is whole, or a binary stream.
        codes: From ``encode``, ``encode_file`` or ``read_codes``; of one image, or of the channels
            of one recording. ``Codes.split`` takes a batch apart.
        header: From ``encode_file`` or ``read_codes``; None: made of the codes, without the
            original's name, colours and rate.
        format: "npy" or "safetensors"; None: by the path's suffix, safetensors for a stream.

    Raises:
        CodesError: codes out of range or at odds with the header, or a file that cannot be written.
        UsageError: no such format.
    """
    if header is None:
        channels = len(codes) if codes.spec.modality == "audio" else 1
        header = Header(codes.spec, codes.extent, channels=channels, vqtok=__version__)
    files.write(target, codes, header, format=format)


def _file(source: str | Path) -> str:
    """Returns the path of a file, as plans take it.

    Raises:
        MediaError: a directory.
    """
    if Path(source).is_dir():
        raise MediaError(source, "a directory, one file expected", hint="`vqtok encode` takes both")
    # A plan would read the standard input, or a list of files.
    return f".{os.sep}{source}" if str(source)[:1] in ("-", "@") else str(source)


def _only(plan: Plan) -> Job:
    """Returns the one job of a plan for one file.

    Raises:
        VqtokError: why there is none.
    """
    for _, error in plan.failures:
        raise error
    (job,) = plan.jobs
    return job


def _free(target: str | Path, job: Job, overwrite: bool) -> Path:
    """Makes a place where a file may be written.

    Raises:
        UsageError: a file is there, or it is the source.
    """
    place = Path(target)
    if place.exists():
        if job.source is not None and place.samefile(job.source):
            raise UsageError(place, "is the input, not to be overwritten")
        if not overwrite:
            raise UsageError(place, "already exists", hint="overwrite=True replaces it")
    return place
