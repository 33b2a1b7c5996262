"""Adapters: `azure.*` and REST paths live here and nowhere else."""
