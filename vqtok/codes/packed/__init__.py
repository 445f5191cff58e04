"""Codes in as few bytes as a model of them makes: entropy coding in integers, ``.vqz``."""

MAGIC = b"\x93VQZ"
"""First bytes of a packed file."""

SUFFIX = ".vqz"
