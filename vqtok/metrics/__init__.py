"""Measures of reconstructions, codes and latents, each declared once with its protocol."""
