"""Text ⇄ ids, through a ``tokenizer.json`` of Hugging Face (``vqtok[text]``)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqtok import regular
from vqtok.errors import ConfigError, UsageError

_MOST_BYTES = 1 << 28


class TextTokenizer:
    """Wraps a tokenizer of the library ``tokenizers``.

    Args:
        data: Content of a ``tokenizer.json``.
        subject: Its path, for errors.

    Attributes:
        data: That content.
        sha256: Of it.
        size: Ids: one more than the largest.

    Raises:
        UsageError: the library is not installed.
        ConfigError: not a tokenizer.
    """

    def __init__(self, data: bytes, subject: object) -> None:
        try:
            import tokenizers
        except ImportError as error:
            raise UsageError(
                "text needs the package tokenizers", hint="pip install 'vqtok[text]'"
            ) from error
        self.data, self.sha256 = data, hashlib.sha256(data).hexdigest()
        try:
            self._own: Any = tokenizers.Tokenizer.from_str(data.decode())
        except Exception as error:  # the library raises Exception itself
            message = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(subject, f"not a tokenizer.json: {message}") from error
        # What a caption says is text, even where it looks like a special token.
        self._own.encode_special_tokens = True
        self._own.no_padding()
        self._own.no_truncation()
        ids = self._own.get_vocab(with_added_tokens=True)
        self.size = max(ids.values(), default=-1) + 1
        self._ids: dict[str, int] = ids

    @classmethod
    def read(cls, path: Path) -> TextTokenizer:
        """Read a ``tokenizer.json``, or the one in a folder.

        Raises:
            ConfigError: unreadable, or something else.
            UsageError: the library is not installed.
        """
        place = path / "tokenizer.json" if path.is_dir() else path
        try:
            data = regular.read(place, most=_MOST_BYTES)
        except OSError as error:
            raise ConfigError(place, f"cannot read: {error.strerror or error}") from error
        return cls(data, place)

    def id_of(self, token: str) -> int | None:
        """Return the id of a token by its name; None if it has none."""
        return self._ids.get(token)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without any that the tokenizer would put around it."""
        found: list[int] = self._own.encode(text, add_special_tokens=False).ids
        return found

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of texts, each as if alone."""
        if not texts:
            return []
        found = self._own.encode_batch_fast(list(texts), add_special_tokens=False)
        return [each.ids for each in found]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids."""
        text: str = self._own.decode(list(ids), skip_special_tokens=False)
        return text
