"""The pruning operator's share of a pass."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from ziprerank.bundle import Bundle
from ziprerank.comparison.pruning import read_profile, shares
from ziprerank.prompt import PromptBuilder


def node(operator: str, microseconds: int) -> dict[str, Any]:
    return {"cat": "Node", "name": f"{operator}_kernel_time", "dur": microseconds, "args": {"op_name": operator}}


def run(microseconds: int) -> dict[str, Any]:
    return {"cat": "Session", "name": "model_run", "dur": microseconds, "args": {}}


def test_a_profile_is_read_run_by_run() -> None:
    events = [
        {"cat": "Session", "name": "session_initialization", "dur": 9},
        *(node("QueryImagePrune", 5), node("Gemm", 50), run(500)),  # the first run is left out, however quick
        *(node("QueryImagePrune", 30), node("Gemm", 700), run(1200)),
        *(node("Gemm", 700), node("QueryImagePrune", 50), run(1000)),
    ]
    share = read_profile(json.dumps(events))
    assert (share.prune_ms, share.pass_ms) == (0.03, 1.0)
    assert share.share == 0.03
    with pytest.raises(SystemExit, match="has 2 runs, at least 2 are needed, each with QueryImagePrune"):
        read_profile(json.dumps([node("QueryImagePrune", 1), run(2), node("Gemm", 1), run(2)]))


def test_the_operator_is_a_part_of_the_pass() -> None:
    bundle = Bundle.load(check="size")
    prompt = PromptBuilder(bundle).build("annual report", 2)
    found = shares(bundle, prompt, [(8, 6), (6, 8)], [np.arange(48), np.arange(0, 48, 2)], (1.0, 0.5))
    assert set(found) == {1.0, 0.5}
    assert all(0 < share.share < 1 for share in found.values())
