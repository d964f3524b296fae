"""Normalize: reports to FOCUS 1.2, one row a charge."""
