"""``hf:ORG/NAME``: models of the Hugging Face hub, fetched because the user named them so.

Only here is a network used. What the library's own cache holds is taken as it is; otherwise the
config and one file of weights are downloaded into it. Nothing that arrives is executed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vqtok.checkpoints import weight_files
from vqtok.checkpoints.facts import CONFIG, WEIGHTS
from vqtok.errors import CheckpointError, UsageError

PREFIX = "hf:"

_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", flags=re.ASCII)


def fetch(name: str) -> Path:
    """Returns the directory of a model of the hub, in the library's cache.

    Args:
        name: "hf:ORG/NAME", or "hf:ORG/NAME@REVISION".

    Raises:
        UsageError: not such a name, or the huggingface_hub package is not installed.
        CheckpointError: it cannot be downloaded, or holds no weights that can be read.
    """
    repo, _, revision = name.removeprefix(PREFIX).partition("@")
    if not _NAME.fullmatch(repo):
        raise UsageError(name, "not the name of a model", hint="hf:ORG/NAME, as hf:kyutai/mimi")
    try:
        import huggingface_hub as hub
    except ImportError as error:
        reason = "models of the hub need the huggingface_hub package"
        raise UsageError(name, reason, hint="pip install 'vqtok[hf]'") from error
    source: dict[str, Any] = {"repo_id": repo, "revision": revision or None}
    with suppress(Exception):  # however the cache lacks it, the answer is the same
        cached = Path(hub.snapshot_download(**source, local_files_only=True))
        if weight_files.is_candidate(cached):
            return cached
    try:
        files = hub.list_repo_files(**source)
        wanted = _chosen(files)
        indices = [each for each in wanted if each.endswith(".index.json")]
        if indices:
            held = Path(hub.snapshot_download(**source, allow_patterns=wanted))
            wanted += [each for each in weight_files.shards(held / indices[0]) if each in files]
        if wanted:
            return Path(hub.snapshot_download(**source, allow_patterns=wanted))
    except Exception as error:  # the library's errors are those of several others
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(name, f"cannot download: {reason}") from error
    raise CheckpointError(name, "no weights in it that can be read")


def _chosen(files: Sequence[str]) -> list[str]:
    """Returns the config, and the weights, in one format where they lie there in several.

    Of shards this is their index.
    """
    weights = [each for each in (WEIGHTS, *weight_files.WHOLE) if each in files][:1]
    if not weights:
        weights = [each for each in sorted(files) if each.lower().endswith(weight_files.SUFFIXES)]
    return [CONFIG, *weights] if weights else []
