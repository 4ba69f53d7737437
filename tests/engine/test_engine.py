"""The binding on the default bundle: scores, pool, threads, and what is refused."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from engine_helpers import Pages, prompt_ids, score
from numpy.typing import NDArray
from ziprerank import _engine
from ziprerank.errors import BundleError, InvalidInput, PoolError

ROW_BYTES = 256 * 4  # one level of float32
IMAGE_PAD = 6


def test_a_window(engine: _engine.Engine, pages: Pages) -> None:
    ids = prompt_ids(engine.info, len(pages))
    result = score(engine, pages, ids)
    tokens = [page.shape[0] * page.shape[1] // 1024 for page in pages]
    assert result.scores.dtype == np.float32
    assert result.scores.shape == (4,)
    assert np.isfinite(result.scores).all()
    assert np.ptp(result.scores) > 1  # the query's words are on some pages, so comparisons of scores mean something
    assert [len(kept) for kept in result.kept] == [max(1, round(0.5 * count)) for count in tokens]
    for kept, count in zip(result.kept, tokens, strict=True):
        assert (np.diff(kept) > 0).all()
        assert kept[0] >= 0
        assert kept[-1] < count
    assert result.text_tokens == len(ids) - len(pages)
    assert result.visual_tokens == sum(tokens)
    assert result.kept_tokens == sum(len(kept) for kept in result.kept)
    assert result.rerank_ms > 0


@pytest.mark.parametrize("seed", range(9))
def test_every_query_of_these_tests_tells_the_pages_apart(engine: _engine.Engine, pages: Pages, seed: int) -> None:
    """Equal scores would agree with those of a broken engine."""
    assert np.ptp(score(engine, pages, prompt_ids(engine.info, len(pages), seed)).scores) > 1


def test_cached_pages_score_the_same(default_bundle: Path, runtime_library: str, pages: Pages) -> None:
    engine = _engine.Engine(str(default_bundle), runtime_library, blank="keep")
    ids = prompt_ids(engine.info, len(pages))
    first = score(engine, pages, ids).scores
    assert engine.pool["misses"] == 4
    assert np.array_equal(score(engine, pages, ids).scores, first)
    assert engine.pool["hits"] == 4
    assert engine.pool["pinned_rows"] == 0
    changed = [page.copy() for page in pages]
    changed[1][100, 100] ^= 1
    score(engine, changed, ids)
    assert engine.pool["misses"] == 5


def test_the_mask_that_is_left_out_is_the_text_before_the_pages(engine: _engine.Engine, pages: Pages) -> None:
    ids = prompt_ids(engine.info, len(pages))
    mask = np.arange(len(ids)) < np.argmax(ids == engine.info["vision_start_id"])
    window = engine.window([page.shape[:2] for page in pages])
    for slot, page in enumerate(pages):
        window.encode(slot, page)
    left_out, given = window.score(ids, None, 0.25), window.score(ids, mask, 0.25)
    assert np.array_equal(left_out.scores, given.scores)
    other = window.score(ids, np.arange(len(ids)) == 0, 0.25)
    assert any(not np.array_equal(a, b) for a, b in zip(other.kept, given.kept, strict=True))
    window.close()


def test_eight_threads_score_as_one(default_bundle: Path, runtime_library: str, pages: Pages) -> None:
    """Eight queries at once, over a pool that holds two of the windows: the others wait, pages come and go."""
    rows = 2 * sum(-(-(page.shape[0] * page.shape[1] // 1024) // 32) * 32 for page in pages)
    engine = _engine.Engine(str(default_bundle), runtime_library, pool_bytes=rows * ROW_BYTES)
    prompts = [prompt_ids(engine.info, len(pages), seed) for seed in range(8)]
    orders = [np.random.default_rng(seed).permutation(4) for seed in range(8)]
    alone = [score(engine, [pages[i] for i in order], ids, 0.5) for ids, order in zip(prompts, orders, strict=True)]

    assert len({tuple(result.scores.tolist()) for result in alone}) == 8

    def work(index: int) -> _engine.WindowScores:
        return score(engine, [pages[i] for i in orders[index]], prompts[index], 0.5)

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(work, [*range(8)] * 3))
    for index, result in enumerate(together):
        assert np.array_equal(result.scores, alone[index % 8].scores)
        for kept, want in zip(result.kept, alone[index % 8].kept, strict=True):
            assert np.array_equal(kept, want)
    assert engine.pool["pinned_rows"] == 0


def test_eight_threads_share_one_window(engine: _engine.Engine, pages: Pages) -> None:
    window = engine.window([page.shape[:2] for page in pages])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(window.encode, range(4), pages))
    prompts = [prompt_ids(engine.info, len(pages), seed) for seed in range(8)]
    alone = [window.score(ids, None, 0.5).scores for ids in prompts]
    assert len({tuple(scores.tolist()) for scores in alone}) == 8
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda ids: window.score(ids, None, 0.5).scores, prompts))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    window.close()


def test_eviction_never_changes_a_score(
    engine: _engine.Engine, default_bundle: Path, runtime_library: str, pages: Pages
) -> None:
    """A pool with room for one window: each call evicts, and scattered blocks take the copying path."""
    rows = sum(-(-(page.shape[0] * page.shape[1] // 1024) // 32) * 32 for page in pages)
    small = _engine.Engine(str(default_bundle), runtime_library, pool_bytes=rows * ROW_BYTES, blank="keep")
    random = np.random.default_rng(3)
    for seed in range(12):
        chosen = [pages[i] for i in random.permutation(4)[: 1 + seed % 4]]
        noise = random.integers(0, 256, (64, 96, 3), dtype=np.uint8)
        if seed % 4 != 3:
            chosen.append(noise)
        ids = prompt_ids(engine.info, len(chosen), seed)
        assert np.array_equal(score(small, chosen, ids).scores, score(engine, chosen, ids).scores)
    assert small.pool["evictions"] > 0


def test_a_window_larger_than_the_pool(default_bundle: Path, runtime_library: str) -> None:
    engine = _engine.Engine(str(default_bundle), runtime_library, pool_bytes=64 * ROW_BYTES)
    with pytest.raises(PoolError, match="a window of 2 pages needs 192 pool rows, the pool has 64: raise pool_bytes"):
        engine.window([(288, 288), (288, 288)])
    engine.window([(64, 64)]).close()
    with pytest.raises(PoolError, match="pool_bytes 1000 holds no block of 32 rows of 1024 bytes"):
        _engine.Engine(str(default_bundle), runtime_library, pool_bytes=1000)


def test_a_window_waits_for_room(default_bundle: Path, runtime_library: str) -> None:
    engine = _engine.Engine(str(default_bundle), runtime_library, pool_bytes=64 * ROW_BYTES)
    first = engine.window([(256, 256)])
    opened = threading.Event()

    def wait() -> None:
        engine.window([(32, 32)]).close()
        opened.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not opened.wait(0.2)
    first.close()
    assert opened.wait(10)
    thread.join()


def test_an_interrupt_ends_the_wait(default_bundle: Path, runtime_library: str) -> None:
    engine = _engine.Engine(str(default_bundle), runtime_library, pool_bytes=64 * ROW_BYTES)
    first = engine.window([(256, 256)])
    # a shell that runs the tests in the background has them ignore SIGINT, and the wait would never end
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            engine.window([(32, 32)])
    finally:
        signal.signal(signal.SIGINT, previous)
    first.close()
    engine.window([(256, 256)]).close()


def test_windows_outlive_their_engine(default_bundle: Path, runtime_library: str, pages: Pages) -> None:
    engine = _engine.Engine(str(default_bundle), runtime_library, blank="keep")
    ids = prompt_ids(engine.info, 1)
    window = engine.window([pages[0].shape[:2]])
    del engine
    assert not window.encode(0, pages[0])
    assert np.isfinite(window.score(ids, None, 1.0).scores).all()


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ([], "a window without pages"),
        ([(32, 32)] * 21, "21 pages, at most 20 in one pass: use window=20 or split"),
        ([(33, 32)], "a page of 33 x 32 px: both sides must be multiples of 32"),
        ([(32, 0)], "a page of 32 x 0 px"),
    ],
)
def test_bad_windows(engine: _engine.Engine, sizes: list[tuple[int, int]], text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        engine.window(sizes)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (lambda ids: (ids, None, float("nan")), r"keep_ratio nan is outside \(0, 1\]"),
        (lambda ids: (ids, None, 0.0), r"keep_ratio 0 is outside \(0, 1\]"),
        (
            lambda ids: (ids[: np.flatnonzero(ids == IMAGE_PAD)[-1]], None, 1.0),
            "the prompt has 1 image pads for 2 pages",
        ),
        (lambda ids: (ids + 1_000_000, None, 1.0), r"outside the vocabulary of \d+"),
        (lambda ids: (ids, np.zeros(len(ids), np.bool_), 1.0), "selects none"),
        (lambda ids: (ids, np.ones(len(ids), np.bool_), 1.0), "stands for a page"),
        (lambda ids: (ids, np.ones(2, np.bool_), 1.0), "query_mask has 2 entries"),
    ],
)
def test_bad_prompts(
    engine: _engine.Engine, pages: Pages, arguments: Callable[[NDArray[np.int64]], Any], text: str
) -> None:
    window = engine.window([pages[3].shape[:2]] * 2)
    window.encode(0, pages[3])
    window.encode(1, pages[3])
    with pytest.raises(InvalidInput, match=text):
        window.score(*arguments(prompt_ids(engine.info, 2)))
    window.close()


def test_slots_and_closing(engine: _engine.Engine, pages: Pages) -> None:
    window = engine.window([pages[3].shape[:2]])
    window.encode(0, pages[3])
    with pytest.raises(InvalidInput, match="slot 1 in a window of 1 pages"):
        window.encode(1, pages[3])
    with pytest.raises(InvalidInput, match="slot 0 has its page already"):
        window.encode(0, pages[3])
    window.close()
    window.close()
    with pytest.raises(InvalidInput, match="the window is closed"):
        window.score(prompt_ids(engine.info, 1), None, 1.0)


def test_encoding_comes_before_scoring(engine: _engine.Engine, pages: Pages) -> None:
    window = engine.window([pages[0].shape[:2]])
    with pytest.raises(InvalidInput, match="slot 0 has no page yet"):
        window.score(prompt_ids(engine.info, 1), None, 1.0)
    with pytest.raises(InvalidInput, match="slot 0 was opened for a page of 288 x 288 px, got 64 x 160"):
        window.encode(0, pages[3])
    with pytest.raises(TypeError):
        window.encode(0, pages[0].astype(np.float32))
    with pytest.raises(TypeError):
        window.encode(0, pages[0][:, ::-1])
    window.close()


def test_damaged_bundles(bundle_copy: Path, runtime_library: str, tmp_path: Path) -> None:
    def refuse(text: str, folder: Path = bundle_copy) -> None:
        with pytest.raises(BundleError, match=text):
            _engine.Engine(str(folder), runtime_library)

    def set_metadata(key: str, value: str) -> None:
        model = onnx.load(bundle_copy / "rerank.onnx", load_external_data=False)
        for entry in model.metadata_props:
            if entry.key == key:
                entry.value = value
        onnx.save(model, bundle_copy / "rerank.onnx")

    refuse("is no directory", tmp_path / "nowhere")
    set_metadata("ziprerank.format_version", "3")
    refuse("has format version 3, this engine reads 1 to 2: upgrade ziprerank")
    set_metadata("ziprerank.format_version", "1")
    set_metadata("ziprerank.hidden_size", "many")
    refuse("metadata ziprerank.hidden_size is 'many', not a number")
    set_metadata("ziprerank.hidden_size", "128")
    refuse(r"features is float32 \[.*256\], must be float32 \[\?, \?, 1, 128\]: export the bundle again")
    set_metadata("ziprerank.hidden_size", "256")
    set_metadata("ziprerank.bundle_id", "other")
    refuse("the graphs of two exports were mixed")
    (bundle_copy / "vision.onnx").write_bytes((bundle_copy / "vision.onnx").read_bytes()[:1000])
    refuse("vision.onnx cannot be loaded")
    (bundle_copy / "vision.onnx").unlink()
    refuse("vision.onnx is missing")


def test_info(engine: _engine.Engine, default_bundle: Path, runtime_library: str) -> None:
    info = engine.info
    assert info["bundle"] == str(default_bundle)
    assert info["runtime_library"] == runtime_library
    assert info["provider"] == "cpu"
    assert info["prune_kernel"] in ("baseline", "avx2", "avx512", "neon")
    assert len(info["letter_ids"]) == 20
    assert info["pool_bytes"] == info["pool_rows"] * ROW_BYTES


class COptions(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("bundle", ctypes.c_char_p),
        ("runtime_library", ctypes.c_char_p),
        ("provider", ctypes.c_char_p),
        ("threads", ctypes.c_int32),
        ("pool_bytes", ctypes.c_uint64),
    )


class CInfo(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("size_unit", ctypes.c_int32),
        ("max_pages", ctypes.c_int32),
        ("image_pad_id", ctypes.c_int64),
        ("keep_ratio", ctypes.c_double),
        ("window", ctypes.c_int32),
        ("stride", ctypes.c_int32),
        ("pool_rows", ctypes.c_int64),
        ("provider", ctypes.c_char_p),
        ("device", ctypes.c_char_p),
        ("prune_kernel", ctypes.c_char_p),
    )


def test_info_through_the_c_abi(engine: _engine.Engine) -> None:
    """What runs, too; a caller of an older version has a shorter struct, of which no more is written."""
    library = ctypes.CDLL(_engine.library())
    info = engine.info
    options = COptions(ctypes.sizeof(COptions), info["bundle"].encode(), info["runtime_library"].encode(), b"auto")
    handle = ctypes.c_void_p()
    assert library.zr_engine_create(ctypes.byref(options), ctypes.byref(handle), None) == 0
    found = CInfo(struct_size=ctypes.sizeof(CInfo))
    assert library.zr_engine_info(handle, ctypes.byref(found), None) == 0
    assert (found.provider, found.device, found.prune_kernel) == (b"cpu", b"", info["prune_kernel"].encode())
    assert (found.max_pages, found.size_unit, found.window) == (20, 32, info["window"])
    old = CInfo(struct_size=CInfo.provider.offset, provider=b"untouched")
    assert library.zr_engine_info(handle, ctypes.byref(old), None) == 0
    assert old.pool_rows == found.pool_rows > 0
    assert old.provider == b"untouched"
    library.zr_engine_free(handle)
