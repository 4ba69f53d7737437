"""Ranks the documents of HTTP requests: one reranker behind one queue."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np

from ziprerank.errors import DeviceLost, InvalidInput, PageError
from ziprerank.ranking import Ranking
from ziprerank.reranker import Reranker
from ziprerank.serve.admission import Admission, Permit
from ziprerank.serve.answers import build_answer, draw_thumbnails, timings_of
from ziprerank.serve.documents import Candidates, Piece, fetch_pieces
from ziprerank.serve.failures import Refused, refuse_page
from ziprerank.serve.fetching import Fetcher
from ziprerank.serve.logs import logger
from ziprerank.serve.metrics import Metrics
from ziprerank.serve.queue import Done, EngineQueue, settled
from ziprerank.serve.schemas import Options, RerankResponse
from ziprerank.serve.settings import Settings
from ziprerank.serve.text_page import check_font
from ziprerank.windows import plan_windows

MOST_THUMBNAILS = 100


class Service:
    """What the routes share. Use it from one event loop.

    Attributes:
        reranker: Ranks the pages.
        settings: Limits and options.
        model_name: The name in answers.
        admission: Bounds the requests under way.
        metrics: Counts what the service does.
        ready: Whether the model has run once.
        lost: Why the GPU is lost; empty while it is there.
    """

    def __init__(self, reranker: Reranker, settings: Settings) -> None:
        check_font(settings.text_font)
        self.reranker = reranker
        self.settings = settings
        self.model_name = settings.model_name or str(reranker.bundle.source.get("name") or "ziprerank")
        self.admission = Admission(settings)
        self.metrics = Metrics()
        self.ready = False
        self.lost = ""
        self._queue = EngineQueue()
        self._workers = ThreadPoolExecutor(settings.workers, thread_name_prefix="ziprerank-worker")
        self._fetcher = Fetcher(settings)
        self.admission.rejected = self.metrics.rejected
        self.metrics.watch_pool(lambda: self.reranker.engine.pool)
        if reranker.page_cache is not None:
            self.metrics.watch_disk(reranker.page_cache.stats)
        self.metrics.gauge("ziprerank_requests_in_flight", "Rankings under way", lambda: self.admission.requests)
        self.metrics.gauge("ziprerank_queue_size", "Rankings that wait for the engine", lambda: len(self._queue))
        self.metrics.gauge("ziprerank_held_bytes", "Bodies and fetched files held", lambda: self.admission.held)

    async def warm_up(self) -> None:
        """Ranks a blank page, so that the first client need not wait for lazy initialisation; then sets ``ready``."""
        side = self.reranker.bundle.image.longest_side
        page = np.full((side, round(side * 0.77), 3), 255, dtype=np.uint8)
        try:
            done = await self._queue.run(
                lambda check: self.reranker.rank("warm-up", page, progress=check), lambda: None
            )
        except DeviceLost as error:
            self.lost = str(error)
            raise
        self.ready = True
        logger.info("ready", extra={"fields": {"model": self.model_name, "warm_up_ms": round(done.ran * 1e3, 1)}})

    async def close(self) -> None:
        """Drops the rankings that wait, and returns when the running one and all workers have ended."""
        await self._queue.close()
        await asyncio.to_thread(self._workers.shutdown)

    def check_key(self, authorization: str | None) -> None:
        """Raises Refused (401) if the service has API keys and the Authorization header carries none of them."""
        if not self.settings.api_keys:
            return
        scheme, _, key = (authorization or "").partition(" ")
        given = key.strip().encode()
        known = [hmac.compare_digest(given, right.encode()) for right in self.settings.api_keys]
        if scheme.lower() != "bearer" or not any(known):
            message = "an API key is needed: send it as Authorization: Bearer KEY"
            raise Refused(401, message, headers={"WWW-Authenticate": "Bearer"})

    async def rank(
        self,
        query: str,
        pieces: Sequence[Piece],
        options: Options,
        *,
        permit: Permit,
        render_text: bool = False,
        echo: Sequence[object] | None = None,
    ) -> RerankResponse:
        """Ranks the pages of a request's documents.

        Args:
            query: What to look for.
            pieces: The documents.
            options: The request's options.
            permit: The request's admission, which accounts for fetched files.
            render_text: Whether words are drawn as pages.
            echo: The documents as results return them; None returns none.

        Returns:
            The body of the answer.

        Raises:
            Refused: A field or a document is invalid, or a limit is exceeded.
            InvalidInput: The ranking rejects its arguments.
            EngineError: The engine failed.
        """
        started = perf_counter()
        self._check(query, pieces)
        candidates = Candidates(self.reranker.bundle.image, self.settings, self._workers)
        try:
            await fetch_pieces(pieces, self._fetcher, permit.hold, options.on_bad_page)
            await settled(
                self._workers.submit(candidates.open, pieces, render_text=render_text, on_bad_page=options.on_bad_page)
            )
            self._check_plan(max(1, candidates.good), options)  # if none is good, the ranking says why
            prepared = perf_counter() - started
            done = await self._run(query, candidates, options)
            self.admission.took(done.ran)
            self.metrics.ranked(done.value, prepared, done.waited)
            drawn: list[str] = []
            if "thumbnail" in options.include:
                drawn = await settled(
                    self._workers.submit(draw_thumbnails, candidates, done.value, options.thumbnail_side)
                )
            timings = None
            if "timings" in options.include:
                timings = timings_of(done, prepared, perf_counter() - started)
            return build_answer(
                self.reranker.bundle,
                self.model_name,
                candidates,
                done.value,
                options,
                drawn=drawn,
                echo=echo,
                timings=timings,
            )
        finally:
            self._workers.submit(candidates.close)

    async def _run(self, query: str, candidates: Candidates, options: Options) -> Done[Ranking]:
        try:
            return await self._queue.run(
                lambda check: self.reranker.rank(
                    query,
                    candidates.pages,
                    options.top_n or None,
                    keep_ratio=options.keep_ratio,
                    window=options.window,
                    stride=options.stride,
                    on_bad_page=options.on_bad_page,
                    progress=check,
                ),
                candidates.ahead,
            )
        except DeviceLost as error:
            self.lost = str(error)
            raise
        except PageError as error:
            if error.index is None:
                raise
            origin = candidates.origins[error.index]
            raise refuse_page(error, origin.param, origin.index) from error

    def _check(self, query: str, pieces: Sequence[Piece]) -> None:
        """Checks what can be checked before a document is opened. Raises Refused."""
        try:
            self.reranker.prompts.check_query(query)
        except InvalidInput as error:
            raise Refused(422, str(error), param="query") from error
        most = self.settings.max_pages
        if len(pieces) > most:
            raise Refused(
                413, f"{len(pieces):,} documents, at most {most:,} in one request: split", param="documents", index=most
            )

    def _check_plan(self, pages: int, options: Options) -> None:
        defaults = self.reranker.bundle.defaults
        try:
            plan_windows(pages, options.window, None, defaults)
        except InvalidInput as error:
            raise Refused(422, str(error), param="window") from error
        try:
            plan_windows(pages, options.window, options.stride, defaults)
        except InvalidInput as error:
            raise Refused(422, str(error), param="stride") from error
        shown = min(pages, options.top_n or pages)
        if "thumbnail" in options.include and shown > MOST_THUMBNAILS:
            raise Refused(422, f"{shown} thumbnails, at most {MOST_THUMBNAILS}: set top_n", param="include")
