"""Flags of ``vqtok eval``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from vqtok.cli import options
from vqtok.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Flags of ``vqtok eval``."""

    model: options.Models = None
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Keep reconstructions there, each with a picture beside the original.",
        ),
    ] = None
    force: options.Force = False
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="NAMES",
            help="Only these, with commas: psnr, ssim, ms-ssim; si-sdr, si-sdr-aligned, delay, "
            "mel, pesq, stoi.",
        ),
    ] = None
    report: Annotated[
        str | None,
        typer.Option(
            "--report",
            metavar="FILE.html",
            help="Write a page to look at and listen to: table, plots, examples; one file that "
            "needs no network.",
        ),
    ] = None
    examples: Annotated[
        int | None,
        typer.Option(
            "--examples",
            metavar="N",
            min=0,
            show_default=False,
            help="Images, and recordings, to show in the report at most; default: 8 of each.",
        ),
    ] = None
    depth: options.Depth = None
    label: options.Label = None
    real: Annotated[
        str | None,
        typer.Option(
            "--cas",
            metavar="DIR",
            help="Of a prior: train classifiers on these real images, on reconstructions of them "
            "and on samples, and test them on FILE; pictures go to -o DIR.",
        ),
    ] = None
    samples: Annotated[
        int | None,
        typer.Option(
            "--cas-samples",
            metavar="N",
            min=2,
            help="Samples to train on; default: as many as there are real images.",
        ),
    ] = None
    steps: Annotated[
        int | None,
        typer.Option("--cas-steps", metavar="N", min=1, help="Of each classifier's training."),
    ] = None
    held_out: Annotated[
        str | None,
        typer.Option(
            "--held-out",
            metavar="MODEL",
            help="Of FILE, the folder that MODEL was trained on, measure only what it was not "
            "trained on; with any -m, by default MODEL.",
        ),
    ] = None
    rate: Annotated[
        str,
        typer.Option(
            "--rate",
            metavar="KIND",
            help="Bits that jpeg, webp, avif, opus and mp3 get: nominal, log2 of the codebook's "
            "size for each code; or stored, those of the whole packed file.",
        ),
    ] = "nominal"
    wide: options.Wide = False
    effort: options.Effort = 0
    effort_metric: options.EffortMetric = "mse"
    reading: options.Reading
    machine: options.CodingMachine
    messages: options.ProgressMessages

    def refuse_media_flags(self, what: str) -> None:
        """Refuse flags that mean something for reconstructions only.

        Raises:
            UsageError: one of them was given.
        """
        given = {
            "-o": self.output,
            "--metrics": self.metrics,
            "--depth": self.depth,
            "--mono": self.reading.mono or None,
            "--report": self.report,
            "--rate": None if self.rate == "nominal" else self.rate,
            "--effort": self.effort or None,
            "--backend": None if self.machine.backend == "auto" else self.machine.backend,
        }
        for flag, value in given.items():
            if value is not None:
                raise UsageError(flag, f"of no effect on a {what}", hint="leave it out")

    def metric_names(self) -> tuple[str, ...] | None:
        """Split the names of metrics; None for all."""
        return None if self.metrics is None else tuple(map(str.strip, self.metrics.split(",")))
