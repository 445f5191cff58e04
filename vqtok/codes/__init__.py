"""Codes at rest: numpy and the standard library; nothing here imports torch."""
