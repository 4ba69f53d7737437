"""Ranges of activations for fp8: the decoder reads real pages, in float32 on the CPU, and tells its largest values."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from .checkpoint import Checkpoint, Tensor
from .errors import ExportError
from .files import bring_shard
from .linear import Stored
from .precision import Lowering, precision_for
from .rerank import build_rerank
from .samples import prompt_ids
from .vision import build_vision

if TYPE_CHECKING:
    from .bundle import Defaults
    from .graph import GraphBuilder

OUTPUT = "largest:"


@dataclass(frozen=True, slots=True)
class Calibration:
    """What ranges are found on. They should look like what the bundle will rank: a range that is never seen is cut."""

    pages: Callable[[Mapping[str, Any]], Sequence[NDArray[np.uint8]]]
    """pages ``[h, w, 3]`` at their final size, by the image rules of the manifest"""
    queries: Sequence[str]


@dataclass(frozen=True, slots=True)
class Window:
    """What a pass of the bundle looks like: image rules and prompt of the manifest, letters, defaults."""

    image: Mapping[str, Any]
    prompt: Mapping[str, Any]
    letters: Sequence[int]
    defaults: Defaults


class Recording(Stored):
    """Linear layers as stored, each with one more output of the graph: the largest magnitude of its input."""

    def apply(self, op: GraphBuilder, x: ir.Value, name: str, inputs: int, outputs: int, bias: bool) -> ir.Value:
        largest = op.cast(op.ReduceMax(op.Abs(x), keepdims=0), ir.DataType.FLOAT)
        op.output(largest, f"{OUTPUT}{name}", ir.DataType.FLOAT, [])
        return Stored.apply(self, op, x, name, inputs, outputs, bias)


def activation_ranges(
    source: Checkpoint, derived: Mapping[str, Tensor], window: Window, calibration: Calibration
) -> dict[str, float]:
    """The largest magnitude of every decoder layer's input, by the layer's name, over all pages and queries.

    Pages go in windows of the bundle's default size, each with every query, pruned as the bundle does by default.

    Raises:
        ExportError: there are no pages or no queries.
        ImportError: ONNX Runtime is not installed.
    """
    from .host import Host

    pages = calibration.pages(window.image)
    if not pages or not calibration.queries:
        raise ExportError(
            f"{len(pages)} pages and {len(calibration.queries)} queries: calibration needs some of both "
            "(--calibrate report.pdf --query '...')"
        )
    with tempfile.TemporaryDirectory(prefix="ziprerank-") as scratch:
        folder = Path(scratch)
        _write_recording(source, derived, window, folder)
        host = Host(folder)
        names = [output.name for output in host.rerank.get_outputs() if output.name.startswith(OUTPUT)]
        largest = np.zeros(len(names), np.float32)
        encoded = [host.encode(page) for page in pages]
        for start in range(0, len(encoded), window.defaults.window):
            candidates = encoded[start : start + window.defaults.window]
            for query in calibration.queries:
                ids = prompt_ids(folder, window.prompt, query, len(candidates))
                inputs = host.inputs(ids, candidates, window.defaults.keep_ratio)
                largest = np.maximum(largest, host.rerank.run(names, inputs))
    return {name.removeprefix(OUTPUT): float(value) for name, value in zip(names, largest, strict=True)}


def _write_recording(source: Checkpoint, derived: Mapping[str, Tensor], window: Window, folder: Path) -> None:
    """A bundle for the CPU that records, with as much of a manifest as `Host` reads."""
    for file in [*source.shards, *{tensor.file for tensor in derived.values()}]:
        bring_shard(file, folder / file.name, "auto")
    (folder / "tokenizer.json").write_bytes(source.tokenizer_file.read_bytes())
    plan = precision_for("cpu", "fp32")
    ir.save(build_vision(source, derived, plan.lowering(Stored()), {}), folder / "vision.onnx")
    recording = Lowering(ir.DataType.FLOAT, plan.attention, Recording())
    ir.save(build_rerank(source, window.letters, recording, {}), folder / "rerank.onnx")
    config = source.config
    tokens = {
        "image_pad": config.image_pad_id,
        "vision_start": config.vision_start_id,
        "vision_end": config.vision_end_id,
    }
    (folder / "ziprerank.json").write_text(json.dumps({"image": dict(window.image), "tokens": tokens}))
