"""When the GPU fails: one clear error, nothing left behind, and the next smaller request works."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hollow import HollowGpu

Bundles = Callable[[str], Path]
Fails = Callable[[str], list[dict[str, Any]]]
PROGRAM = Path(__file__).parent / "failing.py"


@pytest.fixture
def fails(hollow_gpu: HollowGpu, bundles: Bundles, tmp_path: Path) -> Fails:
    """What the requests of a scenario came to; when the engine is gone, no memory is left allocated."""

    def run(scenario: str) -> list[dict[str, Any]]:
        output = hollow_gpu.run([sys.executable, PROGRAM, bundles("bf16"), scenario], tmp_path / "log").output
        assert output["left"] == [0, 0]
        assert all(outcome.get("pinned", 0) == 0 for outcome in output["outcomes"])
        return list(output["outcomes"])

    return run


def says_what_to_do(outcome: dict[str, Any], *words: str) -> None:
    kind, text = outcome["error"]
    assert kind == "DeviceMemoryError"
    for part in ("needs more memory than GPU 0 (Fake GPU) has, where", "bytes are free", "precision", *words):
        assert part in text


def test_out_of_memory_while_loading(fails: Fails) -> None:
    first, then = fails("loading")
    says_what_to_do(first, "loading the bundle", "of 1048576 bytes are free")
    assert first["live"] == 0
    assert then["error"] is None


def test_out_of_memory_while_encoding_page_7(fails: Fails) -> None:
    before, failed, smaller, again = fails("page_7")
    says_what_to_do(failed, "encoding a page of 288 x 288 px", "smaller pages", "pool_bytes")
    assert failed["pages"] == before["pages"] + 6  # those before it are kept, it is not
    assert [smaller["error"], again["error"]] == [None, None]


def test_out_of_memory_while_scoring(fails: Fails) -> None:
    failed, smaller, again = fails("scoring")
    says_what_to_do(failed, "scoring 20 pages of 1620 visual tokens at keep ratio 1", "fewer pages", "keep_ratio")
    assert [smaller["error"], again["error"]] == [None, None]


def test_a_launch_that_fails_is_no_lost_device(fails: Fails) -> None:
    failed, again = fails("launch")
    kind, text = failed["error"]
    assert kind == "EngineError"
    assert "vision.onnx failed" in text
    assert "launch failure" in text
    assert again["error"] is None


def test_a_lost_device_stays_lost(fails: Fails) -> None:
    failed, again = fails("lost")
    kind, text = failed["error"]
    assert kind == "DeviceLost"
    for part in ("the GPU is lost since encoding a page of 256 x 256 px", "719", "start the process again"):
        assert part in text
    assert again["error"] == failed["error"]


def test_the_service_says_so(hollow_gpu: HollowGpu, bundles: Bundles, tmp_path: Path) -> None:
    """No memory is 507, and a smaller request is answered; a lost device is 503, also where it is asked for ready."""
    pytest.importorskip("fastapi")
    program = Path(__file__).parent / "serving.py"
    answers = hollow_gpu.run([sys.executable, program, bundles("bf16")], tmp_path / "log").output
    status, body = answers["too many"]
    assert (status, body["error"]["type"]) == (507, "out_of_memory")
    assert "lower keep_ratio" in body["message"]
    assert answers["fewer"][0] == answers["ready after too many"][0] == 200
    status, body = answers["lost"]
    assert (status, body["error"]["type"]) == (503, "device_lost")
    assert "the GPU is lost" in body["message"]
    assert answers["after it"] == answers["lost"]
    assert answers["ready after lost"] == [503, {"status": body["message"]}]
