"""The systems of the table by family: their formulas in full syntax, with small modules."""
