"""Tests of ``--page-cache``: page features outlive the server, metrics count them, and a bad folder is an error."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from server_process import Server
from typer.testing import CliRunner
from ziprerank.cli.app import app

NAMES = ("hits", "misses", "corrupt", "failures", "evictions")


def rank(server: Server, sample: bytes, pages: str) -> dict[int, float]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        files = [("files", ("report.pdf", sample))]
        answer = client.post("/v1/rerank/files", data={"query": "fish soup", "pages": pages}, files=files)
        return {result["page"]: result["relevance_score"] for result in answer.raise_for_status().json()["results"]}


def counts(server: Server) -> dict[str, float]:
    return {name: server.metric(f"ziprerank_disk_cache_{name}_total") for name in NAMES}


def test_features_outlive_the_server(bundle_path: Path, sample: bytes, tmp_path: Path) -> None:
    options = ["--bundle", bundle_path, "--page-cache", tmp_path, "--page-cache-size", "20M"]
    with Server(*options) as first:
        wanted = rank(first, sample, "16-18")
        assert counts(first) == {
            "hits": 0,
            "misses": 4,
            "corrupt": 0,
            "failures": 0,
            "evictions": 0,
        }  # and the warm-up's
        assert first.stop() == 0
    files = sorted(tmp_path.glob("*.page"), key=lambda path: path.stat().st_mtime_ns)
    assert len(files) == 4
    content = bytearray(files[2].read_bytes())
    content[-1] ^= 1
    files[2].write_bytes(content)
    variables = {"ZIPRERANK_PAGE_CACHE": str(tmp_path), "ZIPRERANK_PAGE_CACHE_SIZE": "20M"}
    # two servers share the folder; the first one finds the damage
    with Server("--bundle", bundle_path, variables=variables) as second, Server(*options) as third:
        assert rank(second, sample, "16-18") == wanted
        assert rank(third, sample, "16-18") == wanted
        assert counts(second) == {"hits": 3, "misses": 1, "corrupt": 1, "failures": 0, "evictions": 0}
        assert counts(third) == {"hits": 4, "misses": 0, "corrupt": 0, "failures": 0, "evictions": 0}
        (warning,) = [line for line in second.log if line.get("level") == "warning"]
        answered = next(line for line in second.log if line.get("path") == "/v1/rerank/files")
        assert warning["logger"] == "ziprerank.cache.page_cache"
        assert warning["request_id"] == answered["request_id"]
        held = sum(path.stat().st_size for path in tmp_path.glob("*.page"))
        assert third.metric("ziprerank_disk_cache_bytes") == held
        assert third.metric("ziprerank_disk_cache_limit_bytes") == 20 << 20
        info = httpx.get(f"{third.url}/info").json()
        assert info["disk_cache"] == {**counts(third), "bytes": held, "limit": 20 << 20}
        assert second.stop() == third.stop() == 0


def test_there_is_none_unless_asked_for(server: Server) -> None:
    assert httpx.get(f"{server.url}/info").json()["disk_cache"] is None
    assert "disk_cache" not in httpx.get(f"{server.url}/metrics").text


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("4G", "Not a directory"),
        ("4 gigs", "size '4 gigs': give bytes, or a number with K, M, G or T"),
        ("9K", "page_cache_bytes 9,216: one page may take"),
    ],
)
def test_a_folder_that_cannot_be_used(bundle_path: Path, tmp_path: Path, size: str, message: str) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "below" if size == "4G" else tmp_path / "new"
    options = ["--bundle", bundle_path, "--page-cache", folder, "--page-cache-size", size]
    done = CliRunner().invoke(app, ["serve", "--port", "0", *map(str, options)])
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
