"""The project's own measurements, run from a clone: ``python -m bench.NAME``.

``comparison`` is another package, installed as ``ziprerank.comparison``: it holds what ``ziprerank bench`` needs.
Nothing else in this folder is in the wheel.
"""
