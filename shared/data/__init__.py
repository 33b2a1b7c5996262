"""Rows to train, validation and test files. Knows nothing of runs or of Azure."""
