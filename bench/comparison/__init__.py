"""``ziprerank bench``: ziprerank against what users would run instead, on the same weights, pages and machine.

Installed as ``ziprerank.comparison``.
``run`` measures and yields rows; ``tables``, ``plots`` and ``page`` show them.
"""
