"""Page features on disk: the same bits as the engine's own, over restarts and processes, whatever is on the disk."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hostile_json import in_place_of, within
from ziprerank.cache.page_cache import PageCache
from ziprerank.errors import InvalidInput
from ziprerank.export import ExportOptions, export_checkpoint
from ziprerank.ranking import Ranking
from ziprerank.reranker import Reranker

QUERY = "fish soup"
ROWS = 81 * 1024  # the features of a page of 288 x 288 px
PROGRAM = """
import json, sys
import numpy as np
from ziprerank.reranker import Reranker
bundle, folder, limit, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
reranker = Reranker.from_bundle(bundle, check="size", page_cache=folder, page_cache_bytes=limit, pool_bytes=1 << 19)
choose, found = np.random.default_rng(seed), []
for _ in range(12):
    chosen = choose.permutation(8)[:3].tolist()
    pages = [np.random.default_rng(number).integers(0, 256, (288, 288, 3), dtype=np.uint8) for number in chosen]
    ranking = reranker.rank("fish soup", pages)
    found.append([chosen, {page.index: [page.score, list(page.kept)] for page in ranking}])
print(json.dumps({"found": found, "stats": reranker.page_cache.stats()}))
"""


@pytest.fixture
def pages() -> list[np.ndarray]:
    return [np.random.default_rng(seed).integers(0, 256, (288, 288, 3), dtype=np.uint8) for seed in range(4)]


def opened(bundle: Path, folder: Path, limit: int = 1 << 24, threads: int = 0) -> tuple[Reranker, PageCache]:
    reranker = Reranker.from_bundle(bundle, check="size", page_cache=folder, page_cache_bytes=limit, threads=threads)
    assert reranker.page_cache is not None
    return reranker, reranker.page_cache


def bits(ranking: Ranking) -> dict[int, tuple[float, tuple[int, ...]]]:
    return {page.index: (page.score, page.kept) for page in ranking}


@contextmanager
def no_room() -> Iterator[None]:
    """Files cannot grow over 8 KiB: stands for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_restart_finds_the_same_bits(
    small_pages: Path, reranker: Reranker, pages: list[np.ndarray], tmp_path: Path
) -> None:
    wanted = bits(reranker.rank(QUERY, pages))
    first, cache = opened(small_pages, tmp_path)
    assert bits(first.rank(QUERY, pages)) == wanted
    assert bits(first.rank(QUERY, pages)) == wanted  # from memory: the disk is not asked
    stats = cache.stats()
    assert (stats["hits"], stats["misses"], stats["failures"]) == (0, 4, 0)
    assert len(list(tmp_path.glob("*.page"))) == 4
    assert 4 * ROWS < stats["bytes"] < 4 * (ROWS + 1024)
    for threads in (0, 2):
        other, cache = opened(small_pages, tmp_path, threads=threads)
        assert bits(other.rank(QUERY, pages)) == wanted
        assert (cache.stats()["hits"], cache.stats()["misses"]) == (4, 0)
        changed = [*pages[:3], pages[3] ^ np.uint8(1)]
        assert bits(other.rank(QUERY, changed)) == bits(reranker.rank(QUERY, changed))


def test_pages_are_kept_where_a_ranking_stops(small_pages: Path, pages: list[np.ndarray], tmp_path: Path) -> None:
    reranker, cache = opened(small_pages, tmp_path)

    def stop(done: int, _total: int) -> None:
        if done == 3:
            raise KeyError(done)

    with pytest.raises(KeyError):
        reranker.rank(QUERY, pages, progress=stop)
    assert len(list(tmp_path.glob("*.page"))) == 3
    assert reranker.engine.pool["pinned_rows"] == 0
    assert cache.stats()["misses"] == 3


def test_windows_and_queries_share_what_is_kept(
    small_pages: Path, reranker: Reranker, pages: list[np.ndarray], tmp_path: Path
) -> None:
    queries = [QUERY, "balance sheet"]
    wanted = [bits(ranking) for ranking in reranker.rank_many(queries, pages, window=2, stride=1)]
    for hits, misses in ((0, 4), (4, 0)):
        other, cache = opened(small_pages, tmp_path)
        assert [bits(ranking) for ranking in other.rank_many(queries, pages, window=2, stride=1)] == wanted
        assert (cache.stats()["hits"], cache.stats()["misses"]) == (hits, misses)


def damage(content: bytes, how: str) -> bytes:
    place = {"header": 30, "checksum": content.index(b"\n") + 3, "features": len(content) - 5000}.get(how)
    if place is not None:
        return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]
    return {"truncated": content[:-1], "empty": b"", "longer": content + b"\0", "another page's": content}[how]


