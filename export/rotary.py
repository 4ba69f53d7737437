"""Frequencies of rotary embeddings, the same bytes on every machine."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

DIGITS = 40
"""Decimal digits of a power, before it is rounded to the 8 of float32."""


def rotary_frequencies(theta: float, dimension: int) -> NDArray[np.float32]:
    """Computes ``theta ** (-2 i / dimension)`` for ``i = 0 .. dimension / 2 - 1`` (Su et al. 2021, RoFormer).

    Powers of NumPy, and those of the C library behind ``math``, may differ in the last bit between processors, because
    both choose their code by the instruction set (AVX-512, FMA). Decimal arithmetic works on integers, so its 40 digits
    are the same everywhere, and so are the correctly rounded conversions to float64 and to float32.

    Args:
        theta: The base, positive.
        dimension: The number of values that one position rotates, two for each frequency.

    Returns:
        ``[dimension / 2]`` float32, descending from 1.
    """
    with localcontext() as context:
        context.prec = DIGITS
        base, size = Decimal(theta), Decimal(dimension)
        return np.array([float(base ** (-2 * i / size)) for i in range(dimension // 2)], np.float32)
