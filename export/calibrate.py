"""Ranges of activations for fp8: the decoder reads real pages, in float32 on the CPU, and its inputs are recorded."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from .checkpoint import Tensor
from .description import Description
from .errors import ExportError
from .files import bring_shard
from .graph import GraphBuilder
from .linear import Stored
from .options import Calibration
from .precision import precision_for
from .rerank import build_rerank
from .samples import prompt_ids
from .vision import build_vision

OUTPUT = "largest:"


class Recording(Stored):
    """Linear layers as stored; each adds an output to the graph, the largest magnitude of its input."""

    def apply(self, op: GraphBuilder, x: ir.Value, name: str, inputs: int, outputs: int, bias: bool) -> ir.Value:
        largest = op.cast(op.ReduceMax(op.Abs(x), keepdims=0), ir.DataType.FLOAT)
        op.output(largest, f"{OUTPUT}{name}", ir.DataType.FLOAT, [])
        return Stored.apply(self, op, x, name, inputs, outputs, bias)


def activation_ranges(
    description: Description, derived: Mapping[str, Tensor], calibration: Calibration
) -> dict[str, float]:
    """Finds the largest magnitude of every decoder layer's input, over all pages and queries.

    Pages go in windows of the bundle's default size, each with every query, and are pruned by the bundle's default. The
    numbers come from a run of the model, so their last digits depend on the processor.

    Returns:
        The magnitudes by the layer's name.

    Raises:
        ExportError: There are no pages or no queries.
        ImportError: ONNX Runtime is not installed.
    """
    from .host import Host

    defaults = description.defaults
    pages = calibration.pages(description.image)
    if not pages or not calibration.queries:
        raise ExportError(
            f"{len(pages)} pages and {len(calibration.queries)} queries: calibration needs some of both "
            "(--calibrate report.pdf --query '...')"
        )
    with tempfile.TemporaryDirectory(prefix="ziprerank-") as scratch:
        folder = Path(scratch)
        host = Host(folder, manifest=_write_recording(description, derived, folder))
        names = [output.name for output in host.rerank.get_outputs() if output.name.startswith(OUTPUT)]
        largest = np.zeros(len(names), np.float32)
        encoded = [host.encode(page) for page in pages]
        for start in range(0, len(encoded), defaults.window):
            candidates = encoded[start : start + defaults.window]
            for query in calibration.queries:
                ids = prompt_ids(folder, description.prompt, query, len(candidates))
                inputs = host.inputs(ids, candidates, defaults.keep_ratio)
                largest = np.maximum(largest, host.rerank.run(names, inputs))
    return {name.removeprefix(OUTPUT): float(value) for name, value in zip(names, largest, strict=True)}


def _write_recording(description: Description, derived: Mapping[str, Tensor], folder: Path) -> dict[str, Any]:
    """Writes graphs for the CPU that record, and returns the part of a manifest that `Host` needs."""
    source, config = description.source, description.source.config
    for file in [*source.shards, *{tensor.file for tensor in derived.values()}]:
        bring_shard(file, folder / file.name, "auto")
    (folder / "tokenizer.json").write_bytes(source.tokenizer_file.read_bytes())
    plain = precision_for("cpu", "fp32")
    ir.save(build_vision(source, derived, plain.vision), folder / "vision.onnx")
    recording = replace(plain.decoder, linear=Recording())
    ir.save(build_rerank(source, derived, description.answers, recording), folder / "rerank.onnx")
    tokens = {
        "image_pad": config.image_pad_id,
        "vision_start": config.vision_start_id,
        "vision_end": config.vision_end_id,
    }
    return {"image": dict(description.image), "tokens": tokens}
