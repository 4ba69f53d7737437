"""Ranks many queries and documents, with one output row per input row (``ziprerank batch``, extra ``batch``)."""
