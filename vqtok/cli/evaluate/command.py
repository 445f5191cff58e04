"""``vqtok eval``: which kind of model it is decides what is measured."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vqtok.cli import options
from vqtok.cli.evaluate import cas, classifiers, priors, tokenizers
from vqtok.cli.evaluate.flags import Choices
from vqtok.cli.evaluate.page import Page
from vqtok.errors import UsageError

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import ModelInfo


def evaluate(files: options.Files, chosen: Choices) -> None:
    """Measure quality, rate, speed and codebook use; or a prior, or a classifier.

    FILE is an image, an audio file, a directory of them (with all that is below it), a quoted
    pattern, or - for standard input. With a prior, FILE is codes: files, directories or corpora;
    with a classifier, images in directories that are named as its classes.
    Several models are compared file by file, and with -o each gets a folder there.
    With -v the protocol of each metric is printed too.

    \b
    Examples:
      vqtok eval photos/ -m image-f8 -m jpeg --report page.html
      vqtok eval codes/ -m my-prior
    """  # noqa: D301
    console = chosen.messages.console()
    default = chosen.held_out or os.environ.get("VQTOK_MODEL") or None
    names: Sequence[str | None] = chosen.model or [default]
    info = _only(names)
    page = Page.of(chosen.report, chosen.examples, force=chosen.force)
    if chosen.held_out is not None and (
        chosen.real is not None or (info is not None and info.family == "priors")
    ):
        raise UsageError("--held-out", "of no effect on a prior", hint="leave it out")
    if chosen.real is not None:
        cas.evaluate(console, files, info, chosen)
    elif chosen.samples is not None or chosen.steps is not None:
        raise UsageError("--cas-samples and --cas-steps need --cas", hint="--cas DIR")
    elif info is not None and info.family == "priors":
        priors.evaluate(console, files, info, chosen)
    elif info is not None and info.family == "classifiers":
        classifiers.evaluate(console, files, info, chosen)
    else:
        tokenizers.evaluate(console, files, names, info, page, chosen)


def _only(names: Sequence[str | None]) -> ModelInfo | None:
    """Describe the model, if one is named and no codec."""
    from vqtok.checkpoints import directory

    (name,) = names if len(names) == 1 else (None,)
    return None if name is None or tokenizers.is_classical(name) else directory.describe(name)
