"""How well pages are ranked, by the field's data sets, measures and run files (extra ``eval``).

``formats`` reads data, ``candidates`` chooses what is ranked, ``systems`` rank, ``job`` writes a row for each query,
and ``report`` turns these rows into tables.
"""
