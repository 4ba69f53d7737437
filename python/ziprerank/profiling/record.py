"""Records a few rankings: the stages of the reranker and of the engine, and ONNX Runtime's profile of every node.

The first ranking encodes every page that it reads; those after it find the pages' features in memory. Before them blank
pages of the sizes of the first `MAX_WINDOW` are ranked, so that no ranking pays for what a process does once.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ziprerank.cache.page_cache import open_cache
from ziprerank.errors import InvalidInput, MissingDependency
from ziprerank.inputs.bad_pages import BadPage
from ziprerank.inputs.pages import PageInput, open_pages
from ziprerank.inputs.sizes import Size
from ziprerank.profiling.trace import Slice, nested, read_profile
from ziprerank.profiling.watch import Watch
from ziprerank.ranking import Ranking
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions, load_engine
from ziprerank.windows import MAX_WINDOW

DOMAIN = "ziprerank"  # of the NVTX ranges
PRUNE = "QueryImagePrune"
PRODUCTS = ("Gemm", "MatMul")  # as parts of an operator's name: FusedMatMul, MatMulNBits


@dataclass(frozen=True)
class Profile:
    """``passes``: the slice of each of ``rankings``. ``slices``: everything, loading and warm-up included, nested."""

    rankings: tuple[Ranking, ...]
    passes: tuple[Slice, ...]
    slices: tuple[Slice, ...]
    thread_names: dict[int | str, str]
    info: dict[str, Any]  # Engine.info


class Recorder:
    """A hook (``ziprerank.profiling.watch``) that keeps a slice for each stage; ``label`` names a candidate."""

    def __init__(self, label: Callable[[int], str]) -> None:
        self.slices: list[Slice] = []
        self.threads: dict[int | str, str] = {}
        self._label = label

    @contextmanager
    def __call__(self, stage: str, page: int | None) -> Iterator[None]:
        name = stage if page is None else f"{stage} {self._label(page)}"
        args = {} if page is None else {"candidate": page}
        with self.slice(name, "stage", {"stage": stage, **args}):
            yield

    @contextmanager
    def slice(self, name: str, kind: str, args: dict[str, Any] | None = None) -> Iterator[None]:
        thread = threading.get_native_id()
        self.threads[thread] = threading.current_thread().name
        start = time.time_ns()
        try:
            yield
        finally:
            self.slices.append(Slice(name, kind, thread, start, time.time_ns(), args or {}))


def record(
    query: str,
    pages: PageInput | Sequence[PageInput],
    options: EngineOptions | None = None,
    *,
    runs: int = 3,
    nvtx: bool = False,
    folder: Path | None = None,
    **ranking: Any,
) -> Profile:
    """Ranks pages a few times and returns what was recorded.

    Args:
        query: What to look for.
        pages: As for ``Reranker.rank``.
        options: The engine to record.
        runs: Rankings; from the second on all pages are in memory.
        nvtx: Whether each stage is an NVTX range too, in the domain ``ziprerank``, with the candidate's index as its
            payload.
        folder: Where ONNX Runtime's own files go and stay; None removes them.
        ranking: The options of ``Reranker.rank``, by name.

    Raises:
        InvalidInput: ``runs`` is under 1.
        MissingDependency: NVTX ranges are asked for and nvtx is not installed.
        ZipRerankError: Whatever ``Reranker.rank`` raises.
    """
    if runs < 1:
        raise InvalidInput(f"runs={runs}: record 1 ranking or more")
    options = options or EngineOptions()
    loaded = options.load_bundle()
    with open_pages(pages, loaded.image, ranking.get("on_bad_page", "raise"), limits=options.page_limits) as sources:
        blanks = [BlankPage(source.size) for source in sources if not isinstance(source, BadPage)]
        labels = [f"p. {source.page}" if source.page else source.source for source in sources]
    recorder = Recorder(labels.__getitem__)
    watch: Watch = _both(recorder, nvtx_watch()) if nvtx else recorder
    rankings = []
    with tempfile.TemporaryDirectory(prefix="ziprerank-profile-") as scratch:
        prefix = (folder or Path(scratch)) / "onnxruntime"
        with recorder.slice("load", "ranking"):
            engine = load_engine(loaded, options, profile=str(prefix))
        cache = open_cache(options, loaded, engine)
        # two, so that what blank pages take is no rate by which a budget chooses
        warming, reranker = (Reranker(loaded, engine, watch, cache, options) for _ in range(2))
        with recorder.slice("warm-up", "ranking"):
            if blanks:
                usual = {**ranking, "first_stage": "none", "candidates": None, "budget_ms": None}
                warming.rank(query, blanks[:MAX_WINDOW], **usual)
        for number in range(1, runs + 1):
            with recorder.slice(f"rank {number}", "ranking"):
                rankings.append(reranker.rank(query, pages, **ranking))
        info = engine.info
        recorded = engine.end_profile()
        inside = [Slice(name, "engine", thread, start, end) for name, start, end, thread in recorded["stages"]]
        slices = [*recorder.slices, *inside]
        for graph, file, start in recorded["graphs"]:
            slices += read_profile(Path(file), graph, start)
    slices = nested(slices)
    slices = nested([*parts(slices), *slices])  # of equal slices the first holds the other
    passes = [one for one in slices if one.kind == "ranking" and one.name.startswith("rank ")]
    names = {one.thread: recorder.threads.get(one.thread, str(one.thread)) for one in slices}
    return Profile(tuple(rankings), tuple(passes), tuple(slices), names, info)


def parts(slices: Sequence[Slice]) -> list[Slice]:
    """Splits each run of rerank.onnx into parts, by the order in which its nodes ran.

    The parts are ``embed`` (before the pruning operator), ``prune``, ``decoder``, and ``letters`` (from the last matrix
    product on). A run whose nodes a provider has compiled into one has no parts.
    """
    out = []
    for run in (one for one in slices if one.name == "model_run" and one.args["graph"] == "rerank.onnx"):
        nodes = [one for one in slices if one.kind == "node" and one.thread == run.thread and run.holds(one)]
        operators = [node.args["op_name"] for node in nodes]
        if PRUNE not in operators:
            continue
        prune = operators.index(PRUNE)
        last = max(i for i, name in enumerate(operators) if any(product in name for product in PRODUCTS))
        bounds = {
            "embed": nodes[:prune],
            "prune": nodes[prune : prune + 1],
            "decoder": nodes[prune + 1 : last],
            "letters": nodes[last:],
        }
        out += [
            Slice(name, "part", run.thread, part[0].start, part[-1].end, {"graph": "rerank.onnx"})
            for name, part in bounds.items()
            if part
        ]
    return out


@dataclass(frozen=True, slots=True)
class BlankPage:
    """A grey page of the size of another one: ranking it leaves no page of a document in memory."""

    size: Size
    source: str = "blank"
    page: None = None

    def prepare(self) -> NDArray[np.uint8]:
        return np.full((*self.size, 3), 127, np.uint8)

    def picture(self, longest_side: int) -> Image.Image:
        return Image.new("RGB", (longest_side, longest_side), "grey")


def nvtx_watch() -> Watch:
    """Returns a hook that opens an NVTX range for each stage, for Nsight Systems. Raises MissingDependency."""
    try:
        import nvtx
    except ImportError as error:
        raise MissingDependency('NVTX ranges need the package nvtx: pip install "ziprerank[profile]"') from error

    def watch(stage: str, page: int | None) -> AbstractContextManager[object]:
        annotation: AbstractContextManager[object] = nvtx.annotate(stage, domain=DOMAIN, payload=page)
        return annotation

    return watch


def _both(first: Watch, second: Watch) -> Watch:
    @contextmanager
    def watch(stage: str, page: int | None) -> Iterator[None]:
        with ExitStack() as entered:
            entered.enter_context(first(stage, page))
            entered.enter_context(second(stage, page))
            yield

    return watch
