"""Codes in as few bytes as a model of them makes: entropy coding in integers, ``.vqz``."""

from __future__ import annotations

MAGIC = b"\x93VQZ"
"""First bytes of a packed file."""

SUFFIX = ".vqz"
