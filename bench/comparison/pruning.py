"""The pruning operator's share of one pass on the CPU, from ONNX Runtime's profile of ``rerank.onnx``.

The engine runs the same graph with the same operator in one call, so its timings cannot separate pruning from decoder.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from ziprerank._engine import library
from ziprerank.bundle import Bundle
from ziprerank.export.host import Host, HostPage
from ziprerank.export.prune import OP_NAME
from ziprerank.prompt import Prompt

LEAST, MOST, SECONDS = 2, 9, 0.5  # timed runs after a warm-up: more than LEAST while SECONDS have not passed


@dataclass(frozen=True, slots=True)
class Share:
    """Milliseconds of the operator and of the whole pass, each the least of several runs."""

    prune_ms: float
    pass_ms: float

    @property
    def share(self) -> float:
        return self.prune_ms / self.pass_ms


def shares(
    bundle: Bundle,
    prompt: Prompt,
    grids: Sequence[tuple[int, int]],
    read: Sequence[NDArray[np.int64]],
    keep_ratios: Sequence[float],
) -> dict[float, Share]:
    """Profiles a pass with random features at each keep ratio; the operator's time depends on sizes alone.

    Args:
        bundle: for the CPU.
        prompt: for as many pages as ``grids`` has.
        grids: rows and columns of each page's visual tokens.
        read: indices of the visual tokens that reach the model, one array per page.
        keep_ratios: to profile.
    """
    rng, model = np.random.default_rng(0), bundle.model
    pages = [
        HostPage(
            rng.standard_normal((len(tokens), model["levels"], model["hidden_size"]), dtype=np.float32), grid, tokens
        )
        for grid, tokens in zip(grids, read, strict=True)
    ]
    mask = None if prompt.query_mask is None else prompt.query_mask.tolist()
    host, found = Host(bundle.path, op_library=Path(library())), {}
    for keep_ratio in keep_ratios:
        feed = host.inputs(prompt.text_ids.tolist(), pages, keep_ratio, mask)
        with tempfile.TemporaryDirectory() as scratch:
            options = ort.SessionOptions()
            options.register_custom_ops_library(library())
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options.enable_profiling, options.profile_file_prefix = True, str(Path(scratch) / "pass")
            session = ort.InferenceSession(bundle.path / "rerank.onnx", options, providers=["CPUExecutionProvider"])
            session.run(["scores"], feed)
            started = perf_counter()
            for run in range(MOST):
                if run >= LEAST and perf_counter() - started > SECONDS:
                    break
                session.run(["scores"], feed)
            found[keep_ratio] = read_profile(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return found


def read_profile(text: str) -> Share:
    """Reads ONNX Runtime's profile (JSON, events in the order in which they ended, microseconds).

    The first run is left out. Raises SystemExit if the operator is missing from a run.
    """
    runs: list[Share] = []
    prune = 0.0
    for event in json.loads(text):
        if event.get("cat") == "Node" and event.get("args", {}).get("op_name") == OP_NAME:
            prune += event["dur"]
        elif event.get("name") == "model_run":
            runs.append(Share(prune / 1e3, event["dur"] / 1e3))
            prune = 0.0
    if len(runs) < 2 or any(run.prune_ms == 0 for run in runs):
        raise SystemExit(f"ONNX Runtime's profile has {len(runs)} runs, at least 2 are needed, each with {OP_NAME}")
    return Share(min(run.prune_ms for run in runs[1:]), min(run.pass_ms for run in runs[1:]))
