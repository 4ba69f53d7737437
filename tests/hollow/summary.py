"""What a version of onnxruntime-gpu makes of our graphs: for tests, and for the table of versions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .nodes import GRAPHS, Placement, read_placement
from .record import Part
from .rig import HollowGpu, Run, Step

SIDE = 288
PAGE = (SIDE, SIDE)
MANY = 20
# One page; the same page; twenty pages, which are new; the same again; a second size; another number of pages
ONE, ONE_AGAIN, NEW, AGAIN, ALL, OTHER_SIZES = range(6)
STEPS = (
    Step([PAGE]),
    Step([PAGE]),
    Step([PAGE] * MANY, seeds=range(1, MANY + 1)),
    Step([PAGE] * MANY, seeds=range(1, MANY + 1)),
    Step([PAGE] * MANY, seeds=range(1, MANY + 1), keep=1.0),
    Step([(256, SIDE), (SIDE, 160), PAGE], seeds=range(50, 53)),
)


@dataclass(frozen=True)
class Summary:
    """A run of `STEPS`, and its profile."""

    run: Run
    profile: Path

    def step(self, number: int) -> Part:
        """What a step asked of the GPU."""
        return self.run.record.parts[f"step {number}"]

    @cached_property
    def placement(self) -> dict[str, Placement]:
        """Of both graphs."""
        return {graph: read_placement(self.profile, graph) for graph in GRAPHS}

    @property
    def finished(self) -> bool:
        """Whether every ranking came to its end.

        It does not where ONNX Runtime computes sizes of tensors on the GPU, since nothing is computed there.
        """
        return not any("error" in step for step in self.run.output["steps"])

    @property
    def on_cpu(self) -> dict[str, Counter[str]]:
        """Operators that run on the CPU and are no arithmetic of shapes, by graph."""
        return {graph: found.cpu for graph, found in self.placement.items()}

    @property
    def copies(self) -> dict[str, int]:
        """Copies that ONNX Runtime put between its providers, by graph."""
        return {graph: found.copies.total() for graph, found in self.placement.items()}

    @property
    def flash(self) -> tuple[float, int]:
        """Attentions by flash kernels: of a page, and of a query."""
        query = self.step(AGAIN).flash
        return (self.step(NEW).flash - query) / MANY, query

    @property
    def stores_scores(self) -> bool:
        """Whether a product of attention has an S x S result: many rows and many columns for each head."""
        products = self.run.record.whole.gemms
        return any(gemm.batch > 1 and min(gemm.m, gemm.n) > 128 for gemm in products)

    @property
    def launches(self) -> tuple[float, int]:
        """Kernels and products of a page, and of a query on twenty pages."""
        query = self._launches(AGAIN)
        return (self._launches(NEW) - query) / MANY, query

    def _launches(self, number: int) -> int:
        step = self.step(number)
        return len(step.launches) + len(step.gemms)


def measure(gpu: HollowGpu, bundle: Path, folder: Path, *, any_version: bool = False) -> Summary:
    """Runs `STEPS` with ``bundle``.

    Args:
        gpu: The version to measure.
        bundle: A CUDA bundle for pages of 288 px.
        folder: For the log and the profile; it must be empty.
        any_version: Measures a version that the engine refuses, too.
    """
    profile = folder / "profile"
    run = gpu.rank(bundle, folder / "log", STEPS, profile=profile, any_version=any_version)
    error = run.output.get("error")
    if error is not None:
        raise RuntimeError(f"onnxruntime-gpu {gpu.version}: {error[1]}")
    return Summary(run, profile)
