"""Flags of ``vqtok encode`` and ``vqtok decode``, for files and corpora alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from vqtok.cli import options


@dataclass(frozen=True, kw_only=True)
class EncodeChoices:
    """Flags of ``vqtok encode``."""

    model: options.Model = None
    output: options.OutputPath = None
    writing: options.Writing
    depth: options.Depth = None
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="npy, safetensors, vqz (packed, as vqtok pack does) or stream (audio codes that "
            "leave as they are made); default: by the suffix of -o, else safetensors; stream for "
            "audio from stdin to stdout. For a corpus: files, tar, bin, parquet or arrow.",
        ),
    ] = None
    effort: options.Effort = 0
    effort_metric: options.EffortMetric = "mse"
    reading: options.Reading
    machine: options.CodingMachine
    jobs: options.Jobs = options.DEFAULT_JOBS
    shard_size: options.ShardSize = None
    carry: options.Carry = None
    append: options.Append = False
    shard: options.Shard = None
    engine: options.Engine = "local"
    messages: options.ProgressMessages


@dataclass(frozen=True, kw_only=True)
class DecodeChoices:
    """Flags of ``vqtok decode``."""

    output: options.OutputPath = None
    model: options.DecodeModel = None
    writing: options.Writing
    depth: options.Depth = None
    levels: Annotated[
        str | None,
        typer.Option(
            "--levels",
            metavar="NAMES",
            help="Of a picture with several levels keep these alone, as top or top,bottom.",
        ),
    ] = None
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="png, jpg, webp, tiff, bmp; wav, flac, ogg, opus, mp3, aiff; default: by the "
            "suffix of -o, else png or wav.",
        ),
    ] = None
    label: options.Label = None
    size: options.Size = None
    vocabulary: Annotated[
        str | None,
        typer.Option(
            "--vocabulary",
            metavar="PATH",
            help="vocabulary.json of a composed stream: FILE is token ids in JSON.",
        ),
    ] = None
    lenient: Annotated[
        bool,
        typer.Option(
            "--lenient", help="With --vocabulary: cut or fill damaged blocks, and say which."
        ),
    ] = False
    native_rate: Annotated[
        bool,
        typer.Option("--native-rate", help="Leave audio at the model's rate, not the original's."),
    ] = False
    machine: options.CodingMachine
    jobs: options.Jobs = options.DEFAULT_JOBS
    messages: options.ProgressMessages
