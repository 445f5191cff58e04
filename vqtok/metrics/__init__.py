"""How good a reconstruction is: one value per item, each protocol stated."""
