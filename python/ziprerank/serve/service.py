"""Ranks the documents of HTTP requests: one reranker behind one queue."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np

from ziprerank._version import __version__
from ziprerank.call import stage_options
from ziprerank.errors import DeviceLost, PageError
from ziprerank.inputs.sizes import smart_resize
from ziprerank.inputs.workers.pool import Interrupt, pool
from ziprerank.planning import check_relates, stage_for
from ziprerank.ranking import Ranking
from ziprerank.reranker import Reranker
from ziprerank.serve.admission import Admission, Permit
from ziprerank.serve.answers import AnswerRoom, build_answer, draw_thumbnails, timings_of
from ziprerank.serve.documents import Candidates, count_pages
from ziprerank.serve.events import Events
from ziprerank.serve.failures import Refused, at_fault, refuse_page
from ziprerank.serve.fetching import Fetcher
from ziprerank.serve.keys import sender_of
from ziprerank.serve.logs import logger
from ziprerank.serve.memory import Trimmer
from ziprerank.serve.metrics import Metrics
from ziprerank.serve.pieces import Piece, fetch_pieces
from ziprerank.serve.queue import Done, EngineQueue, Late, settled
from ziprerank.serve.schemas import Options, RerankResponse
from ziprerank.serve.settings import Settings
from ziprerank.serve.stored import DocumentStore
from ziprerank.serve.text_page import check_font
from ziprerank.serve.tracing import note_ranking
from ziprerank.strategies import AnyPlan, plan_passes
from ziprerank.windows import plan_windows

MOST_THUMBNAILS = 100
PATIENCE = 1.0  # seconds that a ranking keeps the engine while one of its pages is not ready; doubled each time
READY_SECONDS = 5.0  # in which a page worker must start, for the server to be ready


class Service:
    """What the routes share. Use it from one event loop.

    Attributes:
        reranker: Ranks the pages.
        settings: Limits and options.
        model_name: The name in answers.
        admission: Bounds the requests under way.
        metrics: Counts what the service does.
        documents: What clients have sent for further requests.
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
        self.documents = DocumentStore(settings)
        self.ready = False
        self.lost = ""
        self._queue = EngineQueue()
        self._threads = ThreadPoolExecutor(settings.queue, thread_name_prefix="ziprerank-request")
        self._trimmer = Trimmer(self._threads)
        self._fetcher = Fetcher(settings)
        self.admission.rejected = self.metrics.rejected
        self.documents.removed = self.metrics.removed
        self.metrics.built(
            version=__version__,
            model=self.model_name,
            bundle_id=reranker.bundle.bundle_id,
            precision=reranker.bundle.precision,
            provider=reranker.engine.info["provider"],
            onnxruntime=reranker.engine.info.get("runtime_version", ""),
        )
        self.metrics.watch_pool(lambda: self.reranker.engine.pool)
        self.metrics.watch_workers(pool().pids)
        if reranker.page_cache is not None:
            self.metrics.watch_disk(reranker.page_cache.stats)
        self.metrics.gauge(
            "ziprerank_requests_in_flight", "Rankings and uploads under way", lambda: self.admission.requests
        )
        self.metrics.gauge("ziprerank_queue_size", "Rankings that wait for the engine", lambda: len(self._queue))
        self.metrics.gauge("ziprerank_stored_documents", "Documents kept", lambda: len(self.documents))
        self.metrics.gauge("ziprerank_stored_bytes", "Bytes of documents kept", lambda: self.documents.held)
        self.metrics.gauge(
            "ziprerank_held_bytes", "Bodies, fetched files and answers held", lambda: self.admission.held
        )

    @property
    def reads_text(self) -> bool:
        """Whether the bundle reads the words of documents."""
        return self.reranker.bundle.prompt.text is not None

    async def warm_up(self) -> None:
        """Ranks a blank page, so that the first client need not wait for lazy initialisation; then sets ``ready``."""
        rules = self.reranker.bundle.image
        size = smart_resize(rules.longest_side, round(rules.longest_side * 0.77), rules)
        page = np.full((*size, 3), 255, dtype=np.uint8)
        try:
            done = await self._queue.run(
                lambda check, stop: self.reranker.rank("warm-up", page, progress=check, cancel=stop), lambda: None
            )
        except DeviceLost as error:
            self.lost = str(error)
            raise
        self.ready = True
        logger.info("ready", extra={"fields": {"model": self.model_name, "warm_up_ms": round(done.ran * 1e3, 1)}})

    async def not_ready(self) -> str | None:
        """Returns why the server takes no requests, or None if it does."""
        if self.admission.draining:
            return "shutting down"
        if self.lost:
            return self.lost
        if not self.ready:
            return "warming up"
        check = asyncio.ensure_future(asyncio.to_thread(pool().check, self.reranker.page_limits))
        await asyncio.wait([check], timeout=READY_SECONDS)
        if check.done():
            return check.result()
        return f"a process that prepares pages has not started within {READY_SECONDS:g} s"

    async def close(self) -> None:
        """Drops the rankings that wait, and returns when the running one and all workers have ended."""
        self._trimmer.close()
        self.documents.close()
        await self._queue.close()
        await asyncio.to_thread(self._threads.shutdown)

    def check_key(self, headers: Mapping[str, str]) -> str:
        """Returns who sends a request with these headers, as ``sender_of`` does, which raises Refused (401)."""
        return sender_of(headers, self.settings.api_keys)

    async def rank(
        self,
        query: str,
        pieces: Sequence[Piece],
        options: Options,
        *,
        permit: Permit,
        render_text: bool | None = None,
        echo: Sequence[dict[str, Any]] | None = None,
        events: Events | None = None,
    ) -> RerankResponse:
        """Ranks the pages of a request's documents.

        Args:
            query: What to look for.
            pieces: The documents.
            options: The request's options.
            permit: The request's admission, which accounts for files and time, and knows its sender.
            render_text: Whether words are drawn as pages; None is the settings', unless the bundle reads words.
            echo: The documents as results return them; None returns none.
            events: Begin once the request is found to be valid, and are told how far the ranking is.

        Returns:
            The body of the answer.

        Raises:
            Refused: A field or a document is invalid, or a limit is exceeded.
            InvalidInput: The ranking rejects its arguments.
            EngineError: The engine failed.
        """
        started = perf_counter()
        text, instruction = self._check(query, options, pieces)
        owner = permit.sender if self.settings.cache_per_key else ""  # of the page features
        self._take_stored(pieces, permit)
        on_bad_page = options.on_bad_page or self.settings.on_bad_page
        if render_text is None:
            render_text = self.settings.render_text and not self.reads_text
        workers = ThreadPoolExecutor(self.settings.workers, thread_name_prefix="ziprerank-worker")
        candidates = Candidates(
            self.reranker.bundle.image, self.settings, workers, self.reranker.page_limits, reads_text=self.reads_text
        )
        try:
            await fetch_pieces(pieces, self._fetcher, permit.hold, on_bad_page)
            opened = self._threads.submit(candidates.open, pieces, render_text=render_text, on_bad_page=on_bad_page)
            await settled(opened, candidates.give_up)
            permit.allow(len(candidates.pages))
            reading = self._threads.submit(self._read_texts, text, candidates, options, owner)
            plan = self._check_plan(await settled(reading, candidates.give_up), candidates.good, options)
            await settled(self._threads.submit(self._check_prompt, text, instruction, plan.width))
            room = AnswerRoom(self.settings.max_answer_bytes)
            room.take(candidates, options, echo, self.reranker.bundle)
            permit.hold(room.taken)
            prepared = perf_counter() - started
            if events is not None:
                events.begun.set()
            done = await self._run(query, candidates, options, owner, events)
            self.admission.took(done.ran)
            self.metrics.ranked(done.value, prepared, done.waited)
            note_ranking(done.value, prepared, done.waited, done.ran)
            drawn: list[str] = []
            if "thumbnail" in options.include:
                held = room.taken
                pictures = self._threads.submit(draw_thumbnails, candidates, done.value, options.thumbnail_side, room)
                drawn = await settled(pictures, candidates.give_up)
                permit.hold(room.taken - held)
            timings = None
            if "timings" in options.include:
                timings = timings_of(done, prepared, perf_counter() - started)
            return build_answer(
                self.reranker.bundle,
                self.model_name,
                candidates,
                done.value,
                options,
                scale=options.scale or self.settings.scale,
                drawn=drawn,
                echo=echo,
                timings=timings,
            )
        finally:
            self._threads.submit(candidates.close)
            workers.shutdown(wait=False)
            self._trimmer.soon()

    async def count_pages(self, data: bytes, password: str | None) -> int:
        """Returns how many pages a PDF or an image has. Raises InvalidInput if it cannot be opened."""
        rules, limits, interrupt = self.reranker.bundle.image, self.reranker.page_limits, Interrupt()
        return await settled(self._threads.submit(count_pages, data, password, rules, limits, interrupt), interrupt.set)

    def _take_stored(self, pieces: Sequence[Piece], permit: Permit) -> None:
        """Gives the documents that are kept their bytes, which count as if they had come with the request.

        Raises:
            Refused: A document is not there (404), also where bad documents are skipped, or there is no room.
        """
        for piece in pieces:
            if piece.stored:
                assert isinstance(piece.data, str)
                try:
                    document = self.documents.find(permit.sender, piece.data, use=True)
                except Refused as gone:
                    raise piece.refuse(gone.detail, gone.status_code, gone.kind) from None
                permit.hold(len(document.data))
                piece.data = document.data

    async def _run(
        self, query: str, candidates: Candidates, options: Options, owner: str, events: Events | None
    ) -> Done[Ranking]:
        """Ranks, and leaves the engine to others while a page is late: features of earlier pages are in its pool."""
        patience = PATIENCE
        try:
            while True:
                try:
                    return await self._queue.run(
                        lambda check, stop: self.reranker.for_owner(owner).rank(
                            query,
                            candidates.pages,
                            options.top_n or None,
                            keep_ratio=options.keep_ratio,
                            window=options.window,
                            stride=options.stride,
                            strategy=options.strategy,
                            first_stage=options.first_stage,
                            candidates=options.candidates,
                            instruction=options.instruction,
                            on_bad_page=options.on_bad_page or self.settings.on_bad_page,
                            budget_ms=options.budget_ms,
                            progress=check if events is None else events.following(check),
                            cancel=stop,
                        ),
                        candidates.ahead,
                        patience,
                    )
                except DeviceLost as error:
                    self.lost = str(error)
                    raise
                except Late:
                    patience *= 2
                    while candidates.late:
                        await asyncio.sleep(0.05)
        except PageError as error:
            if error.index is None:
                raise
            origin = candidates.origins[error.index]
            raise refuse_page(error, origin.param, origin.index) from error

    def _read_texts(self, text: str, candidates: Candidates, options: Options, owner: str) -> int:
        """Reads what the first stage needs, before the request waits for the engine.

        Returns how many pages the model will read, for the query that ``_check`` returned.
        """
        with candidates.interruptible():
            return self.reranker.for_owner(owner).read_texts(
                candidates.pages, options.window, options.first_stage, options.candidates, text
            )

    def _check(self, query: str, options: Options, pieces: Sequence[Piece]) -> tuple[str, str]:
        """Checks what can be checked before a document is opened. Returns the query and the instruction of the prompt.

        Raises Refused.
        """
        with at_fault("query"):
            text = self.reranker.prompts.check_query(query)
        with at_fault("instruction"):
            asked = self.reranker.prompts.check_instruction(options.instruction)
        with at_fault("first_stage"):
            stage = stage_for(stage_options(options.first_stage, options.candidates), self.reranker.bundle.defaults)
            check_relates(stage, relates=bool(self.reranker.engine.info.get("relates")))
        most = self.settings.max_pages
        if len(pieces) > most:  # files of a form; JSON was counted as it was read
            message = f"{len(pieces):,} documents, at most {most:,} in one request: split"
            raise Refused(413, message, param=pieces[most].list, index=most)
        return text, asked

    def _check_prompt(self, text: str, instruction: str, pages: int) -> None:
        """Checks the prompt of a pass of so many pages for what ``_check`` returned. Raises Refused."""
        with at_fault("query"):
            self.reranker.prompts.check_length(text, pages, instruction)

    def _check_plan(self, read: int, good: int, options: Options) -> AnyPlan:
        """Plans the passes over ``read`` pages of ``good`` that may be ranked. Raises Refused."""
        defaults, top_k = self.reranker.bundle.defaults, options.top_n or None
        read, pages = max(1, read), max(1, good)  # if none is good, the ranking says why
        with at_fault("window"):
            plan_windows(read, options.window, None, defaults)
        with at_fault("stride"):
            plan_windows(read, options.window, options.stride, defaults)
        with at_fault("strategy" if options.stride is None else "stride"):  # which partition has none of
            plan = plan_passes(read, options.strategy, options.window, options.stride, top_k, defaults)
        shown = min(pages, options.top_n or pages)
        if "thumbnail" in options.include and shown > MOST_THUMBNAILS:
            raise Refused(422, f"{shown} thumbnails, at most {MOST_THUMBNAILS}: set top_n", param="include")
        return plan
