"""Codes in as few bytes as a model of them makes: entropy coding in integers, ``.vqz``."""

from __future__ import annotations

MAGIC = b"\x93VQZ"
"""First bytes of a packed file."""

SUFFIX = ".vqz"

CONTEXT = "context.safetensors"
"""A context model: lies in the directory of a tokenizer, or of the prior that it was made of."""
