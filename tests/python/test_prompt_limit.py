"""The bound on a whole prompt: what it counts, where it comes from, and what its error says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from ziprerank.bundle import Bundle
from ziprerank.errors import InvalidInput
from ziprerank.prompt import PromptBuilder, prompt_limit
from ziprerank.reranker import Reranker

Noise = Callable[[int, int, int], np.ndarray]
QUERY = "which pages say how whales find their way in winter"


def test_the_bundles_own_limit(bundle: Bundle) -> None:
    """Text takes at most as many tokens as the pages of a full window, and never less than one query may have."""
    image, defaults = bundle.image, bundle.defaults
    assert (image.longest_side, image.factor, defaults.window, defaults.keep_ratio) == (1024, 32, 20, 0.5)
    assert prompt_limit(bundle) == 20 * 32 * 32 // 2
    assert PromptBuilder(bundle).max_tokens == prompt_limit(bundle)
    small = replace(bundle, image=replace(image, max_pixels=64 * 64))
    assert prompt_limit(small) == 4096


@pytest.mark.parametrize("pages", [1, 20])
def test_the_whole_prompt_counts_without_its_pages(bundle: Bundle, pages: int) -> None:
    ids = PromptBuilder(bundle).build(QUERY, pages).text_ids
    tokens = int((ids != bundle.tokens.image_pad).sum())
    exact, less = PromptBuilder(bundle, tokens), PromptBuilder(bundle, tokens - 1)
    exact.check_length(QUERY, pages)
    assert np.array_equal(exact.build(QUERY, pages).text_ids, ids)
    for check in (less.check_length, less.build):
        with pytest.raises(InvalidInput) as caught:
            check(QUERY, pages)
        count, window = ("1 page", "") if pages == 1 else ("20 pages", ", rank fewer pages in a pass (window)")
        assert str(caught.value) == (
            f"the query makes a prompt of {tokens:,} tokens for {count} in a pass, at most {tokens - 1:,}: shorten or "
            f"summarise it{window}, or load the engine with a higher max_prompt_tokens"
        )


def test_a_query_that_the_prompt_has_once_needs_no_smaller_window(bundle: Bundle) -> None:
    once = replace(bundle, prompt=replace(bundle.prompt, page="{letter}{image}"))
    with pytest.raises(InvalidInput, match="shorten or summarise it, or load"):
        PromptBuilder(once, 30).build(QUERY, 20)


def test_nothing_runs_for_a_query_that_is_too_long(reranker: Reranker, noise: Noise) -> None:
    """The others are not ranked first; and in smaller windows the query fits."""
    limited = Reranker(reranker.bundle, reranker.engine, options=replace(reranker.options, max_prompt_tokens=200))
    pages, steps = [noise(64, 64, seed) for seed in range(12)], []
    with pytest.raises(InvalidInput, match="for 12 pages in a pass, at most 200: "):
        limited.rank_many(["soup", QUERY], pages, progress=lambda *step: steps.append(step))
    assert steps == []
    wanted = reranker.rank(QUERY, pages, window=6, stride=3)
    assert limited.rank(QUERY, pages, window=6, stride=3).results == wanted.results
