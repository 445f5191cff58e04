"""A run's events for TensorBoard, if it is installed: ``DIR/tensorboard``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vqtok import config
from vqtok.errors import UsageError
from vqtok.media import audio
from vqtok.training.log import Evaluated, Event, Finished, Progress, Warned

FOLDER = "tensorboard"


def writer_class() -> Any:
    """Import TensorBoard's writer.

    Raises:
        UsageError: the tensorboard package is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "--tensorboard",
            "the tensorboard package is not installed",
            hint="pip install 'vqtok[tensorboard]'",
        ) from error
    return SummaryWriter


class EventWriter:
    """Writes events as they come.

    Args:
        output: Model directory.
        first_step: Steps done when this run goes on; what an interrupted one wrote of later steps
            is taken back. 0: an earlier run's files are deleted.
        recipe: JSON data that is shown as text; None: none is.

    Raises:
        UsageError: the tensorboard package is not installed.
    """

    def __init__(
        self, output: Path, *, first_step: int, recipe: Mapping[str, Any] | None = None
    ) -> None:
        self._output = output
        folder = output / FOLDER
        if not first_step:
            for path in folder.glob("events.out.tfevents.*"):
                path.unlink()
        purge = first_step + 1 if first_step else None
        self._writer = writer_class()(str(folder), purge_step=purge)
        self._originals_written = bool(first_step)
        if recipe is not None:
            # Indented by four, it is code to TensorBoard, whose text is Markdown.
            text = "".join(f"    {line}\n" for line in config.to_json(recipe).splitlines())
            self._writer.add_text("recipe", text, first_step)

    def uses(self, step: int, shares: Mapping[str, np.ndarray]) -> None:
        """Add histograms of how often the entries of each level are used.

        Args:
            step: Steps done.
            shares: Level → use of each of its entries: 0 never, 1 as often as if all were equal.
        """
        for name, values in shares.items():
            tag = "codebook/relative_use" if len(shares) == 1 else f"codebook/relative_use_{name}"
            self._writer.add_histogram(tag, values, step)

    def write(self, event: Event) -> None:
        """Add scalars of ``Progress`` and ``Evaluated``, and the previews that the latter names."""
        if isinstance(event, Progress):
            self._scalars(event.step, _of_progress(event))
        elif isinstance(event, Evaluated):
            self._scalars(
                event.step, {f"held_out/{key}": value for key, value in event.metrics.items()}
            )
            for name in event.pictures:
                self._preview(event.step, self._output / name)
            self._originals_written = True
            self._writer.flush()
        elif isinstance(event, Warned):
            self._writer.add_text("warnings", event.text, event.step)
        elif isinstance(event, Finished):
            self.close()

    def close(self) -> None:
        """Bring everything to disk; may be called again."""
        self._writer.close()

    def _scalars(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def _preview(self, step: int, path: Path) -> None:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            self._writer.add_image("previews", pixels, step, dataformats="HWC")
            return
        _, _, clip = path.stem.split("-", 2)  # step-0001000-1-name
        self._sound(f"reconstructions/{clip}", path, step)
        original = path.with_name(f"original-{clip}{path.suffix}")
        if not self._originals_written and original.is_file():
            self._sound(f"originals/{clip}", original, step)

    def _sound(self, tag: str, path: Path, step: int) -> None:
        samples, facts = audio.read(path)
        self._writer.add_audio(tag, samples, step, sample_rate=facts.rate)


def _of_progress(event: Progress) -> dict[str, float]:
    values = {f"loss/{name}": value for name, value in event.losses.items()}
    values["loss/total"] = event.total
    if event.use is not None:
        values["codebook/use"] = event.use
    if event.perplexity is not None:
        values["codebook/perplexity"] = event.perplexity
    for name, level in event.levels.items():
        values[f"codebook/use_{name}"] = level["share"]
        values[f"codebook/perplexity_{name}"] = level["perplexity"]
    values |= {f"latents/{name}": value for name, value in event.latents.items()}
    values |= {
        "run/learning_rate": event.learning_rate,
        "run/items_per_s": event.items_per_s,
        "run/skipped": float(event.skipped),
    }
    return values
