"""Page features outside the pool: read from a filled slot, put back into another engine, in C++, Python and C."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from engine_helpers import Pages, prompt_ids, score
from numpy.typing import NDArray
from ziprerank import _engine
from ziprerank.errors import InvalidInput

Features = NDArray[np.uint8]


def read(window: _engine.Window, slot: int, page: NDArray[np.uint8], row_bytes: int) -> Features:
    out = np.empty((page.shape[0] * page.shape[1] // 1024, row_bytes), np.uint8)
    window.features(slot, out)
    return out


def encoded(engine: _engine.Engine, pages: Pages) -> list[Features]:
    window = engine.window([page.shape[:2] for page in pages])
    try:
        for slot, page in enumerate(pages):
            window.encode(slot, page)
        return [read(window, slot, page, engine.info["row_bytes"]) for slot, page in enumerate(pages)]
    finally:
        window.close()


def restored(engine: _engine.Engine, pages: Pages, features: list[Features]) -> _engine.Window:
    window = engine.window([page.shape[:2] for page in pages])
    for slot, (page, rows) in enumerate(zip(pages, features, strict=True)):
        assert not window.restore(slot, page, rows)
    return window


def test_restored_pages_score_as_encoded_ones(
    engine: _engine.Engine, default_bundle: Path, runtime_library: str, pages: Pages
) -> None:
    ids = prompt_ids(engine.info, len(pages))
    wanted = score(engine, pages, ids)
    features = encoded(engine, pages)
    assert engine.info["row_bytes"] == engine.info["levels"] * engine.info["hidden_size"] * 4
    for rows in features:
        values = rows.view(np.float32)
        assert np.isfinite(values).all()
        assert len(np.unique(values, axis=0)) > 1  # features of real tokens, not a constant
    other = _engine.Engine(str(default_bundle), runtime_library, blank="keep")
    window = restored(other, pages, features)
    found = window.score(ids, None, 0.5)
    assert np.array_equal(found.scores, wanted.scores)
    assert all(np.array_equal(a, b) for a, b in zip(found.kept, wanted.kept, strict=True))
    assert (other.pool["hits"], other.pool["misses"]) == (0, 4)
    window.close()
    assert np.array_equal(score(other, pages, ids).scores, wanted.scores)  # from the pool, which they are in now
    assert other.pool["hits"] == 4


def test_what_is_restored_is_what_is_scored(
    default_bundle: Path, runtime_library: str, engine: _engine.Engine, pages: Pages
) -> None:
    """The features given count, not the pixels; and they come back bit by bit, also from scattered rows."""
    random = np.random.default_rng(3)
    features = [
        random.normal(size=(len(rows), 256)).astype(np.float32).view(np.uint8) for rows in encoded(engine, pages)
    ]
    row_bytes = engine.info["row_bytes"]
    other = _engine.Engine(str(default_bundle), runtime_library, pool_bytes=8 * 32 * row_bytes, blank="keep")
    # four blocks, of which the first and the third stay in use while the others make way
    blocks = [np.full((160, 192, 3), value, np.uint8) for value in range(8)]
    first = other.window([page.shape[:2] for page in blocks])
    for slot, page in enumerate(blocks):
        first.encode(slot, page)
    first.close()
    held = [other.window([(160, 192)]) for _ in range(2)]
    for window, page in zip(held, (blocks[1], blocks[4]), strict=True):
        assert window.find(0, page)
    window = restored(other, pages[:1], features[:1])  # 81 rows: three blocks, of the six left
    small = restored(other, pages[3:], features[3:])
    assert np.array_equal(read(window, 0, pages[0], row_bytes), features[0])
    assert np.array_equal(read(small, 0, pages[3], row_bytes), features[3])
    ids = prompt_ids(engine.info, 1)
    assert window.score(ids, None, 1.0).scores[0] != score(engine, pages[:1], ids, 1.0).scores[0]
    for each in (*held, window, small):
        each.close()


def test_find_fills_from_the_pool_alone(default_bundle: Path, runtime_library: str, pages: Pages) -> None:
    engine = _engine.Engine(str(default_bundle), runtime_library, blank="keep")
    window = engine.window([pages[0].shape[:2], pages[1].shape[:2]])
    assert not window.find(0, pages[0])
    assert not window.encode(0, pages[0])  # the slot was left empty
    other = engine.window([pages[0].shape[:2]])
    assert other.find(0, pages[0])
    assert (engine.pool["hits"], engine.pool["misses"]) == (1, 1)
    with pytest.raises(InvalidInput, match="slot 0 has its page already"):
        other.find(0, pages[0])
    ids = prompt_ids(engine.info, 1)
    window.close()
    assert np.isfinite(other.score(ids, None, 0.5).scores).all()  # the page is still pinned
    other.close()
    assert engine.pool["pinned_rows"] == 0


def test_what_is_refused(engine: _engine.Engine, pages: Pages) -> None:
    row_bytes = engine.info["row_bytes"]
    window = engine.window([pages[0].shape[:2]])
    short, rows = np.zeros((80, row_bytes), np.uint8), np.zeros((81, row_bytes), np.uint8)
    with pytest.raises(
        InvalidInput, match="features of 81920 bytes for a page of which 81 visual tokens are read, of 1024 bytes each"
    ):
        window.restore(0, pages[0], short)
    with pytest.raises(InvalidInput, match="slot 0 has no page yet"):
        window.features(0, rows)
    with pytest.raises(InvalidInput, match="slot 1 in a window of 1 pages"):
        window.features(1, rows)
    with pytest.raises(InvalidInput, match="slot 1 in a window of 1 pages"):
        window.restore(1, pages[0], rows)
    with pytest.raises(InvalidInput, match="slot 0 was opened for a page of 288 x 288 px, got 320 x 256"):
        window.find(0, pages[1])
    window.encode(0, pages[0])
    with pytest.raises(InvalidInput, match="features of 81920 bytes"):
        window.features(0, short)
    with pytest.raises(TypeError):
        window.features(0, rows[:, ::2])  # not contiguous
    rows.setflags(write=False)
    with pytest.raises(TypeError):
        window.features(0, rows)
    window.close()
    with pytest.raises(InvalidInput, match="the window is closed"):
        window.find(0, pages[0])


class PageSize(ctypes.Structure):
    _fields_ = (("height", ctypes.c_int32), ("width", ctypes.c_int32))


class Options(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("bundle", ctypes.c_char_p),
        ("runtime_library", ctypes.c_char_p),
        ("provider", ctypes.c_char_p),
        ("threads", ctypes.c_int32),
        ("pool_bytes", ctypes.c_uint64),
        ("provider_library", ctypes.c_char_p),
        ("cache", ctypes.c_char_p),
        ("blank", ctypes.c_char_p),
    )


def test_the_c_functions(default_bundle: Path, runtime_library: str, engine: _engine.Engine, pages: Pages) -> None:
    (wanted,) = encoded(engine, pages[:1])
    library, error, created = ctypes.CDLL(_engine.library()), ctypes.c_void_p(), ctypes.c_void_p()
    library.zr_error_message.restype = ctypes.c_char_p
    pixels, size = pages[0].ctypes.data_as(ctypes.c_void_p), PageSize(*pages[0].shape[:2])
    paths = (bytes(default_bundle), runtime_library.encode())
    options = Options(ctypes.sizeof(Options), *paths, None, 0, 1 << 20, None, None, b"keep")
    assert library.zr_engine_create(ctypes.byref(options), ctypes.byref(created), ctypes.byref(error)) == 0
    out, flag, count = np.zeros_like(wanted), ctypes.c_int32(7), ctypes.c_size_t(wanted.nbytes)
    for known in (0, 1):  # the second window finds what the first has restored
        window = ctypes.c_void_p()
        assert library.zr_window_open(created, ctypes.byref(size), ctypes.c_size_t(1), ctypes.byref(window), None) == 0
        start = (window, ctypes.c_size_t(0))
        page = (*start, pixels, size.height, size.width)
        assert library.zr_window_find(*page, ctypes.byref(flag), None) == 0
        assert flag.value == known
        if not known:
            given = wanted.ctypes.data_as(ctypes.c_void_p)
            one_less = ctypes.c_size_t(wanted.nbytes - 1)
            assert library.zr_window_restore(*page, given, one_less, None, ctypes.byref(error)) == 1
            assert b"features of 82943 bytes" in library.zr_error_message(error)
            library.zr_error_free(error)
            assert library.zr_window_restore(*page, given, count, ctypes.byref(flag), None) == 0
            assert flag.value == 0
        tokens = ctypes.c_int64()
        assert library.zr_window_tokens(*start, ctypes.byref(tokens), None) == 0
        assert tokens.value == len(wanted)
        out[:] = 0
        assert library.zr_window_features(*start, out.ctypes.data_as(ctypes.c_void_p), count, None) == 0
        assert np.array_equal(out, wanted)
        library.zr_window_free(window)
    library.zr_engine_free(created)
