"""The exact nearest entry of a codebook, without a table of all distances."""
