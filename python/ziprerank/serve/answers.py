"""Builds the bodies of answers from rankings."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from ziprerank.bundle import Bundle
from ziprerank.errors import said_for
from ziprerank.ranking import RankedPage, Ranking, summed_up
from ziprerank.serve.documents import Candidates
from ziprerank.serve.failures import PASSWORD_FIELD
from ziprerank.serve.logs import request_id
from ziprerank.serve.queue import Done
from ziprerank.serve.schemas import (
    ApiVersion,
    BilledTokens,
    Kept,
    Meta,
    Options,
    RerankResponse,
    Result,
    Skipped,
    Timings,
    Usage,
)

_SEVERAL = "ranked in {} windows: go by the order of the results; each score comes from the page's last window"


def build_answer(
    bundle: Bundle,
    model: str,
    candidates: Candidates,
    ranking: Ranking,
    options: Options,
    *,
    drawn: Sequence[str],
    echo: Sequence[object] | None,
    timings: Timings | None,
) -> RerankResponse:
    """Returns the body of an answer.

    Args:
        bundle: What ranked.
        model: The model's name in the answer.
        candidates: The pages that were ranked.
        ranking: Their order.
        options: The request's options.
        drawn: A thumbnail for each ranked page; empty returns none.
        echo: The documents as results return them; None returns none.
        timings: What ``timings_of`` returned; None leaves them out.
    """
    results = []
    for place, page in enumerate(ranking):
        document = candidates.origins[page.index].index
        results.append(
            Result.model_construct(
                index=document,
                page=page.page,
                relevance_score=page.probability,
                document=None if echo is None else echo[document],
                logit=page.score if "logit" in options.include else None,
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
        keep_ratio=bundle.defaults.keep_ratio if options.keep_ratio is None else options.keep_ratio,
        timings_ms=timings,
        warnings=_warnings(ranking, candidates) or None,
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


def timings_of(done: Done[Ranking], prepared: float, total: float) -> Timings:
    """Returns the milliseconds of each stage.

    Args:
        done: The ranking, and how long it waited for the engine.
        prepared: Seconds that opening the documents took.
        total: Seconds since the request began.
    """
    stages = {stage: getattr(done.value.timings, stage) for stage in ("pages", "tokenize", "vision", "rerank")}
    return Timings(prepare=prepared * 1e3, queue=done.waited * 1e3, total=total * 1e3, **stages)


def draw_thumbnails(candidates: Candidates, ranking: Ranking, side: int) -> list[str]:
    """Returns a JPEG of each ranked page as a data URL, its longest side at most ``side`` px."""
    drawn = []
    for page in ranking:
        stream = io.BytesIO()
        candidates.pages[page.index].picture(side).save(stream, "JPEG", quality=80)
        drawn.append("data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode())
    return drawn


def _warnings(ranking: Ranking, candidates: Candidates) -> list[str]:
    several = [_SEVERAL.format(ranking.windows)] if ranking.windows > 1 else []
    return several + summed_up(ranking.warnings, lambda note: candidates.origins[note.index].param)


def _skipped(ranking: Ranking, candidates: Candidates) -> list[Skipped]:
    return [
        Skipped(index=candidates.origins[note.index].index, page=note.page, reason=said_for(note.text, PASSWORD_FIELD))
        for note in ranking.skipped
    ]


def _kept(page: RankedPage, factor: int) -> Kept:
    rows, columns = (side // factor for side in page.size)
    return Kept(ratio=len(page.kept) / page.tokens, rows=rows, columns=columns, tokens=list(page.kept))
