"""Formats of corpora: each file makes one, ``FORMAT``, and its name is what ``--format`` takes."""
