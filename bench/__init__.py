"""Measurements. ``python -m bench`` compares ziprerank with what users would run instead (bench/run.py)."""
