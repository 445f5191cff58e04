"""Judges of images: one file, one network that tells which class an image is of."""
