"""What is measured: K pages of a PDF for one query at one page size, and what one timed run says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

from ziprerank.bundle import Blank, Bundle
from ziprerank.inputs.pages import Pdf, open_pages
from ziprerank.windows import MAX_WINDOW, Plan, plan_windows

STRIDE = 10
KEEP_RATIOS = (1.0, 0.5, 0.25)
REASONING = (0, 64, 256)  # tokens written before the ranking string
FILE, AGAIN = "file", "again"
STARTS = (FILE, AGAIN)
"""``file``: the first query over a PDF, nothing of its pages is in memory. ``again``: the next query over the same
pages, with everything in memory that the system keeps: ours page features, transformers' the pages' pixel values."""


@dataclass(frozen=True, slots=True)
class Case:
    """Pages of ``pdf``, numbered from 1, all in one pass up to 20, in windows of 20 beyond."""

    pdf: Path
    query: str
    numbers: tuple[int, ...]
    bundle: Bundle

    @property
    def pages(self) -> int:
        return len(self.numbers)

    @property
    def source(self) -> Pdf:
        return Pdf(self.pdf, self.numbers)

    def visual_tokens(self) -> int:
        """Of all its pages, before pruning."""
        with open_pages(self.source, self.bundle.image) as sources:
            return sum(source.size[0] * source.size[1] for source in sources) // self.bundle.image.factor**2

    @property
    def plan(self) -> Plan:
        return plan_windows(self.pages, min(self.pages, MAX_WINDOW), self.stride, self.bundle.defaults)

    @property
    def stride(self) -> int | None:
        return STRIDE if self.pages > MAX_WINDOW else None


def at_size(bundle: Bundle, longest_side: int | None) -> Bundle:
    """The bundle with pages of ``longest_side`` px; None is its own size."""
    if longest_side is None:
        return bundle
    return replace(bundle, image=replace(bundle.image, longest_side=longest_side, dpi=None))


def distinct_pages(pdf: Path, bundle: Bundle, count: int) -> tuple[int, ...]:
    """Numbers of the first ``count`` pages that look like none before them: a pool of page features encodes equal
    pages once, which would spare ours work that the others do. Raises SystemExit when there are fewer."""
    numbers, seen = [], set()
    with open_pages(pdf, bundle.image) as sources:
        for number, source in enumerate(sources, start=1):
            pixels = source.prepare().tobytes()
            if pixels not in seen:
                seen.add(pixels)
                numbers.append(number)
            if len(numbers) == count:
                return tuple(numbers)
    raise SystemExit(f"{pdf} has {len(numbers)} pages that differ, {count} are asked for: use fewer --candidates")


@dataclass(frozen=True, slots=True)
class System:
    """One line of the comparison. ``precision``: a bundle's, or the dtype of a model in PyTorch. ``reasoning``: tokens
    written before the ranking string, for listwise generation. ``blank``: what becomes of visual tokens of blank paper.
    """

    name: str
    precision: str
    keep_ratio: float = 1.0
    reasoning: int = 0
    blank: Blank = "keep"


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed run, milliseconds and joules; ``total`` is wall time, or the sum of ``stages`` where systems share
    stages."""

    system: System
    start: str
    total: float
    stages: dict[str, float]
    text_tokens: int
    visual_tokens: int
    kept_tokens: int
    generated_tokens: int
    energy: float | None = None


@dataclass(slots=True)
class Clock:
    """Milliseconds by stage. ``finish`` waits for what a GPU has been given."""

    finish: Callable[[], None] = lambda: None
    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = perf_counter()
        yield
        self.finish()
        self.stages[name] = self.stages.get(name, 0.0) + (perf_counter() - started) * 1e3
