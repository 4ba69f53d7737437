"""The scales on which a page is scored, and the contract that they share: sorted by any of them, pages are the ranking.

A pass compares its own pages alone, so that a page that an early pass liked may have more there than a page that a
later pass put above it. Such a score says less than the order does, and is lowered to just under the score of the page
above. The best page, and all pages of the last pass, which decides the front, keep what the model said of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from ziprerank.errors import InvalidInput, quoted

Scale: TypeAlias = Literal["probability", "sigmoid", "logit"]
SCALES: tuple[Scale, ...] = ("probability", "sigmoid", "logit")
SCALE = (
    "What scores are: probability is the softmax over the pages of a page's last pass, sigmoid that of the page's "
    "logit alone, whatever it was compared with, and logit the logit."
)
"""help of the option, wherever it is one"""

_LARGEST = float(np.finfo(np.float32).max)


def check_scale(scale: str) -> Scale:
    """Returns ``scale`` if it is one of ``SCALES``. Raises InvalidInput."""
    for known in SCALES:
        if scale == known:
            return known
    raise InvalidInput(f"scale {quoted(scale)}: must be 'probability', 'sigmoid' or 'logit'")


def sigmoid(logit: float) -> float:
    """Returns ``1 / (1 + exp(-logit))``, in 0..1, without overflow."""
    return float(0.5 * (1.0 + np.tanh(0.5 * logit))) if logit > 0 else float(np.exp(logit) / (1.0 + np.exp(logit)))


def falling(values: Sequence[float], least: float = -_LARGEST) -> list[float]:
    """Returns ``values`` lowered where one is not under the one before it.

    Each is then less than the one before, also after rounding to float32, in which trec_eval and others keep scores:
    ties would be broken there by name. A value that is under its predecessor already stays as it is.

    Args:
        values: Finite numbers in the order of the ranking, at least ``least`` each.
        least: What no value may fall under; where there is no room left above it, earlier values are raised by as
            little as float32 can tell apart.
    """
    lowered: list[float] = []
    for value in values:
        if lowered and np.float32(value) >= (before := np.float32(lowered[-1])):
            lowered.append(float(np.nextafter(before, np.float32(-np.inf))))
        else:
            lowered.append(value)
    floor = np.float32(least)
    for at in range(len(lowered) - 1, -1, -1):
        if np.float32(lowered[at]) < floor:
            lowered[at] = float(floor)
        floor = np.nextafter(np.float32(lowered[at]), np.float32(np.inf))
    return lowered
