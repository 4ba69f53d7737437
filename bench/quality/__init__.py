"""Measures how often the right page is ranked first, on real documents that no training saw.

``fetch`` gets the documents, ``make`` wrote queries.jsonl from them, ``run`` ranks, ``report`` writes the tables.
"""
