"""The reranker end to end on the default bundle and the real engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ziprerank.bundle import Bundle
from ziprerank.errors import InvalidInput, PageError, PoolError, ProviderError, ZipRerankError
from ziprerank.inputs.pages import Pdf, open_pages
from ziprerank.prompt import PromptBuilder
from ziprerank.ranking import Ranking
from ziprerank.reranker import Reranker

Noise = Callable[[int, int, int], np.ndarray]
QUERIES = ["fish soup", "balance sheet", "lifeboat drills", "killer whale", "pier", "coffee", "fog and ice", "pension"]


def scores(ranking: Ranking) -> dict[int, float]:
    return {page.index: page.score for page in ranking}


def engine_scores(reranker: Reranker, query: str, pages: list[np.ndarray], keep_ratio: float) -> np.ndarray:
    """One window straight through the engine's own binding."""
    window = reranker.engine.window([(page.shape[0], page.shape[1]) for page in pages])
    for slot, page in enumerate(pages):
        window.encode(slot, page)
    prompts = PromptBuilder(reranker.bundle)
    prompt = prompts.build(prompts.check_query(query), len(pages))
    result = window.score(prompt.text_ids, prompt.query_mask, keep_ratio)
    window.close()
    return result.scores


def test_one_window(reranker: Reranker, noise: Noise) -> None:
    pages = [noise(256, 256 + 32 * (seed % 2), seed) for seed in range(5)]
    ranking = reranker.rank("fish soup", pages, window="off", keep_ratio=0.5)
    assert ranking.query == "fish soup"
    assert (ranking.pages, ranking.windows, len(ranking)) == (5, 1, 5)
    assert sorted(page.index for page in ranking) == list(range(5))
    assert [page.rank for page in ranking] == [1, 2, 3, 4, 5]
    assert [page.score for page in ranking] == sorted((page.score for page in ranking), reverse=True)
    assert sum(page.probability for page in ranking) == pytest.approx(1)
    first, last = ranking.results[0], ranking.results[-1]
    assert first.probability / last.probability == pytest.approx(math.exp(first.score - last.score))
    for page in ranking:
        height, width = pages[page.index].shape[:2]
        assert page.size == (height, width)
        assert page.tokens == height * width // 1024
        assert len(page.kept) == max(1, round(0.5 * page.tokens))
        assert list(page.kept) == sorted(set(page.kept))
        assert page.kept[0] >= 0
        assert page.kept[-1] < page.tokens
    assert ranking.tokens.visual == sum(page.tokens for page in ranking)
    assert ranking.tokens.kept == sum(len(page.kept) for page in ranking)
    expected = engine_scores(reranker, "fish soup", pages, 0.5)
    assert scores(ranking) == {index: pytest.approx(float(value), abs=1e-4) for index, value in enumerate(expected)}


def test_defaults_come_from_the_bundle(reranker: Reranker, sample: Path) -> None:
    defaults = reranker.bundle.defaults
    plain = reranker.rank("revenue", sample)
    spelled = reranker.rank(
        "revenue", sample, keep_ratio=defaults.keep_ratio, window=defaults.window, stride=defaults.stride
    )
    assert scores(plain) == pytest.approx(scores(spelled))
    assert plain.windows == math.ceil((18 - defaults.window) / defaults.stride) + 1


def test_keep_ratio_changes_what_is_kept(reranker: Reranker, noise: Noise) -> None:
    pages = [noise(256, 256, seed) for seed in range(3)]
    for ratio, kept in ((1.0, 64), (0.25, 16), (1e-6, 1)):
        assert {len(page.kept) for page in reranker.rank("x", pages, keep_ratio=ratio)} == {kept}


def test_windows_over_a_pdf(reranker: Reranker, sample: Path) -> None:
    steps: list[tuple[int, int]] = []
    ranking = reranker.rank(
        "lifeboat drills", sample, window=5, stride=3, progress=lambda done, total: steps.append((done, total))
    )
    passes = math.ceil((18 - 5) / 3) + 1
    assert ranking.windows == passes
    assert sorted(page.index for page in ranking) == list(range(18))
    assert [page.page for page in ranking] == [page.index + 1 for page in ranking]
    assert steps[-1] == (18 + passes, 18 + passes)
    assert steps == sorted(steps)
    assert sum(page.probability for page in ranking.results[:5]) == pytest.approx(1)


