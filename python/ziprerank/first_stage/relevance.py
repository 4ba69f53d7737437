"""The first stage by relevance: late interaction of a query with the visual tokens of each page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ziprerank.profiling.meter import Meter
from ziprerank.prompt import PromptBuilder
from ziprerank.runtime.open_window import OpenWindow


class _RelatingWindow(Protocol):
    def relate(self, text_ids: NDArray[np.int64]) -> NDArray[np.float32]: ...


class Relevance:
    """Relates pages to queries, encoding those that are in neither pool nor page cache; use from one thread."""

    def __init__(
        self,
        prompts: PromptBuilder,
        window: OpenWindow,
        width: int,
        meter: Meter,
        encoded: Callable[[int], None],
        waiting: Callable[[], None],
    ) -> None:
        """Makes the stage of one ranking.

        Args:
            prompts: Tokenises the queries.
            window: Is filled with one group of pages after the other.
            width: Pages of a group.
            meter: Counts the time that pages take.
            encoded: Called with each page once it is encoded, again for queries that it is related to later; may raise
                to end the ranking.
            waiting: Called about ten times a second while a page is not ready; may raise too.
        """
        self._prompts = prompts
        self._window = window
        self._width = width
        self._meter = meter
        self._encoded = encoded
        self._waiting = waiting
        self._found: dict[str, dict[int, float]] = {}

    def scores(self, queries: Sequence[str], pages: Sequence[int]) -> list[list[float]]:
        """Returns how well each page matches, for each query: the sum of its tokens' largest cosines.

        Pages are related group by group, so that the pool need not hold them all, and each to a query once, also when
        it is asked for again without a page that was bad.

        Args:
            queries: What ``PromptBuilder.check_query`` returned.
            pages: Indices of candidates.

        Raises:
            PageError: A page cannot be prepared.
            PoolError: The pool has no room for one group.
            EngineError: A graph failed.
        """
        found = [self._found.setdefault(query, {}) for query in queries]
        missing = [page for page in pages if not all(page in values for values in found)]
        groups = [missing[start : start + self._width] for start in range(0, len(missing), self._width)]
        tokens = [self._prompts.query_tokens(query) for query in queries] if groups else []
        for at, group in enumerate(groups):
            following = groups[at + 1] if at + 1 < len(groups) else ()
            window = self._window.over(group, following, self._meter, self._encoded, self._waiting)
            with self._meter.stage("rerank"):
                for ids, values in zip(tokens, found, strict=True):
                    values.update(zip(group, cast(_RelatingWindow, window).relate(ids).tolist(), strict=True))
        return [[values[page] for page in pages] for values in found]
