"""Builds the bodies of answers from rankings."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from ziprerank.bundle import Bundle
from ziprerank.errors import said_for
from ziprerank.inputs.bad_pages import BadPage
from ziprerank.ranking import RankedPage, Ranking, summed_up
from ziprerank.scales import Scale
from ziprerank.serve.documents import Candidates
from ziprerank.serve.failures import PASSWORD_FIELD, Refused
from ziprerank.serve.logs import request_id
from ziprerank.serve.queue import Done
from ziprerank.serve.schemas import (
    ApiVersion,
    BilledTokens,
    Budget,
    Kept,
    Meta,
    Options,
    RerankResponse,
    Result,
    Skipped,
    Timings,
    Usage,
)

_NOT_RETURNED = "documents that have pages (PDF, TIFF) are not returned: index and page say where a result comes from"
_FIELDS = 2_500  # bytes of a result or a skipped page without document, kept tokens and thumbnail; 250 are usual


def build_answer(
    bundle: Bundle,
    model: str,
    candidates: Candidates,
    ranking: Ranking,
    options: Options,
    *,
    scale: Scale,
    drawn: Sequence[str],
    echo: Sequence[dict[str, Any]] | None,
    timings: Timings | None,
) -> RerankResponse:
    """Returns the body of an answer.

    Args:
        bundle: What ranked.
        model: The model's name in the answer.
        candidates: The pages that were ranked.
        ranking: Their order.
        options: The request's options.
        scale: What ``relevance_score`` is.
        drawn: A thumbnail for each ranked page; empty returns none.
        echo: The documents as results return them; None returns none. Those that have pages are never returned, since
            each page would repeat the whole file.
        timings: What ``timings_of`` returned; None leaves them out.
    """
    results = []
    for place, page in enumerate(ranking):
        document = candidates.origins[page.index].index
        results.append(
            Result.model_construct(
                index=document,
                page=page.page,
                relevance_score=page.on_scale(scale),
                document=None if echo is None or page.page is not None else echo[document],
                logit=page.score if "logit" in options.include else None,
                passes=list(page.passes) if "passes" in options.include else None,
                kept=_kept(page, bundle.image.factor) if "kept" in options.include else None,
                warnings=list(page.warnings) or None,
                thumbnail=drawn[place] if drawn else None,
            )
        )
    tokens = ranking.tokens
    read = tokens.text + tokens.kept
    meta = Meta(
        api_version=ApiVersion(version="2"),
        tokens=BilledTokens(input_tokens=read),
        pages=ranking.pages,
        windows=ranking.windows,
        first_stage=ranking.first_stage,
        strategy=ranking.strategy,
        keep_ratio=_keep_ratio(ranking, options, bundle),
        budget=None if ranking.budget is None else Budget(**ranking.budget.to_dict()),
        scale=scale,
        timings_ms=timings,
        warnings=_warnings(ranking, candidates, echo) or None,
        skipped=_skipped(ranking, candidates) or None,
    )
    usage = Usage(
        prompt_tokens=read,
        total_tokens=read,
        text_tokens=tokens.text,
        visual_tokens=tokens.visual,
        blank_tokens=tokens.blank,
        kept_tokens=tokens.kept,
    )
    return RerankResponse(id=request_id.get() or "", model=model, results=results, usage=usage, meta=meta)


def _keep_ratio(ranking: Ranking, options: Options, bundle: Bundle) -> float:
    if ranking.budget is not None:
        return ranking.budget.keep_ratio
    return bundle.defaults.keep_ratio if options.keep_ratio is None else options.keep_ratio


def timings_of(done: Done[Ranking], prepared: float, total: float) -> Timings:
    """Returns the milliseconds of each stage.

    Args:
        done: The ranking, and how long it waited for the engine.
        prepared: Seconds that opening the documents took.
        total: Seconds since the request began.
    """
    stages = {stage: getattr(done.value.timings, stage) for stage in ("pages", "tokenize", "vision", "rerank")}
    return Timings(prepare=prepared * 1e3, queue=done.waited * 1e3, total=total * 1e3, **stages)


class AnswerRoom:
    """The bytes that an answer may have, and those that its parts will take, counted before it is built."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0

    def take(self, candidates: Candidates, options: Options, echo: Sequence[object] | None, bundle: Bundle) -> None:
        """Counts everything but thumbnails, whichever pages turn out to be the best.

        Raises:
            Refused: There is not enough room.
        """
        pages = [
            (page, origin)
            for page, origin in zip(candidates.pages, candidates.origins, strict=True)
            if not isinstance(page, BadPage)
        ]
        sizes = [page.size for page, _ in pages]
        shown = min(len(sizes), options.top_n or len(sizes))
        self.add(len(candidates.pages) * _FIELDS, "documents", "send fewer pages")
        if "kept" in options.include:
            ratio = bundle.defaults.keep_ratio if options.keep_ratio is None else options.keep_ratio
            tokens = [0, *(height * width // bundle.image.factor**2 for height, width in sizes)]
            kept = sum(sorted(tokens)[-shown:]) * ratio + shown
            self.add(math.ceil(kept) * len(f"{max(tokens)},"), "include", "leave out kept, or set top_n")
        if echo is not None:
            origins = {origin.index for page, origin in pages if page.page is None}
            lengths = sorted(len(to_json(echo[index])) for index in origins)
            self.add(sum(lengths[-shown:]), "return_documents", "leave out return_documents, or set top_n")

    def add(self, size: int, param: str, way_out: str) -> None:
        """Counts ``size`` bytes more.

        Raises:
            Refused: There is not enough room; the error names the field ``param`` and the ``way_out``.
        """
        self.taken += size
        if self.taken > self._most:
            message = f"{param}: the answer would have {self.taken:,} bytes, at most {self._most:,}: {way_out}"
            raise Refused(422, message, param=param, kind="answer_too_large")


def draw_thumbnails(candidates: Candidates, ranking: Ranking, side: int, room: AnswerRoom) -> list[str]:
    """Returns a JPEG of each ranked page as a data URL, its longest side at most ``side`` px.

    Raises:
        Refused: They do not fit into what is left of ``room``.
    """
    drawn = []
    for page in ranking:
        candidates.check_stop()
        stream = io.BytesIO()
        candidates.pages[page.index].picture(side).save(stream, "JPEG", quality=80)
        drawn.append("data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode())
        room.add(len(drawn[-1]), "include", "set a smaller thumbnail_side or top_n")
    return drawn


def _warnings(ranking: Ranking, candidates: Candidates, echo: Sequence[object] | None) -> list[str]:
    """Returns what a reader of the answer should know, as ``meta.warnings`` says it."""
    warnings = []
    if echo is not None and any(page.page is not None for page in ranking):
        warnings.append(_NOT_RETURNED)
    return warnings + summed_up(ranking.warnings, lambda note: candidates.origins[note.index].param)


def _skipped(ranking: Ranking, candidates: Candidates) -> list[Skipped]:
    return [
        Skipped(index=candidates.origins[note.index].index, page=note.page, reason=said_for(note.text, PASSWORD_FIELD))
        for note in ranking.skipped
    ]


def _kept(page: RankedPage, factor: int) -> Kept:
    rows, columns = (side // factor for side in page.size)
    ratio = len(page.kept) / page.tokens if page.tokens else 0.0  # a text alone has none
    return Kept(ratio=ratio, rows=rows, columns=columns, tokens=list(page.kept))
