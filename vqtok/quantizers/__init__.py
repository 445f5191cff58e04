"""Continuous latents ⇄ integers: one file, one method; the file name is the config's type."""