@pytest.mark.parametrize("how", ["header", "checksum", "features", "truncated", "empty", "longer", "another page's"])
def test_damage_is_found_and_mended(
    small_pages: Path,
    reranker: Reranker,
    pages: list[np.ndarray],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    opened(small_pages, tmp_path)[0].rank(QUERY, pages)
    files = sorted(tmp_path.glob("*.page"))
    good = files[1].read_bytes()
    files[1].write_bytes(damage(files[0].read_bytes() if how == "another page's" else good, how))
    other, cache = opened(small_pages, tmp_path)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert bits(other.rank(QUERY, pages)) == bits(reranker.rank(QUERY, pages))
    stats = cache.stats()
    assert (stats["hits"], stats["misses"], stats["corrupt"], stats["failures"]) == (3, 1, 1, 0)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [f"page cache: {files[1].stem} is damaged: removed, the page is encoded anew"]
    assert files[1].read_bytes() == good
    assert stats["bytes"] == sum(path.stat().st_size for path in tmp_path.glob("*.page"))


def test_processes_at_once_under_a_small_bound(small_pages: Path, reranker: Reranker, tmp_path: Path) -> None:
    """Eight pages in turn, room for five on disk and in memory: entries come, go and are read all the time."""
    limit = 5 * (ROWS + 1024)
    command = [sys.executable, "-c", PROGRAM, str(small_pages), str(tmp_path), str(limit)]
    running = [subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, text=True) for seed in range(2)]
    results = [json.loads(process.communicate()[0]) for process in running]
    for result in results:
        for chosen, found in result["found"]:
            noise = [np.random.default_rng(number).integers(0, 256, (288, 288, 3), dtype=np.uint8) for number in chosen]
            wanted = bits(reranker.rank(QUERY, noise))
            assert {int(index): (score, tuple(kept)) for index, (score, kept) in found.items()} == wanted
        stats = result["stats"]
        assert stats["hits"] > 0
        assert (stats["corrupt"], stats["failures"]) == (0, 0)
    assert sum(result["stats"]["evictions"] for result in results) > 0
    assert 0 < sum(path.stat().st_size for path in tmp_path.glob("*.page")) <= limit


def test_bundles_with_the_same_tower_share_pages(
    small_pages: Path, pages: list[np.ndarray], default_checkpoint: Path, tmp_path: Path
) -> None:
    """The same checkpoint in int8, whose vision tower is as stored."""
    opened(small_pages, tmp_path / "cache")[0].rank(QUERY, pages)
    export_checkpoint(str(default_checkpoint), tmp_path / "int8", ExportOptions(precision="int8"))
    wanted = bits(Reranker.from_bundle(tmp_path / "int8", check="size").rank(QUERY, pages))
    other, cache = opened(tmp_path / "int8", tmp_path / "cache")
    assert bits(other.rank(QUERY, pages)) == wanted
    assert (cache.stats()["hits"], cache.stats()["misses"]) == (4, 0)


def test_other_engines_find_nothing(small_pages: Path, pages: list[np.ndarray], tmp_path: Path) -> None:
    """A bundle whose tower differs, and bundles whose export did not say what their towers compute."""
    reranker, cache = opened(small_pages, tmp_path / "cache")
    reranker.rank(QUERY, pages)
    bundle = reranker.bundle
    old = replace(bundle, features_id=None)
    vision = {**bundle.files, "vision.onnx": replace(bundle.files["vision.onnx"], sha256="0" * 64)}
    others = [replace(bundle, features_id="0" * 64), old, replace(old, bundle_id="0" * 64), replace(old, files=vision)]
    for one in others:
        other = PageCache(tmp_path / "cache", 1 << 24, one, reranker.engine)
        engine = Reranker.from_bundle(small_pages, check="size").engine
        window = engine.window([page.shape[:2] for page in pages])
        fresh = [other.fill(window, slot, page) for slot, page in enumerate(pages)]
        window.close()
        assert None not in fresh
        assert (other.stats()["hits"], other.stats()["misses"]) == (0, 4)
        assert other.stats()["bytes"] == cache.stats()["bytes"]  # nothing was taken for damaged
    again, cache = opened(small_pages, tmp_path / "cache")
    again.rank(QUERY, pages)
    assert cache.stats()["hits"] == 4


