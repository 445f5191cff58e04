"""Pictures that are not photos: curves, codes, spectrograms, in one style over matplotlib."""
