"""Torch blocks without opinions."""
