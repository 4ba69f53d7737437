"""Rankings that end in the middle of a pass, and what comes after them on the same engine."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from blocking_engine import BlockingEngine
from ziprerank.errors import Cancelled
from ziprerank.reranker import Reranker

Noise = Callable[[int, int, int], np.ndarray]


@pytest.fixture
def blocking(reranker: Reranker) -> BlockingEngine:
    return BlockingEngine(reranker.engine)


def set_once_it_began(engine: BlockingEngine, act: Callable[[], None]) -> None:
    def wait() -> None:
        engine.began.wait()
        act()

    threading.Thread(target=wait, daemon=True).start()


def test_a_pass_ends_once_it_is_cancelled(reranker: Reranker, blocking: BlockingEngine, noise: Noise) -> None:
    pages = [noise(64, 64, seed) for seed in range(3)]
    other, cancel = Reranker(reranker.bundle, blocking), threading.Event()
    set_once_it_began(blocking, cancel.set)
    with pytest.raises(Cancelled, match="the ranking was cancelled"):
        other.rank("fish soup", pages, cancel=cancel)
    assert blocking.ended == 1  # it is over before the call returns
    assert reranker.engine.pool["pinned_rows"] == 0
    blocking.blocks = False
    assert other.rank("fish soup", pages, cancel=threading.Event()).results == reranker.rank("fish soup", pages).results


@pytest.mark.parametrize("cancel", [None, threading.Event()], ids=["alone", "with cancel"])
def test_an_interrupt_ends_a_pass(
    reranker: Reranker, blocking: BlockingEngine, noise: Noise, cancel: threading.Event | None
) -> None:
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        set_once_it_began(blocking, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            Reranker(reranker.bundle, blocking).rank("fish soup", noise(64, 64, 0), cancel=cancel)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert blocking.ended == 1


def test_what_is_set_raises_ends_a_pass(reranker: Reranker, blocking: BlockingEngine, noise: Noise) -> None:
    class Deadline:
        def is_set(self) -> bool:
            if blocking.began.is_set():
                raise TimeoutError("too late")
            return False

    with pytest.raises(TimeoutError, match="too late"):
        Reranker(reranker.bundle, blocking).rank("fish soup", noise(64, 64, 0), cancel=Deadline())
    assert blocking.ended == 1


def test_a_ranking_ends_before_its_next_page(reranker: Reranker, noise: Noise) -> None:
    cancel, done = threading.Event(), []

    def report(step: int, _: int) -> None:
        done.append(step)
        if step == 2:
            cancel.set()

    with pytest.raises(Cancelled):
        reranker.rank("fish soup", [noise(64, 64, seed) for seed in range(4)], progress=report, cancel=cancel)
    assert max(done) == 2


def test_the_engines_own_passes_end(small_pages: Path, sample: Path) -> None:
    """Rankings in another thread until one is cancelled, wherever that finds it; then the same as before."""

    def rank_until(cancel: threading.Event, ranked: threading.Event) -> str:
        try:
            while True:
                reranker.rank("fish soup", sample, cancel=cancel)
                ranked.set()
        except Cancelled as error:
            return str(error)

    with Reranker.from_bundle(small_pages, check="size") as reranker, ThreadPoolExecutor(1) as thread:
        wanted = [(page.index, page.score) for page in reranker.rank("fish soup", sample)]
        for _ in range(5):
            cancel, ranked = threading.Event(), threading.Event()
            end = thread.submit(rank_until, cancel, ranked)
            ranked.wait()
            cancel.set()
            assert end.result() == "the ranking was cancelled"
            assert [(page.index, page.score) for page in reranker.rank("fish soup", sample)] == wanted
        assert reranker.engine.pool["pinned_rows"] == 0
