"""Fitting: sees only `objective(batch) -> loss`."""