def test_a_folder_that_cannot_be_used_says_so_at_the_start(small_pages: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InvalidInput, match=r"page_cache '.*file' cannot be used \(\[Errno 17\] File exists"):
        opened(small_pages, tmp_path / "file")
    with pytest.raises(InvalidInput, match=r"cannot be used \(\[Errno 20\] Not a directory"):
        opened(small_pages, tmp_path / "file" / "below")
    with pytest.raises(InvalidInput, match="cannot be used"):
        opened(small_pages, Path("/proc/here"))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"
    full = f"{limit}; from ziprerank.cli.app import app; app()"
    done = subprocess.run(
        [sys.executable, "-c", full, "rank", "x", "nothing.pdf", "--page-cache", str(tmp_path / "full")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "[Errno 27] File too large" in done.stderr
    assert "give a folder on a disk with room" in done.stderr
    assert done.stderr.count("\n") == 1
    with pytest.raises(InvalidInput, match="page_cache_bytes 1,000: one page may take 87,040 bytes"):
        opened(small_pages, tmp_path, limit=1000)
    with pytest.raises(InvalidInput, match=r"page_cache_bytes=1000000000.5: must be a positive number of bytes"):
        opened(small_pages, tmp_path, limit=1e9 + 0.5)  # type: ignore[arg-type]


def test_a_disk_that_gets_full_costs_no_ranking(
    small_pages: Path, reranker: Reranker, pages: list[np.ndarray], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other, cache = opened(small_pages, tmp_path)
    with no_room(), caplog.at_level(logging.WARNING):
        for part in (pages[:1], pages[1:2]):
            assert bits(other.rank(QUERY, part)) == bits(reranker.rank(QUERY, part))
    assert [record.getMessage() for record in caplog.records] == [
        "page cache: page features cannot be written ([Errno 27] File too large); rankings go on without"
    ]
    assert cache.stats()["failures"] == 2
    assert cache.stats()["bytes"] == 0
    other.rank(QUERY, pages[2:])  # there is room again
    assert len(list(tmp_path.glob("*.page"))) == 2
    with no_room(), caplog.at_level(logging.WARNING):
        other.rank(QUERY, [pages[0] ^ np.uint8(1)])
    assert len(caplog.records) == 2


def test_an_entry_that_cannot_be_read_costs_no_ranking(
    small_pages: Path, reranker: Reranker, pages: list[np.ndarray], tmp_path: Path
) -> None:
    opened(small_pages, tmp_path)[0].rank(QUERY, pages)
    first = min(tmp_path.glob("*.page"))
    first.unlink()
    first.mkdir()
    other, cache = opened(small_pages, tmp_path)
    assert bits(other.rank(QUERY, pages)) == bits(reranker.rank(QUERY, pages))
    assert (cache.stats()["hits"], cache.stats()["misses"], cache.stats()["failures"]) == (3, 1, 1)
    shutil.rmtree(first)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_no_file_in_the_place_of_an_entry(
    small_pages: Path, reranker: Reranker, pages: list[np.ndarray], tmp_path: Path, kind: str
) -> None:
    opened(small_pages, tmp_path)[0].rank(QUERY, pages)
    first = min(tmp_path.glob("*.page"))
    good = first.read_bytes()
    in_place_of(first, kind)
    other, cache = opened(small_pages, tmp_path)
    with within(60):
        assert bits(other.rank(QUERY, pages)) == bits(reranker.rank(QUERY, pages))
    assert (cache.stats()["hits"], cache.stats()["misses"], cache.stats()["failures"]) == (3, 1, 1)
    assert first.read_bytes() == good  # in its place again


def test_an_entry_that_is_far_too_long_is_not_read_whole(
    small_pages: Path, pages: list[np.ndarray], tmp_path: Path
) -> None:
    opened(small_pages, tmp_path)[0].rank(QUERY, pages)
    first = min(tmp_path.glob("*.page"))
    good = first.read_bytes()
    other, cache = opened(small_pages, tmp_path)
    os.truncate(first, 1 << 42)  # without a block on the disk
    with within(60):
        other.rank(QUERY, pages)
    assert (cache.stats()["hits"], cache.stats()["corrupt"]) == (3, 1)
    assert first.read_bytes() == good


@pytest.mark.parametrize("name", ["ledger", "probe.part"])
def test_a_pipe_in_the_place_of_a_file_of_the_folder(
    small_pages: Path, pages: list[np.ndarray], tmp_path: Path, name: str
) -> None:
    os.mkfifo(tmp_path / name)
    with within(60):
        if name == "ledger":
            with pytest.raises(InvalidInput, match="cannot be used"):
                opened(small_pages, tmp_path)
        else:
            other, cache = opened(small_pages, tmp_path)
            other.rank(QUERY, pages)
            assert cache.stats()["failures"] == 0