def test_progress_may_end_a_ranking_after_any_page(reranker: Reranker, sample: Path) -> None:
    class Enough(Exception):
        pass

    def stop(done: int, _: int) -> None:
        if done == 3:
            raise Enough

    with pytest.raises(Enough):
        reranker.rank("lifeboat drills", sample, progress=stop)
    assert reranker.engine.pool["pinned_rows"] == 0


def test_opened_pages_are_candidates_and_stay_open(reranker: Reranker, sample: Path) -> None:
    pages = Pdf(sample, pages="1-4")
    with open_pages(pages, reranker.bundle.image) as sources:
        first = reranker.rank("fish soup", sources)
        again = reranker.rank("fish soup", [*sources[2:], *sources[:2]])
    assert scores(first) == pytest.approx(scores(reranker.rank("fish soup", pages)), abs=1e-4)
    assert {page.index: page.page for page in again} == {0: 3, 1: 4, 2: 1, 3: 2}


def test_windows_agree_with_the_engine_run_by_hand(reranker: Reranker, sample: Path) -> None:
    with open_pages(Pdf(sample, pages="1-6"), reranker.bundle.image) as sources:
        pixels = [source.prepare() for source in sources]
    order, latest = list(range(6)), {}
    for start in (2, 0):
        window = order[start : start + 4]
        latest.update(zip(window, engine_scores(reranker, "fish", [pixels[i] for i in window], 0.5), strict=True))
        order[start : start + 4] = sorted(window, key=lambda index: -latest[index])
    ranking = reranker.rank("fish", Pdf(sample, pages="1-6"), window=4, stride=2, keep_ratio=0.5)
    assert [page.index for page in ranking] == order
    least = [min(latest[index] for index in order[: rank + 1]) for rank in range(6)]  # no score is over one above it
    assert [page.score for page in ranking] == pytest.approx(least, abs=1e-4)
    held = ({2, 3, 4, 5}, set(window))
    assert [page.passes for page in ranking] == [
        tuple(number for number, pages in enumerate(held, start=1) if page.index in pages) for page in ranking
    ]


def test_top_k(reranker: Reranker, sample: Path) -> None:
    whole = reranker.rank("fish soup", sample)
    best = reranker.rank("fish soup", sample, 3)
    assert [page.index for page in best] == [page.index for page in whole.results[:3]]
    assert (len(best), best.pages) == (3, 18)
    assert len(reranker.rank("fish soup", Pdf(sample, pages="1-2"), top_k=99)) == 2


def test_many_queries_equal_one_by_one_and_encode_once(small_pages: Path, sample: Path) -> None:
    pages = Pdf(sample, pages="1-6")
    fresh = Reranker.from_bundle(small_pages, check="size")
    together = fresh.rank_many(QUERIES, pages, window="off")
    assert fresh.engine.pool["misses"] == 6
    assert fresh.engine.pool["pinned_rows"] == 0
    for query, ranking in zip(QUERIES, together, strict=True):
        assert ranking.query == query
        assert scores(ranking) == pytest.approx(scores(fresh.rank(query, pages, window="off")), abs=1e-4)
    assert fresh.engine.pool["misses"] == 6
    assert fresh.rank_many([], pages) == []


def test_eight_threads_give_the_same_scores(reranker: Reranker, sample: Path) -> None:
    alone = [scores(reranker.rank(query, Pdf(sample, pages="1-9"))) for query in QUERIES]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda query: scores(reranker.rank(query, Pdf(sample, pages="1-9"))), QUERIES))
    for expected, found in zip(alone, together, strict=True):
        assert found == pytest.approx(expected, abs=1e-4)


def test_eviction_never_changes_a_score(reranker: Reranker, sample: Path) -> None:
    expected = reranker.rank("fish soup", sample, window=4, stride=2)
    tokens = expected.results[0].tokens
    features = 4 * reranker.bundle.model["levels"] * reranker.bundle.model["hidden_size"]  # bytes a token in fp32
    small = Reranker.from_bundle(reranker.bundle.path, pool_bytes=10 * tokens * features, check="size")
    assert scores(small.rank("fish soup", sample, window=4, stride=2)) == pytest.approx(scores(expected), abs=1e-4)
    assert small.engine.pool["evictions"] > 0


