"""The page of an evaluation: one file to look at and listen to, without a network."""
