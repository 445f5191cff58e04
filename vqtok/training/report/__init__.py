"""What a run shows and leaves for people: previews, curves, cards, boards."""