def test_a_pool_too_small_for_a_window(small_pages: Path, sample: Path) -> None:
    small = Reranker.from_bundle(small_pages, pool_bytes=1 << 18, check="size")
    with pytest.raises(PoolError, match=r"window of 18 pages needs \d+ pool rows, the pool has 256: raise pool_bytes"):
        small.rank("fish soup", sample)
    assert small.engine.pool["pinned_rows"] == 0
    assert len(small.rank("fish soup", Pdf(sample, pages="1"))) == 1


def test_a_lower_case_bundle_ignores_case(reranker: Reranker, noise: Noise) -> None:
    prompt = replace(reranker.bundle.prompt, query_case="lower")
    lower = Reranker(replace(reranker.bundle, prompt=prompt), reranker.engine)
    pages = [noise(256, 256, seed) for seed in range(3)]
    assert scores(lower.rank("Fish  SOUP", pages)) == scores(lower.rank("fish soup", pages))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query": ""}, "the query is empty: say what to look for"),
        ({"pages": []}, "no pages to rank: pass at least one PDF, image or array"),
        ({"keep_ratio": 0}, "keep_ratio 0: must be over 0 and at most 1 (1 keeps every visual token)"),
        ({"keep_ratio": math.nan}, "keep_ratio nan: must be over 0 and at most 1 (1 keeps every visual token)"),
        ({"keep_ratio": 1.5}, "keep_ratio 1.5: must be over 0 and at most 1 (1 keeps every visual token)"),
        ({"top_k": 0}, "top_k 0: must be a whole number of at least 1, or None for all pages"),
        ({"top_k": 2.5}, "top_k 2.5: must be a whole number of at least 1, or None for all pages"),
        ({"stride": 0}, "stride 0: must be at least 1 and less than the window of 20 pages"),
    ],
)
def test_bad_options(reranker: Reranker, noise: Noise, options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"query": "fish", "pages": noise(256, 256, 0), **options}
    with pytest.raises(InvalidInput) as caught:
        reranker.rank(**arguments)
    assert str(caught.value) == message


def test_21_pages_with_window_off(reranker: Reranker, noise: Noise) -> None:
    with pytest.raises(InvalidInput) as caught:
        reranker.rank("fish", [noise(256, 256, seed) for seed in range(21)], window="off")
    assert str(caught.value) == "21 pages, at most 20 in one pass: use window=1..20 or split"
    assert len(reranker.rank("fish", [noise(256, 256, seed) for seed in range(20)], window="off")) == 20


def test_a_page_that_fails_late_is_named(reranker: Reranker, noise: Noise, tmp_path: Path) -> None:
    """The header is whole, so that only preparing the page shows the damage."""
    from PIL import Image

    path = tmp_path / "cut.png"
    Image.fromarray(noise(512, 512, 1)).save(path)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(PageError) as caught:
        reranker.rank("fish", [noise(256, 256, 0), path])
    assert str(caught.value).startswith(f"candidate 1 ({path}): damaged image, its pixels cannot be decoded: ")
    assert caught.value.index == 1
    assert reranker.engine.pool["pinned_rows"] == 0


def test_a_string_is_no_list_of_queries(reranker: Reranker, sample: Path) -> None:
    with pytest.raises(InvalidInput, match="rank_many takes a list of queries"):
        reranker.rank_many("fish", sample)


def test_unknown_providers_are_refused() -> None:
    with pytest.raises(ProviderError) as caught:
        Reranker.from_bundle(provider="abacus", check="size")
    assert "abacus" in str(caught.value)
    assert "cpu" in str(caught.value).lower()


@pytest.mark.parametrize("options", [{"threads": -1}, {"threads": 1.5}, {"pool_bytes": 0}, {"blank": "skip"}])
def test_bad_engine_options(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(options))):
        Reranker.from_bundle(**options)


def test_all_errors_share_a_base() -> None:
    from ziprerank import errors

    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert {errors.PageError, errors.WorkerError, errors.DeviceLost, errors.Cancelled} < set(classes)
    assert all(issubclass(value, ZipRerankError) for value in classes if value is not errors.PageWarning)
    assert issubclass(InvalidInput, ValueError)
    assert issubclass(errors.MissingDependency, ImportError)


def test_the_default_bundle_is_inside_the_package(sample: Path) -> None:
    default = Reranker.from_bundle()
    assert default.bundle == Bundle.load()
    assert default.engine.info["bundle_id"] == default.bundle.bundle_id
    assert len(default.rank("fish soup", Pdf(sample, pages="1-2"))) == 2
