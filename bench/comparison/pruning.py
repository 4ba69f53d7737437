"""How much of one pass is the pruning operator: ONNX Runtime's own profile of ``rerank.onnx`` with libziprerank's
operator, on the CPU.

The engine runs the same graph with the same operator, as one call; its samples hold pruning and decoder together.
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

LEAST, MOST, SECONDS = 2, 9, 0.5  # runs after one that warms up: more than the least while time is left


@dataclass(frozen=True, slots=True)
class Share:
    """Milliseconds, the least of a few runs each: the operator, and the whole pass that it is a part of."""

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
    """For each keep ratio, one pass on pages of ``grids`` (rows and columns of visual tokens), of which the tokens
    ``read`` reach the model, with random features: the operator's time depends on sizes alone."""
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
    """Of all runs of a profile but the first. Events are in the order in which they ended, microseconds each."""
    runs: list[Share] = []
    prune = 0.0
    for event in json.loads(text):
        if event.get("cat") == "Node" and event.get("args", {}).get("op_name") == OP_NAME:
            prune += event["dur"]
        elif event.get("name") == "model_run":
            runs.append(Share(prune / 1e3, event["dur"] / 1e3))
            prune = 0.0
    if len(runs) < 2 or any(run.prune_ms == 0 for run in runs):
        raise SystemExit(f"ONNX Runtime's profile of the pass does not show {OP_NAME} in every run of {len(runs)}")
    return Share(min(run.prune_ms for run in runs[1:]), min(run.pass_ms for run in runs[1:]))
