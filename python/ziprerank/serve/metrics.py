"""The metrics that Prometheus reads at ``/metrics``; each service has its own registry."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ziprerank.ranking import Ranking

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters and histograms of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter("ziprerank_requests", "Answered requests", ["path", "status"], registry=self.registry)
        self._seconds = Histogram(
            "ziprerank_request_seconds",
            "Seconds from a request's first byte to its answer",
            ["path"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "ziprerank_stage_seconds",
            "Seconds of a ranking by stage; stage pages is the time that the engine waited for pixels",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._tokens = Counter("ziprerank_tokens", "Tokens ranked, by kind", ["kind"], registry=self.registry)
        self._pages = Counter("ziprerank_pages", "Pages ranked", registry=self.registry)
        self._rejected = Counter(
            "ziprerank_rejected", "Requests rejected or abandoned, by reason", ["reason"], registry=self.registry
        )

        self._removed = Counter(
            "ziprerank_stored_removed", "Documents kept no longer, by reason", ["reason"], registry=self.registry
        )

    def built(self, **labels: str) -> None:
        """Adds ``ziprerank_build_info``, which is always 1: its labels say what answers, such as ``version``."""
        Info("ziprerank_build", "What answers: versions, model, provider", registry=self.registry).info(labels)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Adds a gauge named ``name``, described by ``text``, that calls ``value`` whenever the metrics are read."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def watch_workers(self, pids: Callable[[], Sequence[int]]) -> None:
        """Adds the number and the resident memory of the page workers, whose process ids ``pids`` returns."""
        self.registry.register(_Workers(pids))

    def watch_pool(self, pool: Callable[[], dict[str, int]]) -> None:
        """Adds the counts of the engine's page-feature pool, which ``pool`` returns."""
        self.registry.register(_Pool(pool))

    def watch_disk(self, stats: Callable[[], dict[str, int]]) -> None:
        """Adds the counts of the page features on disk, which ``stats`` returns."""
        self.registry.register(_Disk(stats))

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Counts an answered request."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def rejected(self, reason: str) -> None:
        """Counts a request that was rejected or abandoned."""
        self._rejected.labels(reason).inc()

    def removed(self, reason: str) -> None:
        """Counts a document that is kept no longer."""
        self._removed.labels(reason).inc()

    def ranked(self, ranking: Ranking, prepare: float, queue: float) -> None:
        """Counts a ranking.

        Args:
            ranking: Its tokens, pages and stages are counted.
            prepare: Seconds that opening its documents took.
            queue: Seconds that it waited for the engine.
        """
        timings, tokens = ranking.timings, ranking.tokens
        for stage, seconds in (("prepare", prepare), ("queue", queue)):
            self._stages.labels(stage).observe(seconds)
        for stage in ("pages", "tokenize", "vision", "rerank"):
            self._stages.labels(stage).observe(getattr(timings, stage) / 1e3)
        for kind in ("text", "visual", "kept"):
            self._tokens.labels(kind).inc(getattr(tokens, kind))
        self._pages.inc(ranking.pages)


class _Workers(Collector):
    """Collects the number of page workers and, on Linux, their resident memory, which the process's own leaves out."""

    def __init__(self, pids: Callable[[], Sequence[int]]) -> None:
        self._pids = pids

    def collect(self) -> Iterator[Metric]:
        pids = self._pids()
        yield GaugeMetricFamily("ziprerank_page_workers", "Processes that prepare pages", value=len(pids))
        if Path("/proc/self/statm").is_file():
            held = sum(map(_resident, pids))
            yield GaugeMetricFamily("ziprerank_page_workers_resident_bytes", "Their resident memory", value=held)


def _resident(pid: int) -> int:
    """Returns the resident bytes of a process, 0 if it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


class _Pool(Collector):
    """Collects the engine's counts of its page-feature pool."""

    def __init__(self, pool: Callable[[], dict[str, int]]) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        pool = self._pool()
        for name in ("hits", "misses", "evictions"):
            yield CounterMetricFamily(f"ziprerank_page_cache_{name}", f"Page features: {name}", value=pool[name])
        for name, text in (
            ("pages", "Pages whose features are held"),
            ("rows", "Capacity in visual tokens"),
            ("used_rows", "Visual tokens held"),
        ):
            yield GaugeMetricFamily(f"ziprerank_page_cache_{name}", text, value=pool[name])


class _Disk(Collector):
    """Collects the counts of the page features on disk."""

    def __init__(self, stats: Callable[[], dict[str, int]]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        for name, text in (
            ("hits", "Page features read from disk"),
            ("misses", "Page features that were missing on disk, or damaged"),
            ("corrupt", "Damaged page features that were removed from disk"),
            ("failures", "Reads and writes that failed"),
            ("evictions", "Page features that this process removed to make room"),
        ):
            yield CounterMetricFamily(f"ziprerank_disk_cache_{name}", text, value=stats[name])
        yield GaugeMetricFamily("ziprerank_disk_cache_bytes", "Bytes in the folder", value=stats["bytes"])
        yield GaugeMetricFamily("ziprerank_disk_cache_limit_bytes", "Most bytes in the folder", value=stats["limit"])
