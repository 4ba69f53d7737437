"""A case (pages of a PDF, one query, one page size) and the result of one timed run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from ziprerank.bundle import Blank, Bundle
from ziprerank.inputs.pages import Pdf, open_pages
from ziprerank.windows import MAX_WINDOW, Plan, plan_windows

STRIDE = 10
KEEP_RATIOS = (1.0, 0.5, 0.25)
REASONING = (0, 64, 256)  # tokens written before the ranking string
OURS, OURS_POINTWISE = "ziprerank", "ziprerank_pointwise"  # names of systems
FILE, AGAIN = "file", "again"
STARTS = (FILE, AGAIN)
"""``file``: the first query over a PDF; nothing of its pages is in memory.

``again``: the next query over the same pages, with everything in memory that the system keeps: page features for
ziprerank, pixel values for transformers.
"""


@dataclass(frozen=True, slots=True)
class Case:
    """Pages of a PDF for one query: up to 20 in one pass, more in windows of 20.

    Attributes:
        pdf: the file.
        query: what is looked for.
        numbers: the pages, counted from 1.
        bundle: with the page size to render at.
    """

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
        """Counts the visual tokens of all pages before pruning."""
        with open_pages(self.source, self.bundle.image) as sources:
            return sum(source.size[0] * source.size[1] for source in sources) // self.bundle.image.factor**2

    @property
    def plan(self) -> Plan:
        return plan_windows(self.pages, defaults=self.bundle.defaults, **self.options)

    @property
    def options(self) -> dict[str, Any]:
        """Window and stride, as ``Reranker.rank`` takes them: none where each page is scored by itself."""
        if self.bundle.defaults.pointwise:
            return {"window": "auto", "stride": None}
        return {"window": min(self.pages, MAX_WINDOW), "stride": STRIDE if self.pages > MAX_WINDOW else None}


def at_size(bundle: Bundle, longest_side: int | None) -> Bundle:
    """Returns the bundle with pages of ``longest_side`` px, or unchanged for None."""
    if longest_side is None:
        return bundle
    return replace(bundle, image=replace(bundle.image, longest_side=longest_side, dpi=None))


def distinct_pages(pdf: Path, bundle: Bundle, count: int) -> tuple[int, ...]:
    """Finds the first ``count`` pages that differ from all pages before them.

    ziprerank's page pool encodes equal pages once, which would save it work that the other systems do.

    Returns:
        Page numbers, from 1.

    Raises:
        SystemExit: the PDF has fewer such pages.
    """
    numbers, seen = [], set()
    with open_pages(pdf, bundle.image) as sources:
        for number, source in enumerate(sources, start=1):
            pixels = source.prepare().tobytes()
            if pixels not in seen:
                seen.add(pixels)
                numbers.append(number)
            if len(numbers) == count:
                return tuple(numbers)
    raise SystemExit(f"{pdf} has {len(numbers)} distinct pages, {count} are needed: use fewer --candidates")


@dataclass(frozen=True, slots=True)
class System:
    """One line of the comparison.

    Attributes:
        name: such as "ziprerank" or "pointwise".
        precision: of the bundle, or the dtype of the model in PyTorch.
        keep_ratio: share of each page's visual tokens that the decoder reads.
        reasoning: tokens generated before the ranking, by the listwise system.
        blank: whether visual tokens of blank paper are dropped or kept.
    """

    name: str
    precision: str
    keep_ratio: float = 1.0
    reasoning: int = 0
    blank: Blank = "keep"


@dataclass(slots=True)
class Read:
    """Tokens of all passes of one query.

    Attributes:
        text: text tokens read.
        visual: visual tokens before pruning.
        kept: visual tokens after pruning.
        generated: tokens generated.
    """

    text: int = 0
    visual: int = 0
    kept: int = 0
    generated: int = 0

    def add(self, prompt_tokens: int, pages: Sequence[int]) -> None:
        """Counts a pass whose prompt has an image pad for each page, given the visual tokens of each."""
        self.text += prompt_tokens - len(pages)
        self.visual += sum(pages)


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed run.

    Attributes:
        system: what ran.
        start: one of `STARTS`.
        total: milliseconds by the clock, or the sum of ``stages`` where systems share stages.
        stages: milliseconds by stage.
        text_tokens: text tokens that the decoder read.
        visual_tokens: visual tokens before pruning.
        kept_tokens: visual tokens after pruning.
        generated_tokens: tokens generated.
        energy: joules of the GPU, None where no counter can be read.
    """

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
    """Adds up milliseconds by stage; ``finish`` waits until a GPU has done its work."""

    finish: Callable[[], None] = lambda: None
    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = perf_counter()
        yield
        self.finish()
        self.stages[name] = self.stages.get(name, 0.0) + (perf_counter() - started) * 1e3
