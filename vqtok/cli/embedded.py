"""Commands from Python, on models of the program that calls them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vqtok.protocols import Tokenizer


def run(command: str | Sequence[str], *models: Tokenizer) -> int:
    """Run ``vqtok COMMAND``, where ``-m NAME`` also finds these models by their names.

    Args:
        command: As a shell would split it, or split: "eval photos/ -m lab -m image-f8".
        models: Of ``vqtok.wrap``, or any tokenizer with a name and a fingerprint.

    Returns:
        The exit code.

    Raises:
        UsageError: a model without a name or a fingerprint.
    """
    from vqtok.checkpoints import registry
    from vqtok.cli.app import app
    from vqtok.pipeline.wrapped import facts_of

    words = shlex.split(command) if isinstance(command, str) else list(command)
    with registry.given(map(facts_of, models)):
        return int(app(words, prog_name="vqtok", standalone_mode=False) or 0)
