"""The result of a ranking: pages in order, what it took, and how many tokens were read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, SupportsIndex, overload

from ziprerank.scales import Scale


@dataclass(frozen=True, slots=True)
class PageNote:
    """Something to know about one candidate: what its pixels do not show, or why it was skipped."""

    index: int  # 0-based position among the candidates
    source: str  # as in RankedPage
    page: int | None  # 1-based page of a PDF or a TIFF
    text: str

    @property
    def label(self) -> str:
        """``file.pdf p. 3`` or ``photo.png``."""
        return page_label(self.source, self.page)

    def __str__(self) -> str:
        return f"{self.label}: {self.text}"

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON."""
        return {"index": self.index, "file": self.source, "page": self.page, "text": self.text}


def summed_up(notes: Iterable[PageNote], name: Callable[[PageNote], str] = lambda note: note.source) -> list[str]:
    """Returns a line for each file and text, such as ``file.pdf p. 1-4, 9: the text``; ``name`` names the file."""
    lines: dict[tuple[str, str], list[int]] = {}
    for note in notes:
        lines.setdefault((name(note), note.text), []).extend([] if note.page is None else [note.page])
    return [
        f"{file} p. {_ranges(pages)}: {text}" if pages else f"{file}: {text}" for (file, text), pages in lines.items()
    ]


def _ranges(pages: Iterable[int]) -> str:
    runs: list[list[int]] = []
    for page in sorted(set(pages)):
        if runs and runs[-1][1] == page - 1:
            runs[-1][1] = page
        else:
            runs.append([page, page])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def page_label(source: str, page: int | None) -> str:
    """Returns ``file.pdf p. 3`` or ``photo.png``."""
    return source if page is None else f"{source} p. {page}"


@dataclass(frozen=True, slots=True)
class RankedPage:
    """One page of a ranking.

    ``score`` is the logit of the page in the last pass that held it, ``probability`` the softmax of these logits over
    the pages of that pass, and ``sigmoid`` that of the logit alone. All three fall with the rank, strictly: where an
    early pass said more of a page than a later one of a page above it, the value is lowered to just under that page's.
    """

    index: int  # 0-based position among the candidates
    score: float
    probability: float
    sigmoid: float
    rank: int  # 1 is the best
    kept: tuple[int, ...] = field(repr=False)  # ascending indices of the visual tokens not pruned, row by row
    tokens: int  # visual tokens before anything is left out, (height / 32) * (width / 32)
    size: tuple[int, int]  # (height, width) in px, as the model saw the page
    source: str  # file name, or "bytes", "image", "array"
    page: int | None  # 1-based page of a PDF
    warnings: tuple[str, ...] = ()  # what the pixels do not show of the page
    passes: tuple[int, ...] = ()  # numbers from 1 of the passes that held it; empty if the first stage left it behind

    @property
    def label(self) -> str:
        """``file.pdf p. 3`` or ``photo.png``."""
        return page_label(self.source, self.page)

    def on_scale(self, scale: Scale) -> float:
        """Returns ``score`` for ``"logit"``, else the field of that name."""
        return {"logit": self.score, "probability": self.probability, "sigmoid": self.sigmoid}[scale]


@dataclass(frozen=True, slots=True)
class Timings:
    """Wall-clock milliseconds. Stages overlap, so ``pages`` is only what the engine had to wait for pixels."""

    pages: float  # opening the inputs, the first stage, and waiting for pixels
    tokenize: float
    vision: float  # page features: looked up or computed
    rerank: float  # pruning and the decoder
    total: float


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens summed over all windows: a page counts once for every window that scored it."""

    text: int
    visual: int  # before anything is left out
    blank: int  # of blank paper, left out before the model
    kept: int  # after pruning


@dataclass(frozen=True, slots=True)
class BudgetChoice:
    """What was chosen for a budget of milliseconds."""

    budget_ms: float
    candidates: int  # in force where a first stage picks pages
    keep_ratio: float
    estimated_ms: float  # made before the first page was rendered

    @property
    def fits(self) -> bool:
        """Whether the estimate is within the budget; if not, nothing cheaper could be chosen."""
        return self.estimated_ms <= self.budget_ms

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON."""
        return {**asdict(self), "estimated_ms": round(self.estimated_ms, 3), "fits": self.fits}

    def __str__(self) -> str:
        over = "" if self.fits else ", over it: nothing cheaper could be chosen"
        return (
            f"budget of {self.budget_ms:g} ms: at most {self.candidates} candidates of a first stage, "
            f"keep ratio {self.keep_ratio:g}, about {self.estimated_ms:,.0f} ms{over}"
        )


@dataclass(frozen=True, slots=True)
class Ranking:
    """Pages in descending relevance. ``results`` holds the best ``top_k`` of ``pages`` ranked candidates.

    ``first_stage`` is what picked the pages that the model has read: ``"text"``, ``"relevance"``, ``"text+relevance"``
    where relevance picked among the pages without text, or ``"none"``. Pages that it left behind follow the others in
    its order. ``windows`` counts the passes over those, by ``strategy``.

    ``warnings`` are those of all ranked pages, in the order of the candidates, whether or not they are in ``results``.
    ``skipped`` are the candidates that could not be ranked, with their reasons; they are not among ``pages``.
    ``budget`` says what was chosen for ``budget_ms``; None without one.
    """

    query: str
    results: tuple[RankedPage, ...]
    pages: int
    windows: int
    timings: Timings
    tokens: Tokens
    warnings: tuple[PageNote, ...] = ()
    skipped: tuple[PageNote, ...] = ()
    first_stage: Literal["text", "relevance", "text+relevance", "none"] = "none"
    strategy: Literal["windows", "partition"] = "windows"
    budget: BudgetChoice | None = None

    def __iter__(self) -> Iterator[RankedPage]:
        return iter(self.results)

    @overload
    def __getitem__(self, place: SupportsIndex) -> RankedPage: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[RankedPage, ...]: ...
    def __getitem__(self, place: SupportsIndex | slice) -> RankedPage | tuple[RankedPage, ...]:
        """Returns the page at a 0-based place, or the pages of a slice. Raises IndexError outside of the results."""
        return self.results[place]

    def __len__(self) -> int:
        return len(self.results)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON, in which ``kept`` is a count and ``page`` is 1-based, None for an image.

        ``budget`` is there where one was given.
        """
        return {
            "query": self.query,
            "results": [
                {
                    "index": page.index,
                    "file": page.source,
                    "page": page.page,
                    "warnings": list(page.warnings),
                    "score": page.score,
                    "probability": page.probability,
                    "sigmoid": page.sigmoid,
                    "rank": page.rank,
                    "kept": len(page.kept),
                    "tokens": page.tokens,
                    "passes": list(page.passes),
                }
                for page in self.results
            ],
            "first_stage": self.first_stage,
            "strategy": self.strategy,
            "warnings": [note.to_dict() for note in self.warnings],
            "skipped": [note.to_dict() for note in self.skipped],
            "timings_ms": {stage: round(value, 3) for stage, value in asdict(self.timings).items()},
            "tokens": asdict(self.tokens),
            **({} if self.budget is None else {"budget": self.budget.to_dict()}),
        }
