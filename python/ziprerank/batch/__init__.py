"""Ranks many queries and documents, with one output row per input row (``ziprerank batch``, extra ``batch``)."""

ROW_TIMEOUT = 3600.0
"""Seconds that a row may take by default."""
