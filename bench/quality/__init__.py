"""How often is the right page first, on real documents never seen in training? ``python -m bench.quality`` measures it.

fetch.py gets the documents, make.py made queries.jsonl from them, run.py ranks, report.py writes the tables.
"""
