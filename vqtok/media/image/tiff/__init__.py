"""TIFF by its tags: Adobe, "TIFF Revision 6.0", 1992; 64-bit offsets as in BigTIFF.

Pillow looks up a mode of its own for a combination of tags and has none for many, or the wrong
one. Here the tags themselves say what the samples mean; Pillow only unpacks what is compressed.
What is not read is refused, and the refusal names the tag.
"""
