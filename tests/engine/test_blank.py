"""Visual tokens of blank paper, left out before the model: what is left out, and that the rest scores as it should."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from engine_helpers import Pages, prompt_ids, score
from numpy.typing import NDArray
from ziprerank import _engine
from ziprerank.errors import BundleError, InvalidInput
from ziprerank.export.host import Host, printed_tokens

Open = Callable[..., _engine.Engine]


@pytest.fixture(scope="module")
def opened(default_bundle: Path, runtime_library: str) -> Open:
    return lambda blank, **options: _engine.Engine(str(default_bundle), runtime_library, blank=blank, **options)


@pytest.fixture(scope="module")
def dropping(opened: Open) -> _engine.Engine:
    return opened("drop")


@pytest.fixture(scope="module")
def sparse() -> Pages:
    """Pages of three sizes with some print on them, the last one of blank paper alone."""
    random = np.random.default_rng(11)
    pages = []
    for height, width in ((288, 288), (320, 256), (64, 160), (96, 64)):
        page = np.full((height, width, 3), 250, np.uint8)
        for _ in range(0 if height == 96 else 6):
            y, x = random.integers(0, height - 12), random.integers(0, width - 40)
            page[y : y + 10, x : x + 36] = random.integers(0, 120, (10, 36, 3))
        pages.append(page)
    return pages


def all_tokens(pages: Pages) -> list[int]:
    return [page.shape[0] * page.shape[1] // 1024 for page in pages]


@pytest.mark.parametrize("keep_ratio", [1.0, 0.5, 0.1])
def test_scores_are_those_of_the_tokens_that_are_left(
    dropping: _engine.Engine, default_bundle: Path, sparse: Pages, keep_ratio: float
) -> None:
    """Against numpy's idea of a blank token and stock ONNX Runtime."""
    ids = prompt_ids(dropping.info, len(sparse))
    found = score(dropping, sparse, ids, keep_ratio)
    host = Host(default_bundle)
    read = [host.encode(page, drop_blank=True) for page in sparse]
    wanted = host.score(ids.tolist(), read, keep_ratio)
    assert np.ptp(found.scores) > 0.02  # which is much more than the tolerance
    np.testing.assert_allclose(found.scores, wanted.logits[: len(sparse)], atol=1e-4)
    for kept, same, page, count in zip(found.kept, wanted.kept, read, all_tokens(sparse), strict=True):
        assert kept.tolist() == same.tolist()
        assert len(kept) == min(len(page.read), max(1, round(keep_ratio * count)))
    printed = sum(len(page.read) for page in read)
    assert found.visual_tokens == sum(all_tokens(sparse))
    assert found.blank_tokens == found.visual_tokens - printed
    assert 4 < printed < found.visual_tokens / 2
    assert found.kept[-1].tolist() == [5]  # of a blank page its last token is left


def test_pages_without_blank_paper_score_the_same(dropping: _engine.Engine, opened: Open) -> None:
    random = np.random.default_rng(2)
    full = [random.integers(0, 256, (96, 160, 3), dtype=np.uint8) for _ in range(3)]
    ids = prompt_ids(dropping.info, 3)
    found, wanted = score(dropping, full, ids), score(opened("keep"), full, ids)
    assert found.blank_tokens == wanted.blank_tokens == 0
    assert np.ptp(found.scores) > 0.02
    assert np.array_equal(found.scores, wanted.scores)


def test_keep_reads_every_token(opened: Open, sparse: Pages) -> None:
    engine = opened("keep")
    assert engine.info["drop_blank"] is False
    found = score(engine, sparse, prompt_ids(engine.info, len(sparse)), 1.0)
    assert found.blank_tokens == 0
    assert [kept.tolist() for kept in found.kept] == [list(range(count)) for count in all_tokens(sparse)]


def test_the_bundle_recommends(opened: Open) -> None:
    assert opened("").info["drop_blank"] is True


def test_pages_take_the_room_of_what_is_printed(opened: Open, sparse: Pages) -> None:
    engine = opened("drop")
    ids = prompt_ids(engine.info, len(sparse))
    first = score(engine, sparse, ids).scores
    blocks = [-(-len(printed_tokens(page, 32)) // 32) for page in sparse]
    assert engine.pool["used_rows"] == 32 * sum(blocks)
    assert np.array_equal(score(engine, sparse, ids).scores, first)
    assert (engine.pool["hits"], engine.pool["misses"]) == (4, 4)
    assert engine.pool["pinned_rows"] == 0


def test_features_go_out_and_come_back(dropping: _engine.Engine, opened: Open, sparse: Pages) -> None:
    ids = prompt_ids(dropping.info, len(sparse))
    sizes = [page.shape[:2] for page in sparse]
    window, features = dropping.window(sizes), list[NDArray[np.uint8]]()
    for slot, page in enumerate(sparse):
        window.encode(slot, page)
        assert window.tokens(slot) == len(printed_tokens(page, 32))
        features.append(np.empty((window.tokens(slot), dropping.info["row_bytes"]), np.uint8))
        window.features(slot, features[-1])
    wanted = window.score(ids, None, 0.5)
    window.close()
    other = opened("drop").window(sizes)
    with pytest.raises(InvalidInput, match="for a page of which"):
        other.restore(0, sparse[0], np.empty((81, dropping.info["row_bytes"]), np.uint8))  # all of its tokens
    for slot, (page, rows) in enumerate(zip(sparse, features, strict=True)):
        assert not other.restore(slot, page, rows)
    assert np.array_equal(other.score(ids, None, 0.5).scores, wanted.scores)
    other.close()


def test_what_is_refused(opened: Open, bundle_copy: Path, runtime_library: str) -> None:
    with pytest.raises(InvalidInput, match="blank is 'skip': give drop or keep, or nothing for the bundle's choice"):
        opened("skip")
    for graph in ("vision.onnx", "rerank.onnx"):
        data = (bundle_copy / graph).read_bytes()
        assert data.count(b"ziprerank.blank") == 1
        place = data.index(b"drop", data.index(b"ziprerank.blank"))
        (bundle_copy / graph).write_bytes(data[:place] + b"Drop" + data[place + 4 :])
    with pytest.raises(BundleError, match=r"metadata ziprerank\.blank is 'Drop', neither drop nor keep"):
        _engine.Engine(str(bundle_copy), runtime_library)
