"""Reads numbers by value and not by type, as NumPy, pandas and JSON hand them over."""

from __future__ import annotations

import math
from numbers import Integral, Real


def whole_number(value: object) -> int | None:
    """Returns ``value`` as an int if it is a whole number of any numeric type, such as ``np.int64(3)`` or ``3.0``.

    Booleans, strings and numbers with a fraction give None: the caller says what was wanted.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    if isinstance(value, Integral):
        return int(value)
    number = real_number(value)
    return int(number) if number is not None and number.is_integer() else None


def real_number(value: object) -> float | None:
    """Returns ``value`` as a float if it is a finite number of any numeric type, else None."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond every float
        return None
    return number if math.isfinite(number) else None
