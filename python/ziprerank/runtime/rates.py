"""What rankings take on this machine, by stage: recorded from rankings, and filled up by a calibration."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Literal

import numpy as np

from ziprerank.errors import InvalidInput, quoted
from ziprerank.values import real_number

_MOST = 256  # latest observations of each kind
_MOST_BLANK = 0.95  # made pages are blank but for a token or so, and say nothing of others
_SAME = 1e-3  # of relative error: what is no better explanation

Source = Literal["rankings", "calibration", "given"]


@dataclass(frozen=True, slots=True)
class Rates:
    """What stages take. A caller who has measured them elsewhere may give them as ``Reranker.measured.given``.

    Attributes:
        page_ms: Milliseconds in which one page is rendered or decoded.
        token_ms: Milliseconds of the vision tower for a visual token that is not left out as blank.
        pass_ms: (c0, c1, c2): a pass that reads L tokens, of text and of pages after pruning, takes
            ``c0 + c1 * L + c2 * L**2`` milliseconds.
        blank: Share of visual tokens that are left out as blank, from 0 to 1.
        renderers: Pages that are rendered at once.
        page_source: Where ``page_ms`` comes from.
        token_source: Where ``token_ms`` and ``blank`` come from.
        pass_source: Where ``pass_ms`` comes from.

    Raises:
        InvalidInput: A value out of these bounds.
    """

    page_ms: float
    token_ms: float
    pass_ms: tuple[float, float, float]
    blank: float = 0.0
    renderers: int = 1
    page_source: Source = "given"
    token_source: Source = "given"
    pass_source: Source = "given"

    def __post_init__(self) -> None:
        for name, values in (("page_ms", [self.page_ms]), ("token_ms", [self.token_ms]), ("pass_ms", self.pass_ms)):
            for value in values:
                number = real_number(value)
                if number is None or not 0 <= number < float("inf"):
                    raise InvalidInput(f"{name} {quoted(value)}: must be milliseconds of at least 0")
        if len(self.pass_ms) != 3:
            raise InvalidInput(f"pass_ms has {len(self.pass_ms)} numbers: give three, for L**0, L**1 and L**2")
        if not 0 <= self.blank <= 1:
            raise InvalidInput(f"blank {quoted(self.blank)}: must be a share from 0 to 1")
        if self.renderers < 1:
            raise InvalidInput(f"renderers {quoted(self.renderers)}: must be at least 1")

    def of_pass(self, tokens: int) -> float:
        """Returns the milliseconds of a pass that reads so many tokens."""
        constant, linear, square = self.pass_ms
        return constant + linear * tokens + square * tokens**2

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON."""
        return {
            "page_ms": round(self.page_ms, 4),
            "token_ms": round(self.token_ms, 6),
            "pass_ms": [float(f"{value:.6g}") for value in self.pass_ms],
            "blank": round(self.blank, 4),
            "renderers": self.renderers,
            "from": {"pages": self.page_source, "vision": self.token_source, "rerank": self.pass_source},
        }


class Measured:
    """Keeps what the latest rankings on an engine took, of each kind 256. Thread-safe.

    Attributes:
        given: Rates that stand in for all that was measured; None goes by measurement.
        calibrated: What a calibration found, for what no ranking has shown yet; None before there was one.
        calibrated_passes: (tokens, milliseconds) of its passes, which stay among those that are fitted: rankings may
            all have read as many tokens.
    """

    def __init__(self, renderers: int) -> None:
        """``renderers`` is how many pages are rendered at once."""
        self.given: Rates | None = None
        self.calibrated: Rates | None = None
        self.calibrated_passes: list[tuple[int, float]] = []
        self._renderers = renderers
        self._lock = threading.Lock()
        self._pages: deque[float] = deque(maxlen=_MOST)
        self._tokens: deque[float] = deque(maxlen=_MOST)
        self._blanks: deque[float] = deque(maxlen=_MOST)
        self._passes: deque[tuple[int, float]] = deque(maxlen=_MOST)

    def rendered(self, ms: float) -> None:
        """Notes that a page was rendered or decoded in ``ms``."""
        with self._lock:
            self._pages.append(ms)

    def encoded(self, tokens: float, ms: float, blank: float) -> None:
        """Notes that the vision tower took ``ms`` for ``tokens``, beside a share ``blank`` that was left out."""
        if tokens > 0 and blank <= _MOST_BLANK:
            with self._lock:
                self._tokens.append(ms / tokens)
                self._blanks.append(blank)

    def passed(self, tokens: int, ms: float) -> None:
        """Notes that a pass read ``tokens`` in ``ms``."""
        with self._lock:
            self._passes.append((tokens, ms))

    def rates(self) -> Rates | None:
        """Returns ``given``, else medians and a fit over rankings, and of the calibration what these do not say.

        None if there is something that neither says.
        """
        if self.given is not None:
            return self.given
        with self._lock:
            pages, tokens, blanks = list(self._pages), list(self._tokens), list(self._blanks)
            passes = list(self._passes)
        found = self.calibrated
        if found is None:
            if not (pages and tokens and passes):
                return None
            found = Rates(0.0, 0.0, (0.0, 0.0, 0.0), renderers=self._renderers)
        if pages:
            found = replace(found, page_ms=median(pages), page_source="rankings")
        if tokens:
            found = replace(found, token_ms=median(tokens), blank=median(blanks), token_source="rankings")
        if passes:
            found = replace(found, pass_ms=fit_passes([*passes, *self.calibrated_passes]), pass_source="rankings")
        return found


def fit_passes(observed: Sequence[tuple[int, float]]) -> tuple[float, float, float]:
    """Fits ``c0 + c1 * L + c2 * L**2`` milliseconds to passes of L tokens, each coefficient at least 0.

    It minimises the sum of squares of relative errors, so that short passes count as much as long ones, over the sets
    of terms whose coefficients come out positive; of equal fits the one with the fewest terms counts, L before 1 and
    L**2. Passes of one length alone are so taken to be proportional to it.

    Args:
        observed: (tokens, milliseconds) of at least one pass.
    """
    lengths = np.array([tokens for tokens, _ in observed], np.float64)
    ms = np.maximum([one for _, one in observed], 1e-6)
    terms = np.stack([np.ones_like(lengths), lengths, lengths**2], axis=1) / ms[:, None]
    scale = terms.max(axis=0)
    best, least = (0.0, float(median(ms / np.maximum(lengths, 1))), 0.0), np.inf
    for chosen in ((1,), (0,), (2,), *itertools.combinations((1, 0, 2), 2), (0, 1, 2)):
        columns = list(chosen)
        found, *_ = np.linalg.lstsq(terms[:, columns] / scale[columns], np.ones_like(ms), rcond=None)
        found = found / scale[columns]
        error = float(np.sqrt(np.mean((terms[:, columns] @ found - 1) ** 2)))
        if (found >= 0).all() and error < least - _SAME:
            coefficients = [0.0, 0.0, 0.0]
            for column, value in zip(columns, found, strict=True):
                coefficients[column] = float(value)
            best, least = (coefficients[0], coefficients[1], coefficients[2]), error
    return best
